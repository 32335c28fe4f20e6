// SPDX-License-Identifier: Apache-2.0

// Package notices collects the notices of the retained log: losses, times without
// recording, removals.
package notices

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/segment"
	"crypto-auditing/src/internal/status"
	"crypto-auditing/src/internal/wakeup"
)

const (
	// maxUnrecorded is the highest number of times without recording that are listed.
	maxUnrecorded = 32
	// maxReasons bounds the number of distinct reasons of losses, which are text
	// in the log.
	maxReasons = 64
	// scanTime is how long a caller waits for the scan of the notices.
	scanTime = 2 * time.Second
	// maxLibraries bounds the number of libraries, maxLibraryName the length of a name.
	maxLibraries   = 4096
	maxLibraryName = 1024
)

// Notices collects the notices of the retained log. A background scan covers the
// entries that existed when the tail opened the log; the tail adds later ones.
// Methods may be called concurrently.
type Notices struct {
	dir    string
	source *reading.Log
	log    *slog.Logger
	// requests wakes Run.
	requests wakeup.Signal

	mu sync.Mutex
	// segments has the notices of each segment by its first sequence, so that
	// they can be dropped with the segment.
	segments map[uint64]*segmentNotices
	reasons  map[string]struct{}
	// libraries are the names of libraries by build-id.
	libraries map[string]string
	// until is the position where the scan ends and the tail starts.
	until logstore.Cursor
	// scanned is closed at the end of the scan; nil before a log was found.
	scanned chan struct{}
	// start is the beginning of the first segment.
	start struct {
		first uint64
		time  time.Time
	}
}

// segmentNotices are the notices of a segment.
type segmentNotices struct {
	lost       map[string]uint64
	unrecorded []event.Unrecorded
	count      uint64
	total      time.Duration
	removal    *event.Removal
	// removed is the real time of the removal, sequence its entry.
	removed  int64
	sequence uint64
}

// New returns the notices of the log in dir.
func New(dir string, source *reading.Log, log *slog.Logger) *Notices {
	return &Notices{
		dir: dir, source: source, log: log, requests: wakeup.New(),
		segments: map[uint64]*segmentNotices{}, reasons: map[string]struct{}{}, libraries: map[string]string{},
	}
}

// Begin discards all notices and starts a scan of the log up to a position.
func (n *Notices) Begin(until logstore.Cursor) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.segments, n.reasons = map[uint64]*segmentNotices{}, map[string]struct{}{}
	n.until, n.start.first = until, 0
	n.scanned = make(chan struct{})
	n.requests.Notify()
}

// Run performs requested scans until ctx is done.
func (n *Notices) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.requests:
		}
		n.mu.Lock()
		until, scanned := n.until, n.scanned
		n.mu.Unlock()
		if err := n.scan(ctx, until, scanned); err != nil && ctx.Err() == nil {
			n.log.Error("cannot read all notices of the log", "error", err)
		}
		close(scanned)
	}
}

// scan reads the notices up to a position. It decompresses only chunks that contain
// one, and ends early if another scan is requested.
func (n *Notices) scan(ctx context.Context, until logstore.Cursor, scanned chan struct{}) error {
	if until.Sequence == 0 {
		return nil
	}
	r, err := n.source.Reader(logstore.NoticesOnly())
	if err != nil {
		return err
	}
	defer r.Close()
	var g event.Group
	var skip reading.Skip
	for r.Store() == until.Store {
		chunk, err := r.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			if _, ok := skip.Read(n.source, err); !ok {
				return err
			}
			continue
		}
		for sequence, entry := range chunk.All() {
			if sequence > until.Sequence {
				return nil
			}
			if _, err := event.Decode(entry, &g); err == nil && g.IsNotice() {
				n.mu.Lock()
				stale := n.scanned != scanned
				if !stale {
					n.add(chunk.Segment, sequence, &g, chunk.Header.Offset)
				}
				n.mu.Unlock()
				if stale {
					return nil
				}
			}
		}
	}
	return nil
}

// Appended adds a notice that the tail has read.
func (n *Notices) Appended(path string, sequence uint64, g *event.Group, boot int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.add(path, sequence, g, boot)
}

// add adds a notice of the segment at path. The caller holds mu.
func (n *Notices) add(path string, sequence uint64, g *event.Group, boot int64) {
	first, ok := segment.ParseName(filepath.Base(path))
	if !ok {
		return
	}
	s := n.segments[first]
	if s == nil {
		s = &segmentNotices{}
		n.segments[first] = s
	}
	if l, ok := g.Library(); ok {
		if len(n.libraries) < maxLibraries && len(l.Name) <= maxLibraryName {
			n.libraries[string(l.BuildID)] = l.Name
		}
		return
	}
	if loss, ok := g.Loss(); ok {
		reason := loss.Reason
		if _, known := n.reasons[reason]; !known {
			if len(n.reasons) >= maxReasons {
				reason = "other"
			}
			n.reasons[reason] = struct{}{}
		}
		if s.lost == nil {
			s.lost = map[string]uint64{}
		}
		s.lost[reason] += loss.Events
	} else if u, ok := g.Unrecorded(boot); ok {
		s.count++
		if u.Library == "" {
			s.total += time.Duration(max(u.To-u.From, 0))
		}
		s.unrecorded = newestUnrecorded(append(s.unrecorded, u))
	} else if removal, ok := g.Removal(); ok && sequence > s.sequence {
		s.removal, s.removed, s.sequence = &removal, frame.RealTime(removal.Time, boot), sequence
	}
}

// newestUnrecorded sorts times by their end and keeps the newest.
func newestUnrecorded(all []event.Unrecorded) []event.Unrecorded {
	slices.SortStableFunc(all, func(a, b event.Unrecorded) int {
		switch {
		case a.To < b.To:
			return -1
		case a.To > b.To:
			return 1
		}
		return 0
	})
	if over := len(all) - maxUnrecorded; over > 0 {
		all = slices.Delete(all, 0, over)
	}
	return all
}

// Library returns the name of the library with a build-id, empty if the log does not name it.
func (n *Notices) Library(id string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.libraries[id]
}

// Wait waits for the end of the scan, but no longer than scanTime.
func (n *Notices) Wait(ctx context.Context) {
	n.mu.Lock()
	scanned := n.scanned
	n.mu.Unlock()
	if scanned == nil {
		return
	}
	timer := time.NewTimer(scanTime)
	defer timer.Stop()
	select {
	case <-scanned:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Fill sets the notices of the segments in a list, and drops those of removed ones.
// A nil list means that it is unknown.
func (n *Notices) Fill(to *status.Broker, list []uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	to.LostSince, to.Lost = n.since(list), status.Lost{}
	if n.scanned != nil {
		select {
		case <-n.scanned:
		default:
			to.Scanning = true
		}
	}
	var newest *segmentNotices
	var unrecorded []event.Unrecorded
	for first, s := range n.segments {
		if _, found := slices.BinarySearch(list, first); !found && list != nil {
			delete(n.segments, first)
			continue
		}
		for reason, events := range s.lost {
			to.Lost[reason] += events
			to.EventsLost += events
		}
		unrecorded = append(unrecorded, s.unrecorded...)
		to.UnrecordedCount += s.count
		to.UnrecordedTotal += s.total
		if s.removal != nil && (newest == nil || s.sequence > newest.sequence) {
			newest = s
		}
	}
	for _, u := range newestUnrecorded(unrecorded) {
		to.Unrecorded = append(to.Unrecorded, status.Unrecorded{
			From: time.Unix(0, u.From), To: time.Unix(0, u.To), Reason: string(event.Plain(u.Reason)), Library: string(event.Plain(u.Library)),
		})
	}
	if newest != nil {
		r := newest.removal
		to.Removed = &status.Removal{
			Time: time.Unix(0, newest.removed), User: string(event.Plain(r.User)), UID: r.UID, Policy: string(event.Plain(r.Policy)),
			First: r.First, Last: r.Last, Segments: uint64(max(r.Segments, 0)), Bytes: uint64(max(r.Bytes, 0)),
		}
	}
}

// since returns the beginning of the first segment whose beginning can be read. The
// caller holds mu.
func (n *Notices) since(list []uint64) time.Time {
	for _, first := range list {
		if first == n.start.first {
			return n.start.time
		}
		if t, ok := beginning(filepath.Join(n.dir, segment.Name(first))); ok {
			n.start.first, n.start.time = first, t
			return t
		}
	}
	return time.Time{}
}

// beginning returns the time of the first entry of the segment at path.
func beginning(path string) (time.Time, bool) {
	s, err := segment.Open(path)
	if err != nil {
		return time.Time{}, false
	}
	defer s.Close()
	var h frame.Header
	if err := s.Header(0, &h); err != nil {
		return time.Time{}, false
	}
	return time.Unix(0, frame.RealTime(h.First, h.Offset)), true
}
