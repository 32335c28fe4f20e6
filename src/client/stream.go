// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/event"
)

// OpenOptions are options of Open.
type OpenOptions struct {
	// Follow continues at the end of the log with new entries, also after a restart
	// of the broker.
	Follow bool
}

// Stream is the log from a cursor on. Read it either by Read, as a CBOR sequence
// (RFC 8742), or by Next and Groups. Close may be called concurrently, the other
// methods may not.
type Stream struct {
	client  *Client
	filter  Filter
	options OpenOptions

	entries *entries
	after   Cursor // where it started
	newest  Cursor // of the log when the stream was opened
	last    uint64 // sequence of the last returned entry, 0 if none
	ended   bool
	group   event.Group
	backoff backoff

	ctx    context.Context // done when the stream is closed
	cancel context.CancelFunc
	mu     sync.Mutex
	pipe   *os.File // replaced under mu
}

// Open streams the log after a cursor through a pipe, the fastest way to read much
// data. Errors: ErrInvalidCursor, ErrForeignCursor, ErrInvalidFilter,
// ErrLimitExceeded, ErrStoreCorrupt, ErrAccessDenied, ErrUnreachable.
//
// ctx applies to opening only. The stream holds a file descriptor until it is
// closed.
func (c *Client) Open(ctx context.Context, after Cursor, filter Filter, options OpenOptions) (*Stream, error) {
	newest, err := c.Newest(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot open the log: %w", err)
	}
	if after == Newest {
		after = newest.firm()
	}
	s := &Stream{client: c, filter: filter, options: options, after: after, newest: newest}
	if err := s.open(ctx, after); err != nil {
		return nil, fmt.Errorf("cannot open the log: %w", err)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// open opens the pipe after a cursor and replaces the previous one.
func (s *Stream) open(ctx context.Context, after Cursor) error {
	version, err := s.client.interfaceVersion(ctx)
	if err != nil {
		return err
	}
	pipe, err := s.client.open(ctx, after, &s.filter, s.options)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pipe != nil {
		s.pipe.Close()
	}
	s.pipe, s.entries = pipe, newEntries(pipe, version)
	return nil
}

// open calls Open and returns the pipe.
func (c *Client) open(ctx context.Context, after Cursor, filter *Filter, options OpenOptions) (*os.File, error) {
	var arguments = map[string]dbus.Variant{}
	if options.Follow {
		arguments["follow"] = dbus.MakeVariant(true)
	}
	// An abandoned call would lose the file descriptor in its reply, so it is
	// awaited.
	return await(ctx, func() (*os.File, error) {
		body, err := c.call(context.WithoutCancel(ctx), brokerPath, brokerInterface+".Open", string(after), filter.encode(), arguments)
		if err != nil {
			return nil, err
		}
		return pipeOf(body)
	}, func(pipe *os.File) { pipe.Close() })
}

func pipeOf(body []any) (*os.File, error) {
	var fd dbus.UnixFD
	if err := store("Open", body, &fd); err != nil {
		return nil, err
	}
	// Close must be able to end a blocked Read.
	if err := syscall.SetNonblock(int(fd), true); err != nil {
		_ = syscall.Close(int(fd))
		return nil, fmt.Errorf("%w: Open returned a bad descriptor: %w", ErrProtocol, err)
	}
	return os.NewFile(uintptr(fd), "log"), nil
}

// Close ends the stream.
func (s *Stream) Close() error {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.pipe.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("cannot close stream: %w", err)
	}
	return nil
}

// Read reads the raw stream: event groups in CBOR, each with the keys seq and boot
// first. The last one is the notice crau::end, which reports whether the stream is
// complete; without it the stream broke off.
func (s *Stream) Read(p []byte) (int, error) {
	n, err := s.pipe.Read(p)
	if errors.Is(err, os.ErrClosed) || (err != nil && s.ctx.Err() != nil) {
		err = ErrClosed
	}
	return n, err
}

// Next returns the next entry. Errors: io.EOF at the end of the log; a
// *MissingError where entries are missing, after which the next call continues; a
// *StreamError if the stream ended early; ErrClosed; another error if nothing more
// can be read.
func (s *Stream) Next() (Entry, error) {
	for {
		e, err := s.entries.next()
		var missing *MissingError
		switch {
		case err == nil || errors.As(err, &missing):
			s.backoff.reset()
			s.last = e.Sequence
			if err != nil {
				e = Entry{}
			}
			return e, err
		case errors.Is(err, os.ErrClosed) || s.ctx.Err() != nil:
			return Entry{}, ErrClosed
		case err == io.EOF && !s.options.Follow:
			s.ended = true
			return Entry{}, io.EOF
		case !s.options.Follow || errors.Is(err, ErrProtocol):
			return Entry{}, fmt.Errorf("cannot read the log: %w", err)
		}
		// The broker has exited. A partial entry is sent again.
		if err := s.reopen(); err != nil {
			return Entry{}, err
		}
	}
}

// reopen reopens the stream at its position once the broker is available again.
func (s *Stream) reopen() error {
	for {
		if err := s.backoff.wait(s.ctx); err != nil {
			return ErrClosed
		}
		after, err := s.position()
		if err == nil {
			err = s.open(s.ctx, after)
		}
		switch {
		case s.ctx.Err() != nil:
			_ = s.Close() // it may have been closed in the meantime
			return ErrClosed
		case err == nil:
			return nil
		case !transient(err):
			return fmt.Errorf("cannot continue with the log: %w", err)
		}
	}
}

// position returns the cursor after the last returned entry.
func (s *Stream) position() (Cursor, error) {
	if s.last == 0 {
		return s.after, nil
	}
	if !s.newest.concrete() {
		// The log was empty when the stream was opened.
		newest, err := s.client.Newest(s.ctx)
		if err != nil {
			return "", err
		}
		s.newest = newest
	}
	return s.newest.at(s.last), nil
}

// Cursor returns the position after the last entry that Next returned, and at the
// end of the stream also after all entries that did not match. It is empty while
// the log has been empty.
func (s *Stream) Cursor() Cursor {
	at := s.newest.at(s.last)
	switch {
	case s.last == 0 && s.after.concrete() && !(s.ended && s.newest > s.after):
		return s.after
	case s.last == 0 && !s.ended && s.after == Oldest:
		return s.newest.at(0)
	case s.ended && s.newest > at:
		return s.newest
	}
	return at
}

// Groups returns the groups up to the end of the stream. Where entries are missing,
// it yields a *MissingError and continues; any other error is the last.
func (s *Stream) Groups() iter.Seq2[Group, error] {
	return func(yield func(Group, error) bool) {
		for {
			e, err := s.Next()
			if err == io.EOF {
				return
			}
			var g Group
			if err == nil {
				if _, err = event.Decode(e.CBOR, &s.group); err != nil {
					err = fmt.Errorf("%w: %w", ErrProtocol, err)
				} else {
					g = groupOfEntry(&event.Entry{Sequence: e.Sequence, Boot: e.Boot, Group: &s.group})
				}
			}
			var missing *MissingError
			if !yield(g, err) || (err != nil && !errors.As(err, &missing)) {
				return
			}
		}
	}
}

// storeLength is the length of the part of a cursor that identifies the log; a
// hyphen and the sequence in hexadecimal digits follow.
const storeLength = 32

// concrete reports whether the cursor is a position in a log: neither a word nor a
// position in an empty log, which has no identity yet.
func (c Cursor) concrete() bool {
	return len(c) == storeLength+1+16 && strings.IndexByte(string(c), '-') == storeLength &&
		strings.Trim(string(c[:storeLength]), "0") != ""
}

// firm returns the cursor of the newest entry in a form whose meaning does not
// change when entries are appended.
func (c Cursor) firm() Cursor {
	if !c.concrete() {
		return Oldest // equivalent in an empty log
	}
	return c
}

// at returns the cursor of a sequence in the same log, empty if the log's identity
// is unknown.
func (c Cursor) at(sequence uint64) Cursor {
	if !c.concrete() {
		return ""
	}
	return Cursor(fmt.Sprintf("%s-%016x", string(c[:storeLength]), sequence))
}
