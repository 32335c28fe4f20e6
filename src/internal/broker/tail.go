// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/message"
)

// openPause is how long to wait before a log that cannot be opened is tried
// again.
const openPause = time.Second

// tail reads the log as it grows, once for all. It is one goroutine.
type tail struct {
	dir  string
	form Form
	live *live
	log  *slog.Logger
	// grown is told the newest position and how many entries were appended.
	grown   func(newest logstore.Cursor, entries uint64)
	notices *notices
	// replaced is told when the log is another one than before.
	replaced func(at logstore.Cursor)

	// pokes wake it: from follower when the agent has told of a chunk, and when
	// classes have changed.
	pokes chan struct{}
	// told says that the agent tells of chunks, so that nobody else need.
	told atomic.Bool

	reader  *logstore.Reader
	index   *index
	group   event.Group
	scratch []byte
	health  *health
	skip    skip
	// failing is how the log could not be read last.
	failing atomic.Pointer[error]
}

func (t *tail) poke() {
	select {
	case t.pokes <- struct{}{}:
	default:
	}
}

// err is why the log cannot be read; nil if it can.
func (t *tail) err() error {
	if p := t.failing.Load(); p != nil {
		return *p
	}
	return nil
}

func (t *tail) fail(err error) {
	if old := t.err(); err != nil && (old == nil || old.Error() != err.Error()) {
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

// run reads until ctx is done.
func (t *tail) run(ctx context.Context) {
	defer t.leave()
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
			t.leave()
			continue
		}
		t.fail(err)
		if err != nil {
			t.leave()
			t.pause(ctx)
			continue
		}
		if err := t.wait(ctx); err != nil && ctx.Err() == nil {
			t.fail(err)
			t.leave()
			t.pause(ctx)
		}
	}
}

func (t *tail) pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(openPause):
	}
}

func (t *tail) leave() {
	if t.reader != nil {
		t.reader.Close()
		t.reader = nil
	}
}

// open begins where the tail was, or at the newest entry, or at the beginning
// of a log that is another one.
func (t *tail) open() error {
	if index := t.live.takeOver(); index != nil || t.index == nil {
		t.index = index
		if index == nil {
			t.index = newIndex(nil)
		}
	}
	r, err := openReader(t.dir, t.index.chunks)
	if err != nil {
		return err
	}
	if r.Store() == [16]byte{} {
		r.Close()
		return &StoreError{errors.New("there is nothing in " + t.dir)}
	}
	at, opened := t.live.newest()
	if opened && at.Store == r.Store() {
		if _, err := r.Seek(at); err != nil {
			r.Close()
			return &StoreError{err}
		}
		t.reader = r
		return nil
	}
	from, err := r.Newest()
	if opened {
		// Nothing of another log was ever seen.
		from, err = logstore.Cursor{Store: r.Store()}, nil
	}
	if err == nil {
		_, err = r.Seek(from)
	}
	if err != nil {
		r.Close()
		return &StoreError{err}
	}
	t.live.restart(from)
	t.notices.begin(from)
	if index := t.live.takeOver(); index != nil {
		t.index = index
	}
	t.reader = r
	if opened {
		t.replaced(from)
	}
	// The query may be another one now.
	return t.requery()
}

// requery goes on with a reader for the chunks of the index.
func (t *tail) requery() error {
	at := t.reader.Cursor()
	r, err := openReader(t.dir, t.index.chunks)
	if err == nil {
		_, err = r.Seek(at)
		if err != nil {
			r.Close()
			err = &StoreError{err}
		}
	}
	t.leave()
	if err != nil {
		return err
	}
	t.reader = r
	return nil
}

// errReplaced says that the folder has another log now.
var errReplaced = errors.New("the log is another one")

// replacedLog reports whether the folder has another log than the reader.
func (t *tail) replacedLog() bool {
	r, err := openReader(t.dir, logstore.Query{})
	if err != nil {
		return false
	}
	defer r.Close()
	return r.Store() != [16]byte{} && r.Store() != t.reader.Store()
}

// drain reads until there is nothing more.
func (t *tail) drain(ctx context.Context) error {
	before, _ := t.live.newest()
	begin := before
	for ctx.Err() == nil {
		if index := t.live.takeOver(); index != nil {
			same := len(index.chunks.Terms) == 0 && len(t.index.chunks.Terms) == 0
			t.index = index
			if !same {
				if err := t.requery(); err != nil {
					return err
				}
			}
		}
		err := t.step(ctx)
		now, _ := t.live.newest()
		if now != before {
			t.grown(now, between(before.Sequence, now.Sequence))
			before = now
		}
		if err == io.EOF {
			// It was woken for nothing: a reader does not leave its log for another.
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
func (t *tail) step(ctx context.Context) error {
	chunk, err := t.reader.Next(ctx)
	switch {
	case err == nil:
		t.skip = skip{}
		t.dispatch(chunk)
		return nil
	case err == io.EOF:
		t.live.advance(t.reader.Cursor().Sequence)
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	lack, ok := t.skip.read(t.health, err)
	if !ok {
		return &StoreError{err}
	}
	var missing *logstore.MissingError
	if lack.reason == Corrupt && !errors.As(err, &missing) {
		var corrupt *logstore.CorruptError
		segment := ""
		if errors.As(err, &corrupt) {
			segment = filepath.Base(corrupt.Segment)
		}
		message.SegmentDamaged.Log(t.log, "segment", segment, "error", err)
	}
	if lack.last != 0 {
		t.miss(lack.first, lack.last, lack.reason)
	}
	return nil
}

func (t *tail) miss(first, last uint64, reason Reason) {
	store := t.reader.Store()
	t.live.add(&block{last: last, gap: &Gap{
		From:    logstore.Cursor{Store: store, Sequence: first - 1},
		To:      logstore.Cursor{Store: store, Sequence: last},
		Entries: last - first + 1, Reason: reason,
	}})
}

// dispatch decides who gets the entries of a chunk.
func (t *tail) dispatch(chunk *logstore.Chunk) {
	b := &block{last: chunk.Last}
	groups := t.scratch[:0]
	rest, sequence := chunk.Entries, chunk.First
	e := Entry{Group: &t.group, Boot: chunk.Header.Offset}
	for len(rest) > 0 && sequence <= chunk.Last {
		n, err := event.Decode(rest, &t.group)
		if err != nil {
			break
		}
		e.Sequence, e.Raw = sequence, rest[:n]
		if t.group.IsNotice() {
			t.notices.appended(chunk.Segment, sequence, &t.group, e.Boot)
		}
		formed := false
		from := len(groups)
		t.index.visit(&e, func(c *class) {
			if !formed {
				formed = true
				groups = t.form(groups, &e)
			}
			if b.pieces == nil {
				b.pieces = map[*class][]piece{}
			}
			b.pieces[c] = append(b.pieces[c], piece{sequence: e.Sequence, from: uint32(from), to: uint32(len(groups))})
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
		// The header promised more.
		b.last = sequence - 1
		t.live.add(b)
		t.miss(sequence, chunk.Last, Corrupt)
		return
	}
	t.live.add(b)
}

// wait waits until the log may have grown or a class has come or gone.
func (t *tail) wait(ctx context.Context) error {
	if t.told.Load() {
		select {
		case <-ctx.Done():
		case <-t.pokes:
		}
		return nil
	}
	// The watch is on the folder; the poke ends it.
	watching, stop := context.WithCancel(ctx)
	defer stop()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-t.pokes:
			stop()
		case <-watching.Done():
		}
	}()
	err := t.reader.Wait(watching)
	woken := watching.Err() != nil
	stop()
	<-watched
	if err != nil && !woken {
		return &StoreError{err}
	}
	return nil
}
