// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"
)

// Retention says what of the log is to be kept. What is nil is as the broker is
// configured; 0 is no limit.
type Retention struct {
	// MaxAge removes what is older.
	MaxAge *time.Duration
	// MaxSize keeps no more bytes.
	MaxSize *uint64
	// KeepFree leaves so many bytes of the file system free.
	KeepFree *uint64
	// MaxSizePercent and KeepFreePercent, above 0, are percentages of the file
	// system of the log instead of bytes.
	MaxSizePercent, KeepFreePercent uint32
	// Reading says what it means that all durable subscriptions have read a
	// part of the log.
	Reading Reading
	// Hold is how long a subscription that lags may hold the log.
	Hold *time.Duration
	// Force allows removing the whole log at once: every file but the one that is
	// written to, if those are two or more. Else that is an ErrInvalidArgument.
	Force bool
}

// Reading is what having been read means for a part of the log.
type Reading string

// The values of Reading; empty: as the broker is configured.
const (
	// ReadingIgnored: the limits alone decide.
	ReadingIgnored Reading = "ignore"
	// ReadingKeeps: what is not read stays.
	ReadingKeeps Reading = "keep"
	// ReadingDrops: what is read goes at once.
	ReadingDrops Reading = "drop"
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
	for key, d := range map[string]*time.Duration{"max-age-usec": r.MaxAge, "hold-usec": r.Hold} {
		if d != nil {
			policy[key] = dbus.MakeVariant(uint64(max(d.Microseconds(), 0)))
		}
	}
	for key, n := range map[string]*uint64{"max-size": r.MaxSize, "keep-free": r.KeepFree} {
		if n != nil {
			policy[key] = dbus.MakeVariant(*n)
		}
	}
	for key, n := range map[string]uint32{"max-size-percent": r.MaxSizePercent, "keep-free-percent": r.KeepFreePercent} {
		if n != 0 {
			policy[key] = dbus.MakeVariant(n)
		}
	}
	if r.Force {
		policy["force"] = dbus.MakeVariant(true)
	}
	if r.Reading != "" {
		policy["reading"] = dbus.MakeVariant(string(r.Reading))
	}
	var removed Removed
	err := c.ask(ctx, brokerPath, brokerInterface+".Truncate", []any{policy}, &removed.Bytes, &removed.Segments, &removed.Oldest)
	if err != nil {
		return Removed{}, fmt.Errorf("cannot truncate the log: %w", err)
	}
	return removed, nil
}
