// SPDX-License-Identifier: Apache-2.0

package broker_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/schema"
)

// testLog is a log that a test appends to.
type testLog struct {
	t      *testing.T
	dir    string
	writer *logstore.Writer
	now    uint64
}

func newLog(t *testing.T) *testLog {
	t.Helper()
	l := &testLog{t: t, dir: t.TempDir()}
	l.open()
	return l
}

func (l *testLog) open() {
	l.t.Helper()
	w, err := logstore.Open(l.dir, logstore.Options{
		EntryLen: event.Len, SegmentSize: 1 << 30, SyncInterval: -1,
		Metadata: func(now logstore.Moment) []byte { return event.AppendMetadata(nil, now.Offset/1e9, now.Boot) },
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.writer = w
	l.t.Cleanup(func() { w.Close() })
}

// group is a group of a test: everything else follows from it.
type group struct {
	name, executable string
	data             map[string]int64
}

// append appends groups as one chunk and returns the cursor behind it.
func (l *testLog) append(groups ...group) logstore.Cursor {
	l.t.Helper()
	var encoded []event.Group
	for _, g := range groups {
		e := event.Group{Context: event.ContextID{1}, Name: []byte(g.name), Executable: []byte(g.executable)}
		for k, v := range g.data {
			e.Events = append(e.Events, event.Event{Key: []byte(k), Value: event.Value{Word: v}})
		}
		encoded = append(encoded, e)
	}
	return l.write(encoded...)
}

func (l *testLog) write(groups ...event.Group) logstore.Cursor {
	l.t.Helper()
	b := logstore.Batch{Count: uint32(len(groups))}
	now := logstore.SystemClock{}.Now().Boot
	for i := range groups {
		g := &groups[i]
		if g.Start == 0 {
			g.Start, g.End = now, now
		}
		b.Entries = event.Append(b.Entries, g)
		if len(g.Name) > 0 {
			b.Terms = append(b.Terms, logstore.TermHash(logstore.Name, g.Name))
		}
		if len(g.Executable) > 0 {
			b.Terms = append(b.Terms, logstore.TermHash(logstore.Executable, g.Executable))
		}
		for _, e := range g.Events {
			if e.Kind == event.Data {
				b.Terms = append(b.Terms, logstore.TermHash(logstore.Key, e.Key))
			}
		}
		if _, lost := g.Loss(); lost {
			b.Notice = true
		}
	}
	if b.Terms == nil {
		b.Terms = []uint64{}
	}
	b.First, b.Last = now, now
	p, err := l.writer.Append(b)
	if err != nil {
		l.t.Fatal(err)
	}
	return p.Cursor
}

func (l *testLog) flush() logstore.Cursor {
	l.t.Helper()
	c, err := l.writer.Flush()
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

// sequences is a form in which only sequence numbers are left.
func sequences(dst []byte, e *broker.Entry) []byte {
	return binary.LittleEndian.AppendUint64(dst, e.Sequence)
}

// wideGroup is the length of a group in the form wide, in bytes.
const wideGroup = 16 << 10

// wide is a form in which groups are long.
func wide(dst []byte, e *broker.Entry) []byte {
	return append(sequences(dst, e), make([]byte, wideGroup-8)...)
}

func registry(t testing.TB) *schema.Registry {
	t.Helper()
	r, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// running is a broker that runs until the test ends or stop is called.
type running struct {
	*broker.Broker
	stop func()
}

func run(t *testing.T, l *testLog, change func(*broker.Options)) *running {
	t.Helper()
	o := broker.Options{
		LogDir: l.dir, StateDir: t.TempDir(), Registry: registry(t), Form: sequences,
		Policy: broker.Policy{Reading: broker.Ignore}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if change != nil {
		change(&o)
	}
	b, err := broker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, func(broker.Sink) string { return "" }) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return &running{b, stop}
}

// client is a sink that takes note.
type client struct {
	mu      sync.Mutex
	changed *sync.Cond
	got     []uint64
	cursors []logstore.Cursor
	batches []int
	gaps    []broker.Gap
	// answers: each ping takes one. Nil: it answers at once.
	answers chan struct{}
	// stride is how long a group is, in bytes.
	stride int
}

func newClient() *client {
	c := &client{stride: 8}
	c.changed = sync.NewCond(&c.mu)
	return c
}

func (c *client) Events(groups []byte, count int, cursor logstore.Cursor) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(groups) != c.stride*count {
		return fmt.Errorf("%d bytes for %d groups", len(groups), count)
	}
	for ; len(groups) > 0; groups = groups[c.stride:] {
		c.got = append(c.got, binary.LittleEndian.Uint64(groups))
	}
	c.cursors = append(c.cursors, cursor)
	c.batches = append(c.batches, count)
	c.changed.Broadcast()
	return nil
}

func (c *client) Skipped(g *broker.Gap) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gaps = append(c.gaps, *g)
	c.changed.Broadcast()
	return nil
}

func (c *client) Ping(ctx context.Context) error {
	if c.answers == nil {
		return nil
	}
	select {
	case <-c.answers:
	case <-ctx.Done():
	}
	return nil
}

// await waits until the client has got what is wanted.
func (c *client) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	timer := time.AfterFunc(20*time.Second, c.changed.Broadcast)
	defer timer.Stop()
	deadline := time.Now().Add(20 * time.Second)
	c.mu.Lock()
	defer c.mu.Unlock()
	for !done() {
		if !time.Now().Before(deadline) {
			t.Fatalf("not there in time: %s; got %d groups, gaps %v", what, len(c.got), c.gaps)
		}
		c.changed.Wait()
	}
}

// groups returns what has come.
func (c *client) groups() []uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

// awaitLast waits for a group.
func (c *client) awaitLast(t *testing.T, sequence uint64) {
	t.Helper()
	c.await(t, fmt.Sprintf("group %d", sequence), func() bool {
		return len(c.got) > 0 && c.got[len(c.got)-1] >= sequence
	})
}

// increasing fails the test unless nothing came twice or out of order.
func (c *client) increasing(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := 1; i < len(c.got); i++ {
		if c.got[i] <= c.got[i-1] {
			t.Fatalf("group %d after %d", c.got[i], c.got[i-1])
		}
	}
}

func some(r *rand.Rand, n int) []group {
	all := make([]group, n)
	for i := range all {
		all[i] = group{
			name:       []string{"tls::handshake_client", "tls::handshake_server", "pk::sign", "ssh::handshake"}[r.IntN(4)],
			executable: []string{"curl", "nginx", "sshd", `odd\x`}[r.IntN(4)],
			data:       map[string]int64{[]string{"tls::protocol_version", "pk::bits", "pk::hash"}[r.IntN(3)]: int64(r.IntN(3) + 770)},
		}
	}
	return all
}
