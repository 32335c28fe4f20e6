// SPDX-License-Identifier: Apache-2.0

package broker_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/broker/brokertest"
	"crypto-auditing/src/internal/broker/delivery"
	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/retention"
	"crypto-auditing/src/internal/schema"
)

// sequences encodes only the sequence number.
func sequences(dst []byte, e *event.Entry) []byte {
	return binary.LittleEndian.AppendUint64(dst, e.Sequence)
}

// wideGroup is the size of a group encoded by wide, in bytes.
const wideGroup = 16 << 10

// wide encodes large groups.
func wide(dst []byte, e *event.Entry) []byte {
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

func run(t testing.TB, l *brokertest.Log, change func(*broker.Options)) *running {
	t.Helper()
	o := broker.Options{
		LogDir: l.Dir, StateDir: t.TempDir(), Registry: registry(t), Encoder: sequences,
		Policy: retention.Policy{Reading: retention.Ignore}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
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
	go func() { done <- b.Run(ctx, func(delivery.Sink) string { return "" }) }()
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

// client is a sink that records its calls.
type client struct {
	mu      sync.Mutex
	changed *sync.Cond
	got     []uint64
	cursors []logstore.Cursor
	batches []int
	gaps    []reading.Gap
	// answers has a value for each ping that is answered; if nil, all are, at once.
	answers chan struct{}
	// stride is the size of a group, in bytes.
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

func (c *client) Operations([]byte, int, logstore.Cursor) error { return nil }

func (c *client) Skipped(g *reading.Gap) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gaps = append(c.gaps, *g)
	c.changed.Broadcast()
	return nil
}

func (c *client) Reserve(context.Context, int) error { return nil }

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

// await waits until done returns true.
func (c *client) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	timer := time.AfterFunc(time.Minute, c.changed.Broadcast)
	defer timer.Stop()
	deadline := time.Now().Add(time.Minute)
	c.mu.Lock()
	defer c.mu.Unlock()
	for !done() {
		if !time.Now().Before(deadline) {
			t.Fatalf("timeout waiting for %s; got %d groups, gaps %v", what, len(c.got), c.gaps)
		}
		c.changed.Wait()
	}
}

// groups returns the sequences of the received groups.
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

// increasing fails the test if a group was received twice or out of order.
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
