// SPDX-License-Identifier: Apache-2.0

// Package hold makes the broker keep the log after a position, for programs that read it from time to
// time by cursor.
package hold

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/client"
)

// Names on the bus.
const (
	service      = "org.crypto_auditing.Broker"
	path         = "/org/crypto_auditing/Broker"
	subscription = "org.crypto_auditing.Broker.Subscription"
)

// Hold is a durable subscription of the caller's user that is never delivered. The configuration of the broker
// limits how long it keeps unread entries.
type Hold struct {
	// Client calls the broker; Connect opens another connection to it.
	Client  *client.Client
	Connect func(context.Context) (*client.Client, error)
	// Name is the name of the subscription.
	Name string
}

// MoveTo makes the broker keep the log after a cursor, instead of after the cursor of an earlier call. Errors
// of package client: ErrInvalidCursor, ErrForeignCursor, ErrLimitExceeded, ErrAccessDenied,
// ErrUnreachable.
func (h *Hold) MoveTo(ctx context.Context, after client.Cursor) error {
	err := h.seek(ctx, after)
	if errors.Is(err, client.ErrNoSuchSubscription) {
		if err = h.create(ctx); err == nil {
			err = h.seek(ctx, after)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot hold the log: %w", err)
	}
	return nil
}

// seek sets the position of the subscription.
func (h *Hold) seek(ctx context.Context, to client.Cursor) error {
	body, err := h.Client.Call(ctx, service, path, service+".GetSubscription", h.Name)
	if err != nil {
		return err
	}
	var object dbus.ObjectPath
	if err := dbus.Store(body, &object); err != nil {
		return fmt.Errorf("%w: GetSubscription: %w", client.ErrProtocol, err)
	}
	_, err = h.Client.Call(ctx, service, object, subscription+".Seek", string(to))
	return err
}

// pause is the polling interval.
const pause = 50 * time.Millisecond

// create creates the subscription at the end of the log, and waits until the broker has detached it: it is
// delivered to the connection that created it, as long as that exists.
func (h *Hold) create(ctx context.Context) error {
	creator, err := h.Connect(ctx)
	if err != nil {
		return err
	}
	_, err = creator.Call(ctx, service, path, service+".Subscribe", h.Name, map[string]dbus.Variant{},
		map[string]dbus.Variant{"after": dbus.MakeVariant(string(client.Newest)), "flow": dbus.MakeVariant("acknowledge")})
	if err := errors.Join(err, creator.Close()); err != nil {
		return err
	}
	for {
		all, err := h.Client.Subscriptions(ctx)
		if err != nil {
			return err
		}
		attached := false
		for _, s := range all {
			attached = attached || s.Name == h.Name && s.Attached && s.User == uint32(os.Geteuid())
		}
		if !attached {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}
