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
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		// One that is ignored, as by nohup(1) or in the background of a script, stays so.
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	go func() {
		if <-signals == os.Interrupt {
			cancel(console.ErrInterrupted)
		}
		cancel(context.Canceled)
	}()
	os.Exit(cli.Run(ctx, os.Args[1:], console.System(version)))
}
