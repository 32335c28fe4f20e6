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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, os.Args[1:], console.System(version))
	stop()
	os.Exit(code)
}
