// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/file"
	"crypto-auditing/src/internal/loss"
	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/retention"
)

// storing returns an agent with a store and a committer, but without a tracer, and its log
// messages.
func storing(t *testing.T) (*Agent, *bytes.Buffer) { return storingOn(t, file.Plain{}) }

func storingOn(t *testing.T, files file.System) (*Agent, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	a := &Agent{losses: &loss.Counters{}, bootID: [16]byte{1}}
	a.options = Options{Version: "1.2.3", LogDir: filepath.Join(t.TempDir(), "log"), Log: slog.New(slog.NewTextHandler(&log, nil))}
	a.committer = newCommitter(a.losses, a.options.Log)
	var err error
	a.writer, err = logstore.Open(context.Background(), a.options.LogDir, logstore.Options{
		EntryLen: event.Len, Metadata: metadata, Lost: a.lost, Committed: a.committer.committed, SyncInterval: -1, BootID: a.bootID, Files: files,
	})
	if err != nil {
		t.Fatal(err)
	}
	a.committer.store = a.writer
	ended := start(a.committer.run)
	t.Cleanup(func() {
		a.committer.Close()
		<-ended
		_ = a.writer.Close()
	})
	return a, &log
}

// notices returns the metadata groups of a log, except those that begin segments.
func notices(t *testing.T, dir string) (all []event.Group) {
	t.Helper()
	r, err := logstore.OpenReader(dir, logstore.ReaderOptions{EntryLen: event.Len})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		c, err := r.Next(t.Context())
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range c.All() {
			var g event.Group
			if _, err := event.Decode(bytes.Clone(entry), &g); err != nil {
				t.Fatal(err)
			}
			if g.IsNotice() {
				all = append(all, g)
			}
		}
	}
}

func flushStore(t *testing.T, a *Agent) {
	t.Helper()
	if _, err := a.writer.Flush(); err != nil {
		t.Fatal(err)
	}
}

func TestDeletedSegmentIsReportedAsLossInLogAndStatus(t *testing.T) {
	a, log := storing(t)
	commitOne(a.committer, a.losses)
	flushStore(t, a)
	if err := os.Remove(filepath.Join(a.options.LogDir, a.writer.Status().Segment)); err != nil {
		t.Fatal(err)
	}
	commitOne(a.committer, a.losses)
	flushStore(t, a)
	all := notices(t, a.options.LogDir)
	if len(all) != 1 {
		t.Fatalf("%d notices, want one", len(all))
	}
	l, ok := all[0].Loss()
	if want := (event.Loss{Events: 1, Hits: 1, Reason: "segment-deleted", Place: "disk", Start: l.Start, End: l.End}); !ok || l != want {
		t.Errorf("the log has %+v, want %+v", l, want)
	}
	if got := a.losses.List(); len(got) != 1 || got[0] != (loss.Loss{Reason: loss.SegmentDeleted, Hits: 1, Events: 1}) {
		t.Errorf("the status has %+v", got)
	}
	if c := a.committer.counts(); c.hits != 1 || c.events != 1 {
		t.Errorf("recorded %d hits, %d events, want one", c.hits, c.events)
	}
	if !strings.Contains(log.String(), message.SegmentDeleted.Text()) {
		t.Errorf("log messages:\n%s", log)
	}
}

func TestRemovalIsLoggedWithUserAndReason(t *testing.T) {
	a, log := storing(t)
	commitOne(a.committer, a.losses)
	if err := rotate(a.writer); err != nil {
		t.Fatal(err)
	}
	before := a.writer.Status().Committed
	before.Sequence--
	removed, err := a.Remove(context.Background(), before, retention.Remover{UID: 1234, User: "alice", Policy: "vacuum --max-age=30d"})
	if err != nil || len(removed.Segments) != 1 {
		t.Fatalf("removed %+v, %v", removed, err)
	}
	all := notices(t, a.options.LogDir)
	if len(all) != 1 {
		t.Fatalf("%d notices, want one", len(all))
	}
	r, ok := all[0].Removal()
	want := event.Removal{
		First: 1, Last: before.Sequence, Segments: 1, Bytes: removed.Bytes,
		User: "alice", UID: 1234, Policy: "vacuum --max-age=30d", Time: r.Time,
	}
	if !ok || r != want {
		t.Errorf("the log has %+v, want %+v", r, want)
	}
	if text := log.String(); !strings.Contains(text, message.SegmentsRemoved.Text()) || !strings.Contains(text, "user=alice uid=1234") {
		t.Errorf("log messages:\n%s", text)
	}
}

// hangingDisk hangs on request, until it is released.
type hangingDisk struct {
	file.Plain
	hang    atomic.Bool
	release chan struct{}
}

func (d *hangingDisk) SyncDirectory(path string) error {
	if d.hang.Load() {
		<-d.release
	}
	return d.Plain.SyncDirectory(path)
}

func TestADiskThatHangsInRotationDoesNotBlockCommits(t *testing.T) {
	disk := &hangingDisk{release: make(chan struct{})}
	a, _ := storingOn(t, disk)
	disk.hang.Store(true)
	rotated := make(chan error, 1)
	b := a.committer.Batch()
	b.Then = append(b.Then, func() { a.writer.Rotate(func(_ string, err error) { rotated <- err }) })
	a.committer.Put(b)
	for range 2 * queueLength {
		commitOne(a.committer, a.losses)
	}
	select {
	case err := <-rotated:
		t.Fatalf("the rotation was answered before it was durable: %v", err)
	default:
	}
	close(disk.release)
	if err := <-rotated; err != nil {
		t.Error(err)
	}
}

func TestStartAndStopAreInTheLog(t *testing.T) {
	a, _ := storing(t)
	if err := a.noteStart(); err != nil {
		t.Fatal(err)
	}
	a.noteStop(io.ErrUnexpectedEOF)
	if _, err := a.writer.Flush(); err != nil {
		t.Fatal(err)
	}
	all := notices(t, a.options.LogDir)
	if len(all) != 2 {
		t.Fatalf("%d notices, want two", len(all))
	}
	for i, want := range []event.Recording{
		{State: event.Started, Version: "1.2.3", BootID: a.bootID},
		{State: event.Stopped, Version: "1.2.3", BootID: a.bootID, StopReason: "unexpected EOF"},
	} {
		got, ok := all[i].Recording()
		if want.Time = got.Time; !ok || got != want || got.Time == 0 {
			t.Errorf("notice %d is %+v, want %+v", i, got, want)
		}
	}
}

// rotate begins a segment and waits until it is durable.
func rotate(w *logstore.Writer) error {
	rotated := make(chan error, 1)
	w.Rotate(func(_ string, err error) { rotated <- err })
	return <-rotated
}
