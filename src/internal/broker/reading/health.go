// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"

	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/segment"
	"crypto-auditing/src/internal/message"
)

// health tracks segments that cannot be read, and files with the name of a segment
// that are not segments. Methods may be called concurrently.
type health struct {
	log *slog.Logger

	mu sync.Mutex
	// unreadable has the reason by the path of the segment; foreign are the files
	// that were logged.
	unreadable map[string]*logstore.UnreadableError
	foreign    map[string]bool
}

func newHealth(log *slog.Logger) *health {
	return &health{log: log, unreadable: map[string]*logstore.UnreadableError{}, foreign: map[string]bool{}}
}

// maxForeign bounds the number of logged files that are not segments.
const maxForeign = 1000

// noteForeign logs once that a file is not a segment.
func (h *health) noteForeign(e *logstore.ForeignError) {
	h.mu.Lock()
	known := h.foreign[e.Name] || len(h.foreign) >= maxForeign
	if !known {
		h.foreign[e.Name] = true
	}
	h.mu.Unlock()
	if !known {
		message.SegmentForeign.Log(h.log, "segment", e.Name, "error", e.Detail)
	}
}

// note logs that a segment cannot be read, once while that lasts.
func (h *health) note(e *logstore.UnreadableError) {
	h.mu.Lock()
	_, known := h.unreadable[e.Segment]
	h.unreadable[e.Segment] = e
	h.mu.Unlock()
	if !known {
		message.SegmentUnreadable.Log(h.log, "segment", filepath.Base(e.Segment), "error", e.Err)
	}
}

// check checks whether each file of a list is a segment of the store and can be
// read. The error names the first one that is not or cannot.
func (h *health) check(dir string, list []uint64, store [16]byte) error {
	h.mu.Lock()
	before := make(map[string]*logstore.UnreadableError, len(h.unreadable))
	for path, e := range h.unreadable {
		before[path] = e
	}
	h.mu.Unlock()
	var first error
	bad := 0
	for _, sequence := range list {
		path := filepath.Join(dir, segment.Name(sequence))
		err := tryToRead(path, sequence, store, before[path])
		e, unreadable := segment.AsUnreadable(err)
		var odd *logstore.ForeignError
		isForeign := errors.As(err, &odd)
		if unreadable || isForeign {
			if bad++; first == nil {
				first = err
			}
		}
		switch {
		case unreadable:
			h.note(e)
		case isForeign:
			h.noteForeign(odd)
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
	return &fault.StoreError{Err: fmt.Errorf("%w%s", first, others)}
}

func (h *health) clear(path string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.unreadable, path)
}

// tryToRead reads the beginning of a segment, and up to the size of a chunk from
// where reading has failed before. Neither a removed segment nor a damaged one is a
// failure here.
func tryToRead(path string, first uint64, store [16]byte, failed *logstore.UnreadableError) error {
	s, err := segment.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.Close()
	var h frame.Header
	err = s.Header(0, &h)
	if _, unreadable := segment.AsUnreadable(err); unreadable {
		return err
	}
	if err == nil {
		if err := segment.Belongs(&h, first, store); err != nil {
			return err
		}
	}
	if failed == nil {
		return nil
	}
	return s.Probe(failed.Offset, frame.MaxHeader+frame.MaxCompressed)
}
