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
	// A traced command inherits the signals that nohup(1) or the background job of a
	// script ignores. All other commands are terminated by them, so that such a script
	// can stop a monitor.
	trace := len(os.Args) > 1 && os.Args[1] == "trace"
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		if !trace || !signal.Ignored(s) {
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
