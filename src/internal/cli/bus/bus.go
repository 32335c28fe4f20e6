// SPDX-License-Identifier: Apache-2.0

// Package bus connects crauctl to the services on the bus and explains their errors.
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

// Connect connects to the bus. The error has the remedy for the broker.
func Connect(ctx context.Context, e *console.Environment) (*client.Client, error) {
	c, err := Dial(ctx, e)
	return c, Error(err)
}

// Dial is Connect without remedies in the error.
func Dial(ctx context.Context, e *console.Environment) (*client.Client, error) {
	var options []client.Option
	if address := e.Getenv("DBUS_SYSTEM_BUS_ADDRESS"); address != "" {
		options = append(options, client.WithAddress(address))
	}
	if terminal.Is(e.Stdin) && terminal.Is(e.Stderr) {
		options = append(options, client.WithInteraction())
	}
	return client.Connect(ctx, options...)
}

// service is a service on the bus.
type service struct{ name, unit, remedy string }

// Error adds the remedy to an error of the broker.
func Error(err error) error {
	return explain(err, service{"broker", "crypto-auditing-broker", ""})
}

// InventoryError adds the remedy to an error of the inventory. Commands can also count the log without it.
func InventoryError(err error) error {
	return explain(err, service{"inventory", "crypto-auditing-inventory", " (--directory DIR counts a log without it)"})
}

func explain(err error, s service) error {
	reported := err
	var answer *client.Error
	if errors.As(err, &answer) {
		reported = answer
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return &console.RemedyError{Text: "the " + s.name + " has not answered in time: see systemctl status " + s.unit, Err: err}
	case errors.Is(err, fs.ErrPermission):
		return &console.RemedyError{Text: "not authorised: join the group crypto-auditing or use sudo", Err: err}
	case errors.Is(err, client.ErrUnreachable):
		return &console.RemedyError{Text: "cannot reach the " + s.name + ": " + strings.TrimPrefix(reported.Error(), client.ErrUnreachable.Error()+": ") +
			": " + s.unreachableRemedy(answer) + s.remedy, Err: err}
	case errors.Is(err, client.ErrAgentUnavailable):
		return &console.RemedyError{Text: err.Error() + ": see systemctl status crypto-auditing-agent", Err: err}
	}
	return err
}

// unreachableRemedy returns the remedy for a service that cannot be reached according to the
// bus, whose answer is given.
func (s *service) unreachableRemedy(answer *client.Error) string {
	if answer != nil {
		switch name := strings.TrimPrefix(answer.Name, "org.freedesktop.DBus.Error."); {
		// The service was started, but failed or did not answer.
		case name == "TimedOut", name == "NoReply", strings.HasPrefix(name, "Spawn."), strings.HasPrefix(name, "org.freedesktop.systemd1."):
			return "see systemctl status " + s.unit
		}
	}
	return "is " + s.unit + " installed, and a system bus running?"
}
