// SPDX-License-Identifier: Apache-2.0

// Package tail reads the log while it grows, once for all subscriptions, and caches
// the newest groups.
package tail

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/broker/notices"
	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/wakeup"
)

// openPause is the time between attempts to open the log.
const openPause = time.Second

// Tail reads the log while it grows, in one goroutine for all subscriptions.
type Tail struct {
	dir    string
	source *reading.Log
	encode reading.Encoder
	// Cache has the newest groups.
	Cache *Cache
	log   *slog.Logger
	// grown is called with the newest position and the number of new entries.
	grown   func(newest logstore.Cursor, entries uint64)
	notices *notices.Notices

	// wakes wake it: one from follower after the agent has reported a chunk, one
	// after a change of the feeds.
	wakes wakeup.Signal
	// reporting is set while the agent reports chunks, so that watching is unnecessary.
	reporting atomic.Bool

	reader  *logstore.Reader
	index   *index
	group   event.Group
	scratch []byte
	skip    reading.Skip
	// failing is the last error of reading the log.
	failing atomic.Pointer[error]
}

// New returns the tail of the log in dir. It reads what is appended from now on; it
// retries to open a log that cannot be read yet. grown is called with the newest
// position and the number of new entries.
func New(dir string, source *reading.Log, encode reading.Encoder, n *notices.Notices, grown func(logstore.Cursor, uint64), log *slog.Logger) *Tail {
	t := &Tail{
		dir: dir, source: source, encode: encode, Cache: NewCache(ringBytes), notices: n, grown: grown, log: log, wakes: wakeup.New(),
	}
	t.fail(t.open())
	return t
}

// Reported records that the agent has reported a chunk, which ends at a cursor: the
// directory of the log need not be watched. A chunk that was read already wakes
// nothing; under load these are most, because the tail reads as far as it can.
func (t *Tail) Reported(to logstore.Cursor) {
	t.reporting.Store(true)
	if newest, ok := t.Cache.Newest(); !ok || newest.Store != to.Store || newest.Sequence < to.Sequence {
		t.Wake()
	}
}

// NotReporting records that the agent no longer reports chunks.
func (t *Tail) NotReporting() {
	t.reporting.Store(false)
	t.Wake()
}

// Wake wakes the tail: the log has grown, or feeds have changed.
func (t *Tail) Wake() { t.wakes.Notify() }

// Err returns the reason why the log cannot be read, nil if it can.
func (t *Tail) Err() error {
	if p := t.failing.Load(); p != nil {
		return *p
	}
	return nil
}

func (t *Tail) fail(err error) {
	if old := t.Err(); err != nil && (old == nil || old.Error() != err.Error()) {
		message.LogUnreadable.Log(t.log, "error", err)
	} else if err == nil && old != nil {
		message.LogReadable.Log(t.log)
	}
	if err == nil {
		t.failing.Store(nil)
		return
	}
	t.failing.Store(&err)
}

// Run reads until ctx is done.
func (t *Tail) Run(ctx context.Context) {
	defer t.close()
	for ctx.Err() == nil {
		if t.reader == nil {
			if err := t.open(); err != nil {
				t.fail(err)
				t.pause(ctx)
				continue
			}
		}
		err := t.drain(ctx)
		if err == errReplaced {
			t.close()
			continue
		}
		t.fail(err)
		if err != nil {
			t.close()
			t.pause(ctx)
			continue
		}
		if err := t.wait(ctx); err != nil && ctx.Err() == nil {
			t.fail(err)
			t.close()
			t.pause(ctx)
		}
	}
}

func (t *Tail) pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(openPause):
	}
}

func (t *Tail) close() {
	if t.reader != nil {
		t.reader.Close()
		t.reader = nil
	}
}

// open continues where the tail was, or starts at the newest entry, or at the
// beginning of a log that has replaced the previous one.
func (t *Tail) open() error {
	if index := t.Cache.takeOver(); index != nil || t.index == nil {
		t.index = index
		if index == nil {
			t.index = newIndex(nil)
		}
	}
	r, err := t.source.Reader(t.index.Chunks)
	if err != nil {
		return err
	}
	if r.Store() == [16]byte{} {
		r.Close()
		return &fault.StoreError{Err: errors.New("the directory is empty: " + t.dir)}
	}
	at, opened := t.Cache.Newest()
	if opened && at.Store == r.Store() {
		if _, err := r.Seek(at); err != nil {
			r.Close()
			return &fault.StoreError{Err: err}
		}
		t.reader = r
		return nil
	}
	from, err := r.Newest()
	if opened {
		// No entry of this log was read before.
		from, err = logstore.Cursor{Store: r.Store()}, nil
	}
	if err == nil {
		_, err = r.Seek(from)
	}
	if err != nil {
		r.Close()
		return &fault.StoreError{Err: err}
	}
	t.Cache.Restart(from)
	t.notices.Begin(from)
	if index := t.Cache.takeOver(); index != nil {
		t.index = index
	}
	t.reader = r
	// The query may have changed.
	return t.requery()
}

// requery continues with a reader for the chunks that match the index.
func (t *Tail) requery() error {
	at := t.reader.Cursor()
	r, err := t.source.Reader(t.index.Chunks)
	if err == nil {
		_, err = r.Seek(at)
		if err != nil {
			r.Close()
			err = &fault.StoreError{Err: err}
		}
	}
	t.close()
	if err != nil {
		return err
	}
	t.reader = r
	return nil
}

// errReplaced indicates that the directory contains another log now.
var errReplaced = errors.New("the log was replaced by another one")

// replacedLog reports whether the directory contains another log than the reader's.
func (t *Tail) replacedLog() bool {
	r, err := t.source.Reader(logstore.Query{})
	if err != nil {
		return false
	}
	defer r.Close()
	return r.Store() != [16]byte{} && r.Store() != t.reader.Store()
}

// drain reads to the end of the log.
func (t *Tail) drain(ctx context.Context) error {
	before, _ := t.Cache.Newest()
	begin := before
	for ctx.Err() == nil {
		if index := t.Cache.takeOver(); index != nil {
			same := len(index.Chunks.Terms) == 0 && len(t.index.Chunks.Terms) == 0
			t.index = index
			if !same {
				if err := t.requery(); err != nil {
					return err
				}
			}
		}
		err := t.step(ctx)
		now, _ := t.Cache.Newest()
		if now != before {
			t.grown(now, reading.Between(before.Sequence, now.Sequence))
			before = now
		}
		if err == io.EOF {
			// Woken without new chunks: a reader does not switch to another log by itself.
			if now == begin && t.replacedLog() {
				return errReplaced
			}
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// step reads a chunk.
func (t *Tail) step(ctx context.Context) error {
	chunk, err := t.reader.Next(ctx)
	switch {
	case err == nil:
		t.skip = reading.Skip{}
		t.dispatch(chunk)
		return nil
	case err == io.EOF:
		t.Cache.advance(t.reader.Cursor().Sequence)
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	lack, ok := t.skip.Read(t.source, err)
	if !ok {
		return &fault.StoreError{Err: err}
	}
	var missing *logstore.MissingError
	if lack.Reason == event.Corrupt && !errors.As(err, &missing) {
		var corrupt *logstore.CorruptError
		segment := ""
		if errors.As(err, &corrupt) {
			segment = filepath.Base(corrupt.Segment)
		}
		message.SegmentDamaged.Log(t.log, "segment", segment, "error", err)
	}
	if lack.Last != 0 {
		t.miss(lack.First, lack.Last, lack.Reason)
	}
	return nil
}

func (t *Tail) miss(first, last uint64, reason event.MissingReason) {
	store := t.reader.Store()
	t.Cache.add(&block{last: last, gap: &reading.Gap{
		From:    logstore.Cursor{Store: store, Sequence: first - 1},
		To:      logstore.Cursor{Store: store, Sequence: last},
		Entries: last - first + 1, Reason: reason,
	}})
}

// dispatch determines the receivers of the entries of a chunk.
func (t *Tail) dispatch(chunk *logstore.Chunk) {
	b := &block{last: chunk.Last}
	groups := t.scratch[:0]
	rest, sequence := chunk.Entries, chunk.First
	e := event.Entry{Group: &t.group, Boot: chunk.Header.Offset}
	for len(rest) > 0 && sequence <= chunk.Last {
		n, err := event.Decode(rest, &t.group)
		if err != nil {
			break
		}
		e.Sequence, e.Raw = sequence, rest[:n]
		if t.group.IsNotice() {
			t.notices.Appended(chunk.Segment, sequence, &t.group, e.Boot)
		}
		formed := false
		from := len(groups)
		t.index.Visit(e.Group, e.Sequence, e.Boot, func(place int) {
			if !formed {
				formed = true
				groups = t.encode(groups, &e)
			}
			if b.pieces == nil {
				b.pieces = map[*Feed][]Piece{}
			}
			feed := t.index.feeds[place]
			b.pieces[feed] = append(b.pieces[feed], Piece{Sequence: e.Sequence, From: uint32(from), To: uint32(len(groups))})
		})
		rest = rest[n:]
		sequence++
	}
	b.groups = append([]byte(nil), groups...)
	const keep = 1 << 20
	if t.scratch = groups; cap(groups) > keep {
		t.scratch = nil
	}
	if sequence <= chunk.Last {
		// The chunk has fewer entries than its header claims.
		b.last = sequence - 1
		t.Cache.add(b)
		t.miss(sequence, chunk.Last, event.Corrupt)
		return
	}
	t.Cache.add(b)
}

// wait waits until the log may have grown or the feeds have changed.
func (t *Tail) wait(ctx context.Context) error {
	if t.reporting.Load() {
		select {
		case <-ctx.Done():
		case <-t.wakes:
		}
		return nil
	}
	// The watch is on the directory; the poke ends it.
	watching, stop := context.WithCancel(ctx)
	defer stop()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-t.wakes:
			stop()
		case <-watching.Done():
		}
	}()
	err := t.reader.Wait(watching)
	woken := watching.Err() != nil
	stop()
	<-watched
	if err != nil && !woken {
		return &fault.StoreError{Err: err}
	}
	return nil
}
