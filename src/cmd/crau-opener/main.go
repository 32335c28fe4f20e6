// SPDX-License-Identifier: Apache-2.0

// Command crau-opener opens libraries in containers for crau-agent. See crau-opener(8).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/signal"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/opener"
	"crypto-auditing/src/internal/program"
)

// version is set by the build.
var version = "devel"

// memoryLimit, in bytes, makes the garbage collector run more often instead of letting the
// opener grow.
const memoryLimit = 16 << 20

func main() { program.Main(memoryLimit, newCommand) }

func newCommand(_, stderr io.Writer) *cobra.Command {
	name, idle := "crypto-auditing", 30*time.Second
	command := &cobra.Command{
		Use:   "crau-opener",
		Short: "Open libraries in containers for crau-agent",
		Long: `crau-opener opens files that processes have mapped as executable, in any mount
namespace, and passes them to crau-agent, read-only. Its socket starts it; it exits
when it is idle.

It needs CAP_SYS_PTRACE.

Exit status: 0 after a signal, or when idle; 1 on failure; 2 on bad usage.`,
		Version:       version,
		Args:          program.NoArguments,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(*cobra.Command, []string) error {
			uid, err := userID(name)
			if err != nil {
				return err
			}
			listener, err := activated()
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			program.Notify(daemon.SdNotifyReady)
			return (&opener.Server{UID: uid, Idle: idle, Log: message.New(stderr)}).Serve(ctx, listener)
		},
	}
	f := command.Flags()
	f.SortFlags = false
	f.StringVar(&name, "user", name, "serve the user `NAME` only")
	f.DurationVar(&idle, "idle-timeout", idle, "exit after being idle for `TIME`; 0 disables")
	return command
}

// userID returns the id of a user.
func userID(name string) (uint32, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, fmt.Errorf("cannot look up user %s: %w", name, err)
	}
	id, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("cannot look up user %s: %w", name, err)
	}
	return uint32(id), nil
}

// activated returns the socket that the service manager passed (sd_listen_fds(3)).
func activated() (*net.UnixListener, error) {
	sockets, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("cannot take the socket of the service manager: %w", err)
	}
	if len(sockets) == 1 {
		if l, ok := sockets[0].(*net.UnixListener); ok && l.Addr().Network() == "unixpacket" {
			return l, nil
		}
	}
	return nil, program.Usage(errors.New("the service manager starts it with one socket, ListenSequentialPacket= in its unit"))
}
