// SPDX-License-Identifier: Apache-2.0

package broker_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/broker/brokertest"
	"crypto-auditing/src/internal/broker/delivery"
	"crypto-auditing/src/internal/broker/filter"
	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/quota"
	"crypto-auditing/src/internal/status"
)

// now returns the time since boot and the time of boot, in ns.
func now() (boot uint64, offset int64) {
	m := logstore.SystemClock{}.Now()
	return m.Boot, m.Offset
}

// notice appends an encoded notice.
func notice(t *testing.T, l *brokertest.Log, encoded []byte) logstore.Cursor {
	t.Helper()
	var g event.Group
	if _, err := event.Decode(encoded, &g); err != nil {
		t.Fatal(err)
	}
	return l.Write(g)
}

// restarted appends the notice of a start after a time without recording.
func restarted(t *testing.T, l *brokertest.Log, reason event.UnrecordedReason, down time.Duration) logstore.Cursor {
	t.Helper()
	boot, offset := now()
	return notice(t, l, event.AppendRecording(nil, &event.Recording{
		State: event.Started, Version: "1", Time: boot, Since: offset + int64(boot) - int64(down), Reason: reason,
	}))
}

// total returns how long nothing was recorded, rounded because two clocks are read.
func total(n status.Broker) time.Duration { return n.UnrecordedTotal.Round(time.Second) }

func TestTheStatusHasTheNoticesOfTheRetainedLog(t *testing.T) {
	l := brokertest.New(t)
	r := rand.New(rand.NewPCG(8, 8))
	began := time.Now()
	// The truncation removes these entries.
	l.Lose("ring-full", 1000)
	restarted(t, l, event.AgentKilled, time.Hour)
	l.Append(brokertest.Some(r, 100)...)
	l.Rotate()
	l.Lose("ring-full", 5)
	l.Append(brokertest.Some(r, 100)...)
	restarted(t, l, event.AgentStopped, 2*time.Second)
	boot, _ := now()
	notice(t, l, event.AppendLibraryUnrecorded(nil, event.LibraryReplaced, "libssl.so.3", nil, boot-1e9, boot))
	end := l.Flush()

	b := run(t, l, func(o *broker.Options) { o.Agent = &brokertest.Agent{Log: l} })
	// The first call reads the whole log.
	n := b.Status(t.Context())
	if n.Scanning || n.EventsLost != 1005 || n.UnrecordedCount != 3 || len(n.Unrecorded) != 3 || n.Removed != nil ||
		total(n) != time.Hour+2*time.Second || n.LostSince.Before(began.Add(-time.Second)) || n.LostSince.After(time.Now()) {
		t.Errorf("at first: %+v", n)
	}
	if b.EventsLost() != 1005 {
		t.Errorf("%d events lost, want 1005", b.EventsLost())
	}
	// Appended entries are counted, too.
	l.Lose("queue-full", 7)
	removal := event.Removal{First: 1, Last: 100, Segments: 1, Bytes: 4096, User: "alice", UID: 1000, Policy: "vacuum", Time: boot}
	last := notice(t, l, event.AppendRemoval(nil, &removal))
	_, c := subscribe(t, b, "", filter.Spec{Executables: []string{"none"}}, delivery.SubscribeOptions{After: end.String()})
	c.awaitLast(t, last.Sequence)
	n = b.Status(t.Context())
	if n.EventsLost != 1012 || n.Lost["queue-full"] != 7 || n.Removed == nil || n.Removed.User != "alice" || n.Removed.UID != 1000 || n.Removed.Policy != "vacuum" || n.Removed.Time.IsZero() {
		t.Errorf("after more was appended: %+v", n)
	}
	// Removed entries are not counted.
	if _, err := l.Writer.Remove(context.Background(), end, nil); err != nil {
		t.Fatal(err)
	}
	n = b.Status(t.Context())
	if n.EventsLost != 12 || n.Lost["ring-full"] != 5 || n.UnrecordedCount != 2 || total(n) != 2*time.Second ||
		len(n.Unrecorded) != 2 || n.Unrecorded[1].Library != "libssl.so.3" && n.Unrecorded[0].Library != "libssl.so.3" {
		t.Errorf("after truncation: %+v", n)
	}
}

func TestTheListOfTimesWithoutRecordingIsBounded(t *testing.T) {
	l := brokertest.New(t)
	for i := range 100 {
		restarted(t, l, event.AgentStopped, time.Duration(i+1)*time.Second)
		if i%10 == 0 {
			l.Rotate()
		}
	}
	l.Flush()
	b := run(t, l, nil)
	n := b.Status(t.Context())
	if len(n.Unrecorded) != 32 || n.UnrecordedCount != 100 || total(n) != 5050*time.Second {
		t.Errorf("%d of %d are listed, %v in total", len(n.Unrecorded), n.UnrecordedCount, n.UnrecordedTotal)
	}
	if u := n.Unrecorded[31]; u.To.Sub(u.From).Round(time.Second) != 100*time.Second {
		t.Errorf("the last is %+v", u)
	}
}

// journal counts log messages.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) count(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), text)
}

func TestAnUnreadableSegmentIsReportedUntilItCanBeRead(t *testing.T) {
	l, ends := segmented(t, 4)
	files, err := filepath.Glob(filepath.Join(l.Dir, "audit-*"))
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	slices.Sort(files)
	hide := func(path string) (restore func()) {
		if err := os.Rename(path, path+".away"); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Base(path), path); err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := os.Rename(path+".away", path); err != nil {
				t.Fatal(err)
			}
		}
	}
	restore := hide(files[1])
	var j journal
	b := run(t, l, func(o *broker.Options) { o.Log = slog.New(slog.NewTextHandler(&j, nil)) })
	want := reading.Gap{From: ends[0], To: ends[1], Entries: ends[1].Sequence - ends[0].Sequence, Reason: event.Unreadable}
	for range 3 {
		got, gaps := readAll(t, b, logstore.OldestWord, filter.Spec{})
		if !slices.Equal(gaps, []reading.Gap{want}) || uint64(len(got)) != ends[3].Sequence-want.Entries {
			t.Errorf("a reader gets %d groups and %+v, want %+v", len(got), gaps, want)
		}
	}
	_, c := subscribe(t, b, "", filter.Spec{}, delivery.SubscribeOptions{After: logstore.OldestWord})
	c.awaitLast(t, ends[3].Sequence)
	c.increasing(t)
	if !slices.Equal(c.gaps, []reading.Gap{want}) {
		t.Errorf("a subscription gets the gaps %+v, want %+v", c.gaps, want)
	}
	name := filepath.Base(files[1])
	for range 2 {
		if err := b.Status(t.Context()).StoreError; !strings.Contains(err, name) {
			t.Errorf("the status has the error %v", err)
		}
	}
	if n := j.count("a segment of the log cannot be read"); n != 1 {
		t.Errorf("the segment was logged %d times:\n%s", n, j.text.String())
	}
	restore()
	// Nothing is appended.
	if err := b.Status(t.Context()).StoreError; err != "" {
		t.Errorf("the segment can be read, but the status has the error %v", err)
	}
	if n := j.count("can be read again"); n != 1 {
		t.Errorf("the recovery was logged %d times", n)
	}
	if got, gaps := readAll(t, b, logstore.OldestWord, filter.Spec{}); len(gaps) != 0 || uint64(len(got)) != ends[3].Sequence {
		t.Errorf("%d groups, gaps %+v", len(got), gaps)
	}
}

func TestAStrayFileIsSkippedAndReported(t *testing.T) {
	l, ends := segmented(t, 3)
	files, err := filepath.Glob(filepath.Join(l.Dir, "audit-*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	copied, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	// Its name makes it the newest.
	foreign := filepath.Join(l.Dir, "audit-4000000000000000.cborseq.zst")
	if err := os.WriteFile(foreign, copied, 0o600); err != nil {
		t.Fatal(err)
	}
	var j journal
	b := run(t, l, func(o *broker.Options) { o.Log = slog.New(slog.NewTextHandler(&j, nil)) })
	_, c := subscribe(t, b, "", filter.Spec{}, delivery.SubscribeOptions{After: logstore.OldestWord})
	c.awaitLast(t, ends[2].Sequence)
	for range 3 {
		got, gaps := readAll(t, b, logstore.OldestWord, filter.Spec{})
		if uint64(len(got)) != ends[2].Sequence || len(gaps) != 1 || gaps[0].Reason != event.PassedOver || gaps[0].Entries != 0 {
			t.Errorf("a reader gets %d groups of %d and %+v", len(got), ends[2].Sequence, gaps)
		}
		if err := b.Status(t.Context()).StoreError; !strings.Contains(err, filepath.Base(foreign)) {
			t.Errorf("the status has the error %v", err)
		}
	}
	if n := j.count(filepath.Base(foreign)); n != 1 {
		t.Errorf("the file is logged %d times:\n%s", n, j.text.String())
	}
	// Appended groups are delivered, from this segment and the next.
	l.Append(brokertest.Some(rand.New(rand.NewPCG(7, 7)), 3)...)
	l.Rotate()
	last := l.Append(brokertest.Some(rand.New(rand.NewPCG(7, 8)), 3)...)
	c.awaitLast(t, last.Sequence)
	c.increasing(t)
	if len(c.gaps) != 0 || uint64(len(c.groups())) != last.Sequence {
		t.Errorf("%d groups of %d, gaps %+v", len(c.groups()), last.Sequence, c.gaps)
	}
	if err := os.Remove(foreign); err != nil {
		t.Fatal(err)
	}
	if err := b.Status(t.Context()).StoreError; err != "" {
		t.Errorf("without the file the status has the error %v", err)
	}
}

// Readers used to loop at a dangling link, even after their clients had disconnected.
func TestReadingEndsAtADanglingLink(t *testing.T) {
	l, ends := segmented(t, 2)
	if err := os.Symlink("nothing", filepath.Join(l.Dir, "audit-4000000000000000.cborseq.zst")); err != nil {
		t.Fatal(err)
	}
	b := run(t, l, nil)
	got, gaps := readAll(t, b, logstore.OldestWord, filter.Spec{})
	if uint64(len(got)) != ends[1].Sequence || len(gaps) != 1 || !gaps[0].Open() {
		t.Errorf("a reader gets %d groups of %d and %+v", len(got), ends[1].Sequence, gaps)
	}
	_, c := subscribe(t, b, "", filter.Spec{}, delivery.SubscribeOptions{After: logstore.OldestWord})
	last := l.Append(brokertest.Some(rand.New(rand.NewPCG(7, 9)), 3)...)
	c.awaitLast(t, last.Sequence)
	if len(c.gaps) != 0 {
		t.Errorf("gaps %+v", c.gaps)
	}
	b.stop() // returns
}

func TestTheNewestSegmentIsDeliveredOnceItCanBeRead(t *testing.T) {
	l, ends := segmented(t, 3)
	files, err := filepath.Glob(filepath.Join(l.Dir, "audit-*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	newest := files[len(files)-1]
	if err := os.Rename(newest, newest+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Base(newest), newest); err != nil {
		t.Fatal(err)
	}
	b := run(t, l, nil)
	// A subscription is not notified of an uncertain gap.
	s, c := subscribe(t, b, "", filter.Spec{}, delivery.SubscribeOptions{After: logstore.OldestWord})
	c.awaitLast(t, ends[1].Sequence)
	got, gaps := readAll(t, b, logstore.OldestWord, filter.Spec{})
	if len(gaps) != 1 || !gaps[0].Open() || uint64(len(got)) != ends[1].Sequence {
		t.Errorf("a reader gets %d groups of %d and %+v", len(got), ends[1].Sequence, gaps)
	}
	if err := b.Unreadable(); !strings.Contains(fmt.Sprint(err), filepath.Base(newest)) {
		t.Errorf("the error of the unreadable segment: %v", err)
	}
	// A cursor in the unreadable segment is valid.
	if _, err := b.Subscribe(quota.Holder{User: 1000, Rank: quota.Member}, "", filter.Spec{}, delivery.SubscribeOptions{After: ends[2].String()}); err != nil {
		t.Errorf("a cursor in the segment: %v", err)
	}
	if err := os.Rename(newest+".away", newest); err != nil {
		t.Fatal(err)
	}
	last := l.Append(brokertest.Some(rand.New(rand.NewPCG(9, 9)), 3)...)
	c.awaitLast(t, last.Sequence)
	c.increasing(t)
	if len(c.gaps) != 0 || uint64(len(c.groups())) != last.Sequence {
		t.Errorf("%d groups of %d, gaps %+v, status %+v", len(c.groups()), last.Sequence, c.gaps, s.Status())
	}
}
