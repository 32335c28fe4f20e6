// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"strings"
	"time"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/cli/terminal"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// connect connects to the broker.
func (e *Environment) connect(ctx context.Context) (*client.Client, error) {
	var options []client.Option
	if address := e.getenv("DBUS_SYSTEM_BUS_ADDRESS"); address != "" {
		options = append(options, client.WithAddress(address))
	}
	if terminal.Is(e.Stdin) && terminal.Is(e.Stderr) {
		options = append(options, client.WithInteraction())
	}
	c, err := client.Connect(ctx, options...)
	if err != nil {
		return nil, busError(err)
	}
	return c, nil
}

// remedyError says what to do about an error, too.
type remedyError struct {
	text string
	err  error
}

func (e *remedyError) Error() string { return e.text }
func (e *remedyError) Unwrap() error { return e.err }

// busError says what to do about an error of the broker.
func busError(err error) error {
	said := err
	var answer *client.Error
	if errors.As(err, &answer) {
		said = answer
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, fs.ErrPermission):
		return &remedyError{"not authorised: join the group crypto-auditing or use sudo", err}
	case errors.Is(err, client.ErrUnreachable):
		return &remedyError{"cannot reach the broker: " + strings.TrimPrefix(said.Error(), client.ErrUnreachable.Error()+": ") +
			": " + whyUnreachable(answer), err}
	case errors.Is(err, client.ErrAgentUnavailable):
		return &remedyError{err.Error() + ": see systemctl status crypto-auditing-agent", err}
	}
	return err
}

// whyUnreachable says what to do about a broker that the bus, in its answer,
// cannot reach.
func whyUnreachable(answer *client.Error) string {
	if answer != nil {
		switch name := strings.TrimPrefix(answer.Name, "org.freedesktop.DBus.Error."); {
		// It began to start, or to answer.
		case name == "TimedOut", name == "NoReply", strings.HasPrefix(name, "Spawn."), strings.HasPrefix(name, "org.freedesktop.systemd1."):
			return "see systemctl status crypto-auditing-broker"
		}
	}
	return "is crypto-auditing-broker installed, and a system bus running?"
}

// busStore is the log that the broker reads.
type busStore struct {
	ctx    context.Context // of the query: a stream ends with it
	client *client.Client
	filter client.Filter
	boot   bootTime

	// after is where the stream begins, or goes on once it has ended.
	after  client.Cursor
	stream *client.Stream // nil: not opened yet
	stop   func() bool    // that closes it with ctx
	ended  bool
	live   *live // nil: nobody has waited for more
}

func (q *query) openBus(ctx context.Context) (store, error) {
	c, err := q.environment.connect(ctx)
	if err != nil {
		return nil, err
	}
	return &busStore{ctx: ctx, client: c, filter: q.filter(), boot: q.boot, after: client.Oldest}, nil
}

// filter returns what of the selection the broker can apply: what holds for
// every group of a tree. See chunks.
func (q *query) filter() client.Filter {
	var f client.Filter
	s := &q.selection
	if q.boot.forced == nil {
		if s.since > math.MinInt64+int64(lead) {
			f.Since = time.Unix(0, max(s.since-int64(lead), int64(time.Microsecond)))
		}
		if s.until < math.MaxInt64-int64(lead) {
			f.Until = time.Unix(0, max(s.until+int64(lead), int64(time.Microsecond)))
		}
	}
	for name := range s.executables {
		f.Executables = append(f.Executables, escapedName(name))
		if escaped := escapedName(name); strings.Contains(name, `\`) && escaped != name {
			f.Executables = append(f.Executables, name) // it may be meant as the escaped form of another
		}
	}
	return f
}

// callTime bounds the calls that need no work.
const callTime = 30 * time.Second

func (s *busStore) ends() (newest, oldest logstore.Cursor, err error) {
	ctx, cancel := context.WithTimeout(s.ctx, callTime)
	defer cancel()
	for _, end := range []struct {
		ask func(context.Context) (client.Cursor, error)
		to  *logstore.Cursor
	}{{s.client.Newest, &newest}, {s.client.Oldest, &oldest}} {
		text, err := end.ask(ctx)
		if err != nil {
			return newest, oldest, busError(err)
		}
		if *end.to, err = logstore.ParseCursor(string(text)); err != nil {
			return newest, oldest, fmt.Errorf("cannot find the ends of the log: %w", err)
		}
	}
	return newest, oldest, nil
}

func (s *busStore) start() (at int64, ok bool, err error) {
	ctx, cancel := context.WithTimeout(s.ctx, callTime)
	defer cancel()
	page, err := s.client.Read(ctx, client.Oldest, client.Filter{}, 1)
	if err != nil {
		return 0, false, busError(err)
	}
	if len(page.Groups) == 0 {
		return 0, false, nil
	}
	return page.Groups[0].Start.UnixNano(), true, nil
}

func (s *busStore) resolve(text string) (logstore.Cursor, error) {
	newest, oldest, err := s.ends()
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

// seek never knows of missing entries: the stream tells.
func (s *busStore) seek(c logstore.Cursor) (missing uint64, err error) {
	s.after = client.Cursor(c.String())
	if c.Store == [16]byte{} {
		s.after = client.Oldest // of an empty log, which has no name yet
	}
	return 0, s.closeStream()
}

// seekTime begins at the oldest entry: the filter leaves out what is older.
func (s *busStore) seekTime(int64) error {
	s.after = client.Oldest
	return s.closeStream()
}

func (s *busStore) next(g *event.Group) ([]byte, int64, error) {
	if s.live != nil {
		return s.decode(g, s.live.next)
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
		return busError(err)
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
		return nil, 0, &gapError{err: err, harmless: missing.Reason == "truncated" || missing.Reason == "",
			missing: event.Missing{Entries: missing.Entries, Reason: missing.Reason}}
	case s.ctx.Err() != nil:
		return nil, 0, s.ctx.Err()
	case err != nil:
		return nil, 0, busError(err)
	}
	if _, err := event.Decode(e.CBOR, g); err != nil {
		return nil, 0, &gapError{err: fmt.Errorf("cannot decode entry %d: %w", e.Sequence, err)}
	}
	return e.CBOR, s.boot.known(e.Boot), nil
}

func (s *busStore) cursor() (logstore.Cursor, error) {
	text := s.after
	if s.live != nil {
		text = s.live.cursor
	} else if s.stream != nil {
		text = s.stream.Cursor()
	}
	if text == "" {
		text = client.Newest // the log is empty
	}
	return s.resolve(string(text))
}

func (s *busStore) closeStream() error {
	if s.stream == nil {
		return nil
	}
	s.stop()
	err := s.stream.Close()
	if s.live != nil {
		close(s.live.left)
		<-s.live.done
		s.live = nil
	}
	s.stream, s.ended = nil, false
	return err
}

func (s *busStore) close() error { return errors.Join(s.closeStream(), s.client.Close()) }

// wait begins to follow the log behind what next has returned, when it is first
// called.
func (s *busStore) wait(ctx context.Context) error {
	if s.live == nil {
		after := s.after
		if err := s.closeStream(); err != nil {
			return err
		}
		s.after = after
		if err := s.open(client.OpenOptions{Follow: true}); err != nil {
			return err
		}
		s.live = follow(s.stream, after)
	}
	return s.live.wait(ctx)
}

// live follows a stream in the background, so that one can look whether there
// is more.
type live struct {
	coming     chan arrival
	left, done chan struct{} // closed when nobody looks, and when nothing comes
	// The rest is for the goroutine that looks.
	waiting *arrival
	cursor  client.Cursor // behind what next has returned
}

// arrival is what a stream has returned.
type arrival struct {
	entry  client.Entry
	err    error
	cursor client.Cursor
}

// coming bounds what waits for a slow output; then the stream waits.
const maxComing = 1024

func follow(stream *client.Stream, after client.Cursor) *live {
	l := &live{
		coming: make(chan arrival, maxComing), left: make(chan struct{}), done: make(chan struct{}),
		cursor: after,
	}
	go func() {
		defer close(l.done)
		for {
			e, err := stream.Next()
			e.CBOR = bytes.Clone(e.CBOR)
			select {
			case l.coming <- arrival{e, err, stream.Cursor()}:
			case <-l.left:
				return
			}
			var missing *client.MissingError
			if err != nil && !errors.As(err, &missing) {
				return
			}
		}
	}()
	return l
}

// wait waits until there is something.
func (l *live) wait(ctx context.Context) error {
	if l.waiting != nil {
		return nil
	}
	select {
	case a := <-l.coming:
		l.waiting = &a
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// next returns what has come, io.EOF if nothing has.
func (l *live) next() (client.Entry, error) {
	a := l.waiting
	if a == nil {
		select {
		case next := <-l.coming:
			a = &next
		default:
			return client.Entry{}, io.EOF
		}
	}
	l.waiting = nil
	if a.cursor != "" {
		l.cursor = a.cursor
	}
	return a.entry, a.err
}
