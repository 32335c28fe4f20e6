// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/retention"
)

// Retention overrides the broker's configured retention. Fields that are nil, empty
// or false keep the configured value; 0 disables a limit. Removing the whole log at
// once without Force is an ErrInvalidArgument.
type Retention = retention.Changes

// Reading is how retention treats parts of the log that all durable subscriptions have read.
type Reading = retention.Reading

// The values of Reading; empty selects the configured value.
const (
	// ReadingIgnored: only the limits apply.
	ReadingIgnored = retention.Ignore
	// ReadingKeeps: unread parts stay.
	ReadingKeeps = retention.Keep
	// ReadingDrops: parts that were read are removed at once.
	ReadingDrops = retention.Drop
)

// Removed is the result of Truncate.
type Removed struct {
	// Bytes and Segments are the size and the number of the removed files.
	Bytes    uint64
	Segments uint32
	// Oldest is the cursor before the oldest remaining entry.
	Oldest Cursor
}

// Truncate removes the oldest parts of the log according to r. Errors:
// ErrAgentUnavailable, ErrInvalidArgument, ErrAccessDenied, ErrUnreachable.
func (c *Client) Truncate(ctx context.Context, r Retention) (Removed, error) {
	policy := map[string]dbus.Variant{}
	for key, value := range r.Given() {
		policy[key] = dbus.MakeVariant(value)
	}
	var removed Removed
	err := c.query(ctx, brokerPath, brokerInterface+".Truncate", []any{policy}, &removed.Bytes, &removed.Segments, &removed.Oldest)
	if err != nil {
		return Removed{}, fmt.Errorf("cannot truncate the log: %w", err)
	}
	return removed, nil
}
