// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
)

// MaxRead is the highest number of groups that Read returns.
const MaxRead = 1000

// Page is the result of Read.
type Page struct {
	// Groups are in the order of the log.
	Groups []Group
	// Next is the cursor to continue from. It also moves past entries that did not
	// match.
	Next Cursor
	// Missing is the number of entries after the cursor that no longer exist.
	Missing uint64
}

// Read returns up to limit groups after a cursor, or up to MaxRead if limit is 0. A
// page with fewer groups, even none, is the end of the log only if Next has not
// moved. Errors: ErrInvalidCursor, ErrForeignCursor, ErrInvalidFilter,
// ErrStoreCorrupt, ErrAccessDenied, ErrUnreachable.
func (c *Client) Read(ctx context.Context, after Cursor, filter Filter, limit int) (Page, error) {
	limit = min(max(limit, 0), MaxRead)
	body, err := c.call(ctx, brokerPath, brokerInterface+".Read", string(after), filter.encode(), uint32(limit))
	if err != nil {
		return Page{}, fmt.Errorf("cannot read the log: %w", err)
	}
	if len(body) != 3 {
		return Page{}, fmt.Errorf("%w: Read returned %d values", ErrProtocol, len(body))
	}
	var p Page
	if p.Groups, err = groupsOf(body[0]); err != nil {
		return Page{}, err
	}
	return p, store("Read", body[1:], &p.Next, &p.Missing)
}

// Groups returns the groups after a cursor up to the end of the log, through a
// stream. Where entries are missing, it yields a *MissingError and continues; any
// other error is the last.
func (c *Client) Groups(ctx context.Context, after Cursor, filter Filter) iter.Seq2[Group, error] {
	return func(yield func(Group, error) bool) {
		stream, err := c.Open(ctx, after, filter, OpenOptions{})
		if err != nil {
			yield(Group{}, err)
			return
		}
		defer stream.Close()
		stop := context.AfterFunc(ctx, func() { _ = stream.Close() })
		defer stop()
		for g, err := range stream.Groups() {
			if errors.Is(err, ErrClosed) && ctx.Err() != nil {
				err = ctx.Err()
			}
			if !yield(g, err) {
				return
			}
		}
	}
}
