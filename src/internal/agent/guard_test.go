// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/prune"
	"crypto-auditing/src/internal/logstore/segment"
	"crypto-auditing/src/internal/retention"
)

// maintenanceOf returns the maintenance of a log with closed segments and an active one, and its log
// messages.
func maintenanceOf(t *testing.T, closed int, limits retention.Policy) (*maintenance, *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	w, err := logstore.Open(context.Background(), dir, logstore.Options{EntryLen: event.Len, Metadata: func(now logstore.Moment) []byte {
		return event.AppendMetadata(nil, now.Offset/int64(time.Second), now.Boot)
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	var log bytes.Buffer
	m := newMaintenance(w, dir, limits, slog.New(slog.NewTextHandler(&log, nil)))
	for range closed {
		m.closeSegment(t)
	}
	return m, &log
}

// closeSegment appends to the active segment and begins another one.
func (m *maintenance) closeSegment(t *testing.T) {
	t.Helper()
	entry := event.Append(nil, &event.Group{Start: 5, End: 6, Events: []event.Event{{Key: []byte("k")}}})
	if _, err := m.writer.Append(logstore.Batch{Entries: entry, Ends: []uint32{uint32(len(entry))}}); err != nil {
		t.Fatal(err)
	}
	if err := rotate(m.writer); err != nil {
		t.Fatal(err)
	}
}

// segments applies the limits and returns the number of remaining segments.
func (m *maintenance) segments(t *testing.T) int {
	t.Helper()
	if _, err := m.writer.Retain(context.Background(), m.policy(context.Background()), nil); err != nil {
		t.Fatal(err)
	}
	list, err := segment.List(m.dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestLimitsThatWouldRemoveTheWholeLogAreSuspended(t *testing.T) {
	for name, c := range map[string]struct {
		limits       retention.Policy
		limit, force string
	}{
		"age":        {retention.Policy{MaxAge: 30 * time.Nanosecond}, `max_age`, `--vacuum-time`},
		"size":       {retention.Policy{MaxSize: retention.Limit{Bytes: 1}}, `max_size = \"1B\"`, `--vacuum-size=\"1B\"`},
		"free space": {retention.Policy{KeepFree: retention.Limit{Percent: 100}}, `keep_free = \"100%\"`, `--keep-free=\"100%\"`},
	} {
		t.Run(name, func(t *testing.T) {
			m, log := maintenanceOf(t, 3, c.limits)
			for range 3 {
				if n := m.segments(t); n != 4 {
					t.Fatalf("%d segments are left of 4", n)
				}
			}
			// Later segments are not removed by the suspended limits, either.
			m.closeSegment(t)
			if n := m.segments(t); n != 5 {
				t.Errorf("%d segments are left of 5", n)
			}
			if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "level=ERROR") ||
				!strings.Contains(text, c.limit) || !strings.Contains(text, "crauctl vacuum --force "+c.force) || !strings.Contains(text, "segments=3") {
				t.Errorf("the log is %q, want one error with %s and %s", text, c.limit, c.force)
			}

			// New limits that would also remove the whole log are reported again.
			log.Reset()
			limits := c.limits
			m.limits.Store(&limits)
			if n := m.segments(t); n != 5 || strings.Count(log.String(), "level=ERROR") != 1 {
				t.Errorf("%d segments are left of 5, the log is %q", n, log)
			}

			// The limits apply again after this part was removed on request.
			log.Reset()
			if _, err := m.writer.Retain(context.Background(), retention.Policy{MaxSize: retention.Limit{Bytes: 1}}, nil); err != nil {
				t.Fatal(err)
			}
			m.closeSegment(t)
			if n := m.segments(t); n != 1 || strings.Count(log.String(), "the limits of the log apply again") != 1 {
				t.Errorf("%d segments are left, want the active one; the log is %q", n, log)
			}
		})
	}
}

func TestLimitsThatKeepAPartOfTheLogApply(t *testing.T) {
	m, log := maintenanceOf(t, 4, retention.Policy{})
	if n := m.segments(t); n != 5 {
		t.Fatalf("%d segments without limits", n)
	}
	size := func() (bytes int64) {
		plan, err := prune.Plan(context.Background(), m.dir, retention.Policy{MaxSize: retention.Limit{Bytes: 1}}, time.Now(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range plan[1:] {
			bytes += s.Bytes
		}
		return bytes
	}
	// All but the oldest, and room for half of the active one.
	m.limits.Store(&retention.Policy{MaxSize: retention.Limit{Bytes: size()}})
	left := m.segments(t)
	if left < 2 || left >= 5 {
		t.Errorf("%d segments are left of 5", left)
	}
	// A limit may remove the only closed segment.
	single, singleLog := maintenanceOf(t, 1, retention.Policy{MaxAge: time.Nanosecond})
	if n := single.segments(t); n != 1 {
		t.Errorf("%d segments are left of 2", n)
	}
	if log.Len() > 0 || singleLog.Len() > 0 {
		t.Errorf("the log is %q, %q", log, singleLog)
	}
}

func TestSuspendedLimitsApplyOnceTheyAreChanged(t *testing.T) {
	m, log := maintenanceOf(t, 3, retention.Policy{MaxSize: retention.Limit{Bytes: 1}})
	if n := m.segments(t); n != 4 {
		t.Fatalf("%d segments are left of 4", n)
	}
	m.limits.Store(&retention.Policy{MaxSize: retention.Limit{Bytes: 1 << 30}})
	if n := m.segments(t); n != 4 || !strings.Contains(log.String(), "the limits of the log apply again") {
		t.Errorf("%d segments are left of 4, the log is %q", n, log)
	}
}
