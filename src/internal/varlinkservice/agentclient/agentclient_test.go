// SPDX-License-Identifier: Apache-2.0

package agentclient_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"crypto-auditing/src/internal/agent"
	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/retention"
	"crypto-auditing/src/internal/status"
	"crypto-auditing/src/internal/varlinkservice"
	"crypto-auditing/src/internal/varlinkservice/agentclient"
	"crypto-auditing/src/internal/varlinkservice/agentservice"
)

var _ broker.Agent = agentclient.Client{}

// recorder is a fake agent served by the real service.
type recorder struct {
	removed chan logstore.Cursor
	remover retention.Remover
	chunks  chan logstore.Position

	mu  sync.Mutex
	err error
}

// fail makes further calls fail. A previous call may still be running.
func (r *recorder) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *recorder) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func cursor(sequence uint64) logstore.Cursor {
	return logstore.Cursor{Store: [16]byte{1, 2, 3}, Sequence: sequence}
}

func (r *recorder) Status() (status.Agent, error) {
	return status.Agent{
		Started: time.UnixMicro(5_000_000), Profile: "uprobe_multi", LogDirectory: "/log", Newest: cursor(9).String(), HitsSeen: 11,
		Libraries: []status.Library{{Path: "/lib/x", BuildID: "ab", Probes: []string{"data"}, Sites: 2, Hits: 3, Since: time.UnixMicro(7)}},
	}, r.failure()
}

func (r *recorder) Flush(context.Context) (logstore.Cursor, error) { return cursor(7), r.failure() }
func (r *recorder) Rotate(context.Context) (string, error)         { return "", r.failure() }

func (r *recorder) Remove(_ context.Context, before logstore.Cursor, by retention.Remover) (logstore.Removal, error) {
	r.remover = by
	r.removed <- before
	return logstore.Removal{Bytes: 100}, r.failure()
}

func (r *recorder) Follow(ctx context.Context, notify func(logstore.Position) error) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case p, ok := <-r.chunks:
			if !ok {
				return agent.ErrLagging
			}
			if err := notify(p); err != nil {
				return err
			}
		}
	}
}

// serve serves a recorder like the agent does, to a given peer.
func serve(t *testing.T, r *recorder, peer varlinkservice.Peer) agentclient.Client {
	t.Helper()
	service, err := agentservice.New(agentservice.Options{Recorder: r, Version: "3"})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- varlinkservice.New(service, varlinkservice.Options{
			Limits: varlinkservice.DefaultLimits(), LimitError: agentservice.LimitError, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Peer: func(net.Conn) (varlinkservice.Peer, error) { return peer, nil },
		}).Serve(ctx, l)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return agentclient.Client{Path: path}
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestTheAgentIsQueried(t *testing.T) {
	r := &recorder{removed: make(chan logstore.Cursor, 1)}
	c := serve(t, r, varlinkservice.Peer{})
	status, err := c.Status(bounded(t))
	if err != nil || status.Version != "3" || !status.Started.Equal(time.UnixMicro(5_000_000)) || status.Profile != "uprobe_multi" || status.HitsSeen != 11 {
		t.Errorf("status %+v, %v", status, err)
	}
	if len(status.Libraries) != 1 || status.Libraries[0].BuildID != "ab" || status.Libraries[0].Hits != 3 || status.Libraries[0].Sites != 2 {
		t.Errorf("libraries %+v", status.Libraries)
	}
	if got, err := c.Flush(bounded(t)); err != nil || got != cursor(7) {
		t.Errorf("flush: %v, %v", got, err)
	}
	if bytes, _, err := c.Remove(bounded(t), cursor(5), retention.Remover{UID: 1000, User: "anne", Policy: "max-age=30d", Force: true}); err != nil || bytes != 100 || <-r.removed != cursor(5) {
		t.Errorf("remove: %d, %v", bytes, err)
	}
	if want := (retention.Remover{UID: 1000, User: "anne", Policy: "max-age=30d", Force: true}); r.remover != want {
		t.Errorf("entries were removed for %+v, want %+v", r.remover, want)
	}
}

func TestErrorsOfTheAgentAreDistinguished(t *testing.T) {
	r := &recorder{removed: make(chan logstore.Cursor, 2), err: logstore.ErrForeignCursor}
	c := serve(t, r, varlinkservice.Peer{})
	if _, _, err := c.Remove(bounded(t), cursor(5), retention.Remover{}); !errors.Is(err, logstore.ErrForeignCursor) || errors.Is(err, fault.ErrAgentUnavailable) {
		t.Errorf("a foreign cursor: %v", err)
	}
	r.fail(errors.New("something broke"))
	if _, err := c.Flush(bounded(t)); err == nil || errors.Is(err, fault.ErrAgentUnavailable) || !strings.Contains(err.Error(), "something broke") {
		t.Errorf("a failure: %v", err)
	}
	r.fail(logstore.ErrClosed)
	if _, err := c.Flush(bounded(t)); !errors.Is(err, fault.ErrAgentUnavailable) {
		t.Errorf("an agent that is stopping: %v", err)
	}
	outsider := serve(t, r, varlinkservice.Peer{UID: 7, GID: 7})
	if _, err := outsider.Flush(bounded(t)); err == nil || errors.Is(err, fault.ErrAgentUnavailable) || !strings.Contains(err.Error(), "root") {
		t.Errorf("a user outside the group: %v", err)
	}
	none := agentclient.Client{Path: filepath.Join(t.TempDir(), "none")}
	if _, err := none.Status(bounded(t)); !errors.Is(err, fault.ErrAgentUnavailable) || !strings.Contains(err.Error(), none.Path) {
		t.Errorf("without an agent: %v", err)
	}
}

func TestFollowingReportsEveryChunk(t *testing.T) {
	r := &recorder{chunks: make(chan logstore.Position)}
	c := serve(t, r, varlinkservice.Peer{})
	following := make(chan struct{})
	committed := make(chan logstore.Cursor)
	ended := make(chan error, 1)
	go func() {
		ended <- c.Follow(bounded(t), func() { close(following) }, func(at logstore.Cursor) { committed <- at })
	}()
	<-following
	for n := range uint64(3) {
		r.chunks <- logstore.Position{Cursor: cursor(n), Segment: "s"}
		if got := <-committed; got != cursor(n) {
			t.Errorf("got %v, want %v", got, cursor(n))
		}
	}
	close(r.chunks)
	// The client may call Follow again at once.
	if err := <-ended; err == nil || errors.Is(err, fault.ErrAgentUnavailable) {
		t.Errorf("a lagging follower: %v", err)
	}
}
