// SPDX-License-Identifier: Apache-2.0

// Package bus connects crauctl to the broker and explains its errors.
package bus

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/terminal"
)

// Connect connects to the broker.
func Connect(ctx context.Context, e *console.Environment) (*client.Client, error) {
	var options []client.Option
	if address := e.Getenv("DBUS_SYSTEM_BUS_ADDRESS"); address != "" {
		options = append(options, client.WithAddress(address))
	}
	if terminal.Is(e.Stdin) && terminal.Is(e.Stderr) {
		options = append(options, client.WithInteraction())
	}
	c, err := client.Connect(ctx, options...)
	if err != nil {
		return nil, Error(err)
	}
	return c, nil
}

// Error adds the remedy to an error of the broker.
func Error(err error) error {
	said := err
	var answer *client.Error
	if errors.As(err, &answer) {
		said = answer
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return &console.RemedyError{Text: "the broker has not answered in time: see systemctl status crypto-auditing-broker", Err: err}
	case errors.Is(err, fs.ErrPermission):
		return &console.RemedyError{Text: "not authorised: join the group crypto-auditing or use sudo", Err: err}
	case errors.Is(err, client.ErrUnreachable):
		return &console.RemedyError{Text: "cannot reach the broker: " + strings.TrimPrefix(said.Error(), client.ErrUnreachable.Error()+": ") +
			": " + whyUnreachable(answer), Err: err}
	case errors.Is(err, client.ErrAgentUnavailable):
		return &console.RemedyError{Text: err.Error() + ": see systemctl status crypto-auditing-agent", Err: err}
	}
	return err
}

// whyUnreachable returns the remedy for a broker that cannot be reached according to the
// bus, whose answer is given.
func whyUnreachable(answer *client.Error) string {
	if answer != nil {
		switch name := strings.TrimPrefix(answer.Name, "org.freedesktop.DBus.Error."); {
		// The broker began to start, or to answer.
		case name == "TimedOut", name == "NoReply", strings.HasPrefix(name, "Spawn."), strings.HasPrefix(name, "org.freedesktop.systemd1."):
			return "see systemctl status crypto-auditing-broker"
		}
	}
	return "is crypto-auditing-broker installed, and a system bus running?"
}
