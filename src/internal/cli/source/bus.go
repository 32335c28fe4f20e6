// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/agentunit"
	"crypto-auditing/src/internal/cli/bus"
	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// busStore is the log that the broker serves.
type busStore struct {
	ctx    context.Context // of the query; it ends the streams
	client *client.Client
	filter client.Filter
	boot   BootTime

	// after is where the next stream begins.
	after    client.Cursor
	stream   *client.Stream // nil: not open
	stop     func() bool    // unregisters the closing of stream with ctx
	ended    bool
	follower *follower // nil until Wait is called

	sequence uint64           // of the last entry returned
	oldest   *logstore.Cursor // of the log at the first call of StepBack
}

// OpenBus opens the log that the broker serves. The broker applies filter; ctx ends the
// streams.
func OpenBus(ctx context.Context, e *console.Environment, filter client.Filter, boot BootTime) (Store, error) {
	c, err := bus.Connect(ctx, e)
	if err != nil {
		return nil, err
	}
	return &busStore{ctx: ctx, client: c, filter: filter, boot: boot, after: client.Oldest}, nil
}

// callTime is the timeout for calls that the broker answers at once.
const callTime = 30 * time.Second

func (s *busStore) Ends() (newest, oldest logstore.Cursor, err error) {
	ctx, cancel := context.WithTimeout(s.ctx, callTime)
	defer cancel()
	for _, end := range []struct {
		get func(context.Context) (client.Cursor, error)
		to  *logstore.Cursor
	}{{s.client.Newest, &newest}, {s.client.Oldest, &oldest}} {
		text, err := end.get(ctx)
		if err != nil {
			return newest, oldest, bus.Error(err)
		}
		if *end.to, err = logstore.ParseCursor(string(text)); err != nil {
			return newest, oldest, fmt.Errorf("cannot find the ends of the log: %w", err)
		}
	}
	return newest, oldest, nil
}

func (s *busStore) Start() (at int64, ok bool, err error) {
	ctx, cancel := context.WithTimeout(s.ctx, callTime)
	defer cancel()
	page, err := s.client.Read(ctx, client.Oldest, client.Filter{}, 1)
	if err != nil {
		return 0, false, bus.Error(err)
	}
	if len(page.Groups) == 0 {
		return 0, false, nil
	}
	return page.Groups[0].Start.UnixNano(), true, nil
}

func (s *busStore) Resolve(text string) (logstore.Cursor, error) {
	newest, oldest, err := s.Ends()
	if err != nil {
		return newest, err
	}
	switch text {
	case logstore.NewestWord:
		return newest, nil
	case logstore.OldestWord:
		return oldest, nil
	}
	c, err := logstore.ParseCursor(text)
	if err == nil && c.Store != newest.Store && newest.Store != [16]byte{} {
		err = fmt.Errorf("%w: %s", logstore.ErrForeignCursor, c)
	}
	return c, err
}

// Seek always returns 0: the stream reports missing entries.
func (s *busStore) Seek(c logstore.Cursor) (missing uint64, err error) {
	s.after = client.Cursor(c.String())
	if c.Store == [16]byte{} {
		s.after = client.Oldest // of an empty log, which has no id yet
	}
	return 0, s.closeStream()
}

// SeekTime gets the first entry from the broker.
func (s *busStore) SeekTime(ctx context.Context, since int64) error {
	if err := s.Rewind(); err != nil {
		return err
	}
	filter := s.filter
	filter.Since = time.Unix(0, max(since, int64(time.Microsecond)))
	stream, err := s.client.Open(ctx, client.Oldest, filter, client.OpenOptions{})
	if err != nil {
		return bus.Error(err)
	}
	defer stream.Close()
	switch _, err := stream.Next(); {
	case errors.As(err, new(*client.MissingError)):
		return nil // the stream of the query reports it
	case err != nil && err != io.EOF:
		return bus.Error(err)
	case err == io.EOF:
		if end := stream.Cursor(); end != "" {
			s.after = end
		}
		return nil
	}
	at, err := logstore.ParseCursor(string(stream.Cursor()))
	if err != nil {
		return fmt.Errorf("cannot find a time in the log: %w", err)
	}
	at.Sequence--
	s.after = client.Cursor(at.String())
	return nil
}

func (s *busStore) Rewind() error {
	s.after = client.Oldest
	return s.closeStream()
}

func (s *busStore) Trouble() string {
	ctx, cancel := context.WithTimeout(s.ctx, callTime)
	defer cancel()
	status, err := s.client.Status(ctx)
	if err != nil {
		return "" // the query does not need it
	}
	switch agentunit.State(status.AgentState) {
	case agentunit.Stopped:
		return "the agent is stopped: start it by systemctl start " + agentunit.Service
	case agentunit.Failed:
		return "the agent has failed: see systemctl status " + agentunit.Service
	}
	if status.Agent != nil && !slices.ContainsFunc(status.Agent.Libraries, func(l client.Library) bool { return l.Sites > 0 }) {
		return "no library with probes is watched: see crauctl status"
	}
	return ""
}

func (s *busStore) Sequence() uint64 { return s.sequence }

// StepBack counts all entries: only the broker knows which of them pass the filter.
func (s *busStore) StepBack(c logstore.Cursor, n uint64) (from logstore.Cursor, ok bool, err error) {
	if s.oldest == nil {
		_, oldest, err := s.Ends()
		if err != nil {
			return from, false, err
		}
		s.oldest = &oldest
	}
	if c.Sequence <= s.oldest.Sequence || c.Sequence-s.oldest.Sequence <= n {
		return from, false, nil
	}
	c.Sequence -= n
	return c, true, nil
}

func (s *busStore) Next(g *event.Group) ([]byte, int64, error) {
	if s.follower != nil {
		return s.decode(g, s.follower.next)
	}
	if s.stream == nil {
		if err := s.open(client.OpenOptions{}); err != nil {
			return nil, 0, err
		}
	}
	if s.ended {
		return nil, 0, io.EOF
	}
	raw, boot, err := s.decode(g, s.stream.Next)
	if err == io.EOF {
		s.ended = true
		s.after = s.stream.Cursor()
	}
	return raw, boot, err
}

func (s *busStore) open(options client.OpenOptions) error {
	stream, err := s.client.Open(s.ctx, s.after, s.filter, options)
	if err != nil {
		return bus.Error(err)
	}
	s.stream = stream
	s.stop = context.AfterFunc(s.ctx, func() { _ = stream.Close() })
	return nil
}

// decode decodes the entry that next returns.
func (s *busStore) decode(g *event.Group, next func() (client.Entry, error)) ([]byte, int64, error) {
	e, err := next()
	var missing *client.MissingError
	switch {
	case err == io.EOF:
		return nil, 0, io.EOF
	case errors.As(err, &missing):
		return nil, 0, &GapError{err: err, Harmless: missing.Reason == string(event.Truncated) || missing.Reason == "",
			Missing: event.Missing{Entries: missing.Entries, Reason: event.MissingReason(missing.Reason)}}
	case s.ctx.Err() != nil:
		return nil, 0, s.ctx.Err()
	case err != nil:
		return nil, 0, bus.Error(err)
	}
	if _, err := event.Decode(e.CBOR, g); err != nil {
		return nil, 0, &GapError{err: fmt.Errorf("cannot decode entry %d: %w", e.Sequence, err)}
	}
	s.sequence = e.Sequence
	return e.CBOR, s.boot.known(e.Boot), nil
}

func (s *busStore) Cursor() (logstore.Cursor, error) {
	text := s.after
	if s.follower != nil {
		text = s.follower.cursor
	} else if s.stream != nil {
		text = s.stream.Cursor()
	}
	if text == "" {
		text = client.Newest // the log is empty
	}
	return s.Resolve(string(text))
}

func (s *busStore) closeStream() error {
	if s.stream == nil {
		return nil
	}
	s.stop()
	err := s.stream.Close()
	if s.follower != nil {
		close(s.follower.left)
		<-s.follower.done
		s.follower = nil
	}
	s.stream, s.ended = nil, false
	return err
}

func (s *busStore) Close() error { return errors.Join(s.closeStream(), s.client.Close()) }

// Wait follows the log after the last entry that Next has returned, from the first call
// on.
func (s *busStore) Wait(ctx context.Context) error {
	if s.follower == nil {
		after := s.after
		if err := s.closeStream(); err != nil {
			return err
		}
		s.after = after
		if err := s.open(client.OpenOptions{Follow: true}); err != nil {
			return err
		}
		s.follower = follow(s.stream, after)
	}
	return s.follower.wait(ctx)
}

// follower reads a stream in the background, so that next does not block.
type follower struct {
	coming     chan arrival
	left, done chan struct{} // left: closed to end reading; done: closed when reading has ended
	// The fields below belong to the caller's goroutine.
	waiting *arrival
	cursor  client.Cursor // after the last entry that next returned
}

// arrival is a result of the stream.
type arrival struct {
	entry  client.Entry
	err    error
	cursor client.Cursor
}

// maxComing bounds the results that wait for a slow output. Beyond it, reading pauses.
const maxComing = 1024

func follow(stream *client.Stream, after client.Cursor) *follower {
	f := &follower{
		coming: make(chan arrival, maxComing), left: make(chan struct{}), done: make(chan struct{}),
		cursor: after,
	}
	go func() {
		defer close(f.done)
		for {
			e, err := stream.Next()
			e.CBOR = bytes.Clone(e.CBOR)
			select {
			case f.coming <- arrival{e, err, stream.Cursor()}:
			case <-f.left:
				return
			}
			var missing *client.MissingError
			if err != nil && !errors.As(err, &missing) {
				return
			}
		}
	}()
	return f
}

// wait waits for a result.
func (f *follower) wait(ctx context.Context) error {
	if f.waiting != nil {
		return nil
	}
	select {
	case a := <-f.coming:
		f.waiting = &a
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// next returns the next result, io.EOF if there is none yet.
func (f *follower) next() (client.Entry, error) {
	a := f.waiting
	if a == nil {
		select {
		case next := <-f.coming:
			a = &next
		default:
			return client.Entry{}, io.EOF
		}
	}
	f.waiting = nil
	if a.cursor != "" {
		f.cursor = a.cursor
	}
	return a.entry, a.err
}
