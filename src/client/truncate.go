// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/retention"
)

// Retention is what of the log is to be kept otherwise than the broker is
// configured. What is nil, empty or false is as it is configured; 0 is no limit. To
// remove the whole log at once without Force is an ErrInvalidArgument.
type Retention = retention.Changes

// Reading is what having been read means for a part of the log.
type Reading = retention.Reading

// The values of Reading; empty: as the broker is configured.
const (
	// ReadingIgnored: the limits alone decide.
	ReadingIgnored = retention.Ignore
	// ReadingKeeps: what is not read stays.
	ReadingKeeps = retention.Keep
	// ReadingDrops: what is read goes at once.
	ReadingDrops = retention.Drop
)

// Removed is what a Truncate has removed.
type Removed struct {
	// Bytes and Segments are how much and how many files.
	Bytes    uint64
	Segments uint32
	// Oldest is the cursor before the oldest entry that is left.
	Oldest Cursor
}

// Truncate removes the oldest parts of the log, as r says. Errors:
// ErrAgentUnavailable, ErrInvalidArgument, ErrAccessDenied, ErrUnreachable.
func (c *Client) Truncate(ctx context.Context, r Retention) (Removed, error) {
	policy := map[string]dbus.Variant{}
	for key, value := range r.Given() {
		policy[key] = dbus.MakeVariant(value)
	}
	var removed Removed
	err := c.ask(ctx, brokerPath, brokerInterface+".Truncate", []any{policy}, &removed.Bytes, &removed.Segments, &removed.Oldest)
	if err != nil {
		return Removed{}, fmt.Errorf("cannot truncate the log: %w", err)
	}
	return removed, nil
}
