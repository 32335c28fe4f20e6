// SPDX-License-Identifier: Apache-2.0

// Crauctl is the administrator's tool of crypto-auditing.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"crypto-auditing/src/internal/cli"
	"crypto-auditing/src/internal/cli/console"
)

// version is set at link time: -X main.version=….
var version string

func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		if <-signals == os.Interrupt {
			cancel(console.ErrInterrupted)
		}
		cancel(context.Canceled)
	}()
	os.Exit(cli.Run(ctx, os.Args[1:], console.System(version)))
}
