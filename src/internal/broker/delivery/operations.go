// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"

	"crypto-auditing/src/internal/broker/operations"
	"crypto-auditing/src/internal/broker/tail"
	"crypto-auditing/src/internal/logstore"
)

// leaveFeed removes the subscription from its feed.
func (s *Subscription) leaveFeed(feed *tail.Feed) {
	s.cache().Leave(s, feed)
	if s.form == Operations {
		s.core.Follower.Wake()
	}
}

// readOperations reads operations from the log. more reports that more may be
// available immediately.
func (w *sender) readOperations(ctx context.Context) (more bool, err error) {
	if a, ok := w.core.shared.get(w.filter.Key, w.at); ok {
		w.proceed(a)
		return true, nil
	}
	semaphore := w.core.readers.semaphore
	if err := semaphore.Acquire(ctx, w.user); err != nil {
		return false, err
	}
	defer semaphore.Release(w.user)
	if a, ok := w.core.shared.get(w.filter.Key, w.at); ok {
		w.proceed(a)
		return true, nil
	}
	page, err := w.core.Operations.Read(ctx, operations.Options{
		Filter: w.filter, Encoder: w.core.OperationEncoder, Most: MaxBatch, Size: turnBytes, After: w.at, Time: turnTime,
	})
	if errors.Is(err, logstore.ErrForeignCursor) {
		return false, w.replace()
	}
	if err != nil {
		return false, err
	}
	a := ahead{groups: page.Bytes, to: page.Next}
	from := 0
	for _, end := range page.Ends {
		a.pieces, a.groups = tail.AppendPiece(a.pieces, a.groups, tail.Piece{Sequence: end.Sequence, From: uint32(from), To: uint32(end.At)})
		from = end.At
	}
	if len(page.Gaps) > 0 {
		// What is after it is read again.
		a.gap = page.Gaps[0]
		a.to = a.gap.From
		for n := len(a.pieces); n > 0 && a.pieces[n-1].Sequence > a.to.Sequence; n-- {
			a.pieces = a.pieces[:n-1]
		}
	} else if len(a.pieces) > 0 {
		w.core.shared.put(w.filter.Key, w.at, a)
	}
	if w.proceed(a) {
		return true, nil
	}
	// The newest operations come from the cache, unless it does not know the filter
	// yet.
	return a.gap == nil && (!page.End || w.cache().Holds(w.feed, w.at)), nil
}

// proceed continues with what was read. It reports whether there are operations.
func (w *sender) proceed(a ahead) bool {
	if len(a.pieces) > 0 {
		w.ahead = a
		return true
	}
	w.at, w.gap = a.to, a.gap
	return false
}
