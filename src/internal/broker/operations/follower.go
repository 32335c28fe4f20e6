// SPDX-License-Identifier: Apache-2.0

package operations

import (
	"context"
	"log/slog"
	"sort"
	"time"

	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/broker/tail"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/wakeup"
)

const (
	// retryPause is the time between attempts to read the log.
	retryPause = time.Second
	// blockBytes is the size of the encoded operations that are cached at once, in bytes.
	blockBytes = 256 << 10
	// cacheBytes bounds the size of the cached operations, in bytes.
	cacheBytes = 8 << 20
)

// Follower builds the operations of the log while it grows, in one goroutine for all subscriptions to
// operations, and caches the newest. It reads nothing while there are no such subscriptions.
type Follower struct {
	// Cache has the newest operations, by the numbers of their last entries. Its position is
	// the one up to which all operations are complete.
	Cache *tail.Cache

	source    *Source
	converter *converter
	encoder   Encoder
	// newest returns the end of the log; ok is false before there is one.
	newest func() (c logstore.Cursor, ok bool)
	log    *slog.Logger
	// wakes is pending when the log has grown, or feeds have changed.
	wakes   wakeup.Signal
	trouble string

	walk  *walk
	store [16]byte
	feeds []*tail.Feed
	// block is the part that is not in the cache yet, after the cache's position.
	block struct {
		bytes  []byte
		pieces map[*tail.Feed][]tail.Piece
	}
}

// NewFollower returns a Follower that uses an encoder. newest returns the end of the log.
func NewFollower(s *Source, encoder Encoder, newest func() (logstore.Cursor, bool), log *slog.Logger) *Follower {
	return &Follower{Cache: tail.NewCache(cacheBytes), source: s, converter: s.converter(), encoder: encoder, newest: newest, log: log, wakes: wakeup.New()}
}

// Wake wakes it: the log has grown, or subscriptions have changed.
func (l *Follower) Wake() { l.wakes.Notify() }

// Run reads until ctx is done.
func (l *Follower) Run(ctx context.Context) {
	defer l.endWalk()
	for ctx.Err() == nil {
		if !l.Cache.Wanted() {
			l.endWalk()
			l.Cache.Close()
			l.wait(ctx, 0)
			continue
		}
		newest, ok := l.newest()
		if !ok {
			l.wait(ctx, 0)
			continue
		}
		wait, err := l.read(ctx, newest)
		if err != nil && ctx.Err() == nil {
			if err.Error() != l.trouble {
				l.trouble = err.Error()
				message.LogUnreadable.Log(l.log, "error", err)
			}
			l.endWalk()
			wait = retryPause
		} else {
			l.trouble = ""
		}
		l.wait(ctx, wait)
	}
}

// endWalk ends the walk.
func (l *Follower) endWalk() {
	if l.walk != nil {
		l.walk.close()
		l.walk = nil
	}
	l.block.bytes, l.block.pieces = nil, nil
}

// wait waits until there may be work, but no longer than most, unless that is 0.
func (l *Follower) wait(ctx context.Context, most time.Duration) {
	var timeout <-chan time.Time
	if most > 0 {
		timer := time.NewTimer(most)
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-ctx.Done():
	case <-l.wakes:
	case <-timeout:
	}
}

// read reads to the end of the log. It returns when the next operation may be complete without
// another entry, 0 if none is incomplete.
func (l *Follower) read(ctx context.Context, newest logstore.Cursor) (wait time.Duration, err error) {
	if l.walk == nil || newest.Store != l.store {
		if err := l.begin(ctx, newest); err != nil {
			return 0, err
		}
	}
	at, _ := l.Cache.Newest()
	for end := false; !end; {
		if feeds, changed := l.Cache.Changes(); changed {
			l.feeds = feeds
		}
		for read := 0; !end && read < checks && len(l.block.bytes) < blockBytes; read++ {
			if end, err = l.walk.step(ctx); err != nil {
				return 0, err
			}
			l.take(at.Sequence)
		}
		l.flush()
		at, _ = l.Cache.Newest()
	}
	return l.walk.due(), nil
}

// begin starts a walk at the end of the cache or, if that has no position, at the end of the log,
// after all operations that are complete there.
func (l *Follower) begin(ctx context.Context, newest logstore.Cursor) (err error) {
	l.endWalk()
	at, opened := l.Cache.Newest()
	continues := opened && at.Store == newest.Store
	switch {
	case continues:
	case opened:
		l.source.cache.empty()
		at = logstore.Cursor{Store: newest.Store} // no entry of this log was read before
	default:
		at = newest
	}
	w, err := startWalk(ctx, l.source, at)
	if err != nil {
		return err
	}
	if !opened {
		for end := false; !end; {
			if end, err = w.step(ctx); err != nil {
				w.close()
				return err
			}
			for w.first() != nil {
				w.release()
			}
		}
		at.Sequence = w.passed()
		w.gaps = nil
	}
	l.walk, l.store = w, newest.Store
	if !continues {
		l.Cache.Restart(at)
	}
	return nil
}

// take moves the complete operations that were completed after a position into the block.
func (l *Follower) take(after uint64) {
	for root := l.walk.first(); root != nil; root = l.walk.first() {
		from, to := len(l.block.bytes), -1
		for _, feed := range l.feeds {
			if root.Completed <= after || !feed.Filter().PassesOperation(l.source.Registry, root) {
				continue
			}
			if to < 0 {
				l.block.bytes = l.encoder.Append(l.block.bytes, l.converter.convert(root, l.store))
				to = len(l.block.bytes)
			}
			if l.block.pieces == nil {
				l.block.pieces = map[*tail.Feed][]tail.Piece{}
			}
			l.block.pieces[feed], l.block.bytes = tail.AppendPiece(l.block.pieces[feed], l.block.bytes, tail.Piece{
				Sequence: root.Completed, From: uint32(from), To: uint32(to),
			})
		}
		l.walk.release()
	}
}

// flush moves the block into the cache, with the gaps of the log.
func (l *Follower) flush() {
	passed := l.walk.passed()
	at, _ := l.Cache.Newest()
	for len(l.walk.gaps) > 0 {
		gap := l.walk.gaps[0]
		if gap.To.Sequence > passed && !gap.Note() {
			break
		}
		l.walk.gaps = l.walk.gaps[1:]
		if gap = gapAfter(gap, at.Sequence); gap == nil {
			continue
		}
		l.Cache.Append(gap.From.Sequence, l.block.bytes, l.until(gap.From.Sequence))
		l.Cache.AppendGap(gap)
		at = gap.To
	}
	if passed > at.Sequence || len(l.block.pieces) > 0 {
		l.Cache.Append(passed, l.block.bytes, l.until(passed))
	}
	l.block.bytes = nil
}

// until removes the pieces of the block up to a position and returns them.
func (l *Follower) until(sequence uint64) map[*tail.Feed][]tail.Piece {
	removed := map[*tail.Feed][]tail.Piece{}
	for feed, pieces := range l.block.pieces {
		n := sort.Search(len(pieces), func(i int) bool { return pieces[i].Sequence > sequence })
		if n > 0 {
			removed[feed] = pieces[:n:n]
		}
		if n == len(pieces) {
			delete(l.block.pieces, feed)
		} else {
			l.block.pieces[feed] = pieces[n:]
		}
	}
	return removed
}

// gapAfter returns the part of a gap after a position, nil if nothing is missing there.
func gapAfter(gap *reading.Gap, after uint64) *reading.Gap {
	if gap.Note() || gap.To.Sequence <= after {
		return nil
	}
	if gap.From.Sequence < after {
		part := *gap
		part.From.Sequence, part.Entries = after, reading.Between(after, gap.To.Sequence)
		return &part
	}
	return gap
}
