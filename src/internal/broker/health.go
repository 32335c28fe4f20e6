// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"

	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/segment"
	"crypto-auditing/src/internal/message"
)

// health knows which segments cannot be read. Its methods may be called
// concurrently.
type health struct {
	log *slog.Logger

	mu sync.Mutex
	// unreadable has the reason by the path of the segment.
	unreadable map[string]*logstore.UnreadableError
}

func newHealth(log *slog.Logger) *health {
	return &health{log: log, unreadable: map[string]*logstore.UnreadableError{}}
}

// note logs that a segment cannot be read, once as long as that lasts.
func (h *health) note(e *logstore.UnreadableError) {
	h.mu.Lock()
	_, known := h.unreadable[e.Segment]
	h.unreadable[e.Segment] = e
	h.mu.Unlock()
	if !known {
		message.SegmentUnreadable.Log(h.log, "segment", filepath.Base(e.Segment), "error", e.Err)
	}
}

// check looks whether each segment of a directory can be read now. The error
// names the first that cannot.
func (h *health) check(dir string, list []uint64) error {
	h.mu.Lock()
	before := make(map[string]*logstore.UnreadableError, len(h.unreadable))
	for path, e := range h.unreadable {
		before[path] = e
	}
	h.mu.Unlock()
	var first *logstore.UnreadableError
	bad := 0
	for _, sequence := range list {
		path := filepath.Join(dir, segment.Name(sequence))
		err := tryToRead(path, before[path])
		e, unreadable := segment.AsUnreadable(err)
		switch {
		case unreadable:
			h.note(e)
			bad++
			if first == nil {
				first = e
			}
		case err == nil && before[path] != nil:
			h.clear(path)
			h.log.Info("a segment of the log can be read again", "segment", filepath.Base(path))
		}
		delete(before, path)
	}
	for path := range before {
		h.clear(path) // it was removed
	}
	if first == nil {
		return nil
	}
	others := ""
	if bad > 1 {
		others = fmt.Sprintf(" (and %d more)", bad-1)
	}
	return &StoreError{fmt.Errorf("%w%s", first, others)}
}

func (h *health) clear(path string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.unreadable, path)
}

// tryToRead reads the beginning of a segment, and from where reading failed
// before as much as a chunk may have. A segment that was removed is no failure.
func tryToRead(path string, failed *logstore.UnreadableError) error {
	s, err := segment.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Probe(0, frame.PrefixSize); err != nil || failed == nil {
		return err
	}
	return s.Probe(failed.Offset, frame.MaxHeader+frame.MaxCompressed)
}
