// SPDX-License-Identifier: Apache-2.0

// Command crauctl is the administration tool of crypto-auditing.
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
		// Keep signals ignored that nohup(1) or a background job of a script ignores.
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
