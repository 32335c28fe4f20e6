// SPDX-License-Identifier: Apache-2.0

// Package brokertest makes logs for tests of programs that read one.
package brokertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/entry"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/retention"
	"crypto-auditing/src/internal/status"
)

// Log is a log that a test appends to. Its methods end the test on errors.
type Log struct {
	t      testing.TB
	Dir    string
	Writer *logstore.Writer
}

// New makes a log, which is closed with the test.
func New(t testing.TB) *Log {
	t.Helper()
	l := &Log{t: t, Dir: t.TempDir()}
	l.Open()
	return l
}

// Open opens the log for writing.
func (l *Log) Open() {
	l.t.Helper()
	w, err := logstore.Open(context.Background(), l.Dir, logstore.Options{
		EntryLen: event.Len, SegmentSize: 1 << 30, SyncInterval: -1, QueueSize: 256 << 20,
		Clock: steady{logstore.SystemClock{}.Now().Offset},
		Metadata: func(now logstore.Moment) []byte {
			return event.AppendMetadata(nil, now.Offset/int64(time.Second), now.Boot)
		},
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.Writer = w
	l.t.Cleanup(func() { w.Close() })
}

// steady is the system clock without steps: a step would begin a segment.
type steady struct{ offset int64 }

// Now implements logstore.Clock.
func (s steady) Now() logstore.Moment {
	return logstore.Moment{Boot: logstore.SystemClock{}.Now().Boot, Offset: s.offset}
}

// Group is the part of a group that tests choose.
type Group struct {
	Name, Executable string
	Data             map[string]int64
}

// Append appends groups as one chunk and returns the cursor after it.
func (l *Log) Append(groups ...Group) logstore.Cursor {
	l.t.Helper()
	var encoded []event.Group
	for _, g := range groups {
		e := event.Group{Context: event.ContextID{1}, Name: []byte(g.Name), Executable: []byte(g.Executable)}
		for k, v := range g.Data {
			e.Events = append(e.Events, event.Event{Key: []byte(k), Value: event.Value{Word: v}})
		}
		encoded = append(encoded, e)
	}
	return l.Write(encoded...)
}

// Write appends groups as one chunk and returns the cursor after it. Groups
// without a time get the current time.
func (l *Log) Write(groups ...event.Group) logstore.Cursor {
	l.t.Helper()
	now := logstore.SystemClock{}.Now().Boot
	b := logstore.Batch{First: now, Last: now, Terms: []uint64{}, Values: []uint64{}}
	for i := range groups {
		g := &groups[i]
		if g.Start == 0 {
			g.Start, g.End = now, now
		}
		b.Entries = event.Append(b.Entries, g)
		b.End()
		b.First, b.Last = min(b.First, g.Start), max(b.Last, g.End)
		b.Terms, b.Values = entry.AppendTerms(b.Terms, g), entry.AppendValues(b.Values, g)
		b.Notice = b.Notice || g.IsNotice()
		if loss, lost := g.Loss(); lost {
			b.Lost += loss.Events
		}
	}
	p, err := l.Writer.Append(b)
	if err != nil {
		l.t.Fatal(err)
	}
	return p.Cursor
}

// Lose appends the record of a loss.
func (l *Log) Lose(reason string, events uint64) logstore.Cursor {
	l.t.Helper()
	var g event.Group
	now := logstore.SystemClock{}.Now().Boot
	b := event.AppendLoss(nil, &event.Loss{Events: events, Hits: events, Reason: reason, Place: "kernel", Start: now, End: now})
	if _, err := event.Decode(b, &g); err != nil {
		l.t.Fatal(err)
	}
	return l.Write(g)
}

// Flush makes everything durable, and visible to readers.
func (l *Log) Flush() logstore.Cursor {
	l.t.Helper()
	c, err := l.Writer.Flush()
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

// Rotate begins a new segment.
func (l *Log) Rotate() {
	l.t.Helper()
	rotated := make(chan error, 1)
	l.Writer.Rotate(func(_ string, err error) { rotated <- err })
	if err := <-rotated; err != nil {
		l.t.Fatal(err)
	}
}

// Some returns random groups of a few kinds.
func Some(r *rand.Rand, n int) []Group {
	all := make([]Group, n)
	for i := range all {
		all[i] = Group{
			Name:       []string{"tls::handshake_client", "tls::handshake_server", "pk::sign", "ssh::handshake"}[r.IntN(4)],
			Executable: []string{"curl", "nginx", "sshd", `odd\x`}[r.IntN(4)],
			Data:       map[string]int64{[]string{"tls::protocol_version", "pk::bits", "pk::hash"}[r.IntN(3)]: int64(r.IntN(3) + 770)},
		}
	}
	return all
}

// Agent is a broker.Agent that only implements the agent's operations on the log.
type Agent struct {
	Log *Log
	// Down is set if it does not answer.
	Down atomic.Bool
	// Remover is the remover in the last call of Remove.
	Remover atomic.Pointer[retention.Remover]
}

func (a *Agent) available() error {
	if a.Down.Load() {
		return fmt.Errorf("%w: it is down", fault.ErrAgentUnavailable)
	}
	return nil
}

// Status implements broker.Agent.
func (a *Agent) Status(context.Context) (status.Agent, error) {
	return status.Agent{
		Version: "test", Profile: "none", LogDirectory: a.Log.Dir,
		Losses:    []status.Loss{{Place: "kernel", Reason: "ring-full", Hits: 2, Events: 3}},
		Libraries: []status.Library{{Path: "/lib/x", BuildID: "abcd", Probes: []string{"new_context"}, Sites: 2, Hits: 7}},
	}, a.available()
}

// Flush implements broker.Agent.
func (a *Agent) Flush(context.Context) (logstore.Cursor, error) {
	if err := a.available(); err != nil {
		return logstore.Cursor{}, err
	}
	return a.Log.Writer.Flush()
}

// Remove implements broker.Agent.
func (a *Agent) Remove(_ context.Context, before logstore.Cursor, by retention.Remover) (int64, int, error) {
	if err := a.available(); err != nil {
		return 0, 0, err
	}
	a.Remover.Store(&by)
	r, err := a.Log.Writer.Remove(context.Background(), before, nil)
	return r.Bytes, len(r.Segments), err
}

// Follow implements broker.Agent: it reports nothing, so that the log is watched.
func (a *Agent) Follow(ctx context.Context, following func(), _ func(logstore.Cursor)) error {
	if err := a.available(); err != nil {
		return err
	}
	following()
	<-ctx.Done()
	return ctx.Err()
}
