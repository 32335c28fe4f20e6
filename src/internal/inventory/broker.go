// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"context"
	"errors"
	"fmt"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/inventory/counting"
	"crypto-auditing/src/internal/status"
)

// Broker returns the log that a broker serves.
func Broker(c *client.Client) Source { return broker{c} }

// BrokerStatus returns the status of a broker for Config.
func BrokerStatus(c *client.Client) func(context.Context) (*status.Broker, error) {
	return func(ctx context.Context) (*status.Broker, error) {
		s, err := c.Status(ctx)
		if err != nil {
			return nil, err
		}
		return &s.Broker, nil
	}
}

type broker struct{ client *client.Client }

// Open implements Source.
func (b broker) Open(ctx context.Context, after string) (Entries, error) {
	from := client.Oldest
	if after != "" {
		from = client.Cursor(after)
	}
	stream, err := b.client.Open(ctx, from, client.Filter{}, client.OpenOptions{})
	if errors.Is(err, client.ErrForeignCursor) {
		return nil, fmt.Errorf("%w: %w", ErrForeignCursor, err)
	}
	if err != nil {
		return nil, err
	}
	return brokerEntries{stream}, nil
}

type brokerEntries struct{ *client.Stream }

// Next implements Entries.
func (e brokerEntries) Next(g *event.Group) (sequence uint64, boot int64, err error) {
	entry, err := e.Stream.Next()
	var missing *client.MissingError
	switch {
	case errors.As(err, &missing):
		return 0, 0, &counting.MissingError{Entries: missing.Entries, Err: err}
	case err != nil:
		return 0, 0, err
	}
	if _, err := event.Decode(entry.CBOR, g); err != nil {
		return 0, 0, fmt.Errorf("%w: %w", client.ErrProtocol, err)
	}
	return entry.Sequence, entry.Boot, nil
}

// Cursor implements Entries.
func (e brokerEntries) Cursor() string { return string(e.Stream.Cursor()) }
