// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"errors"
	"io/fs"
	"maps"
	"slices"

	"crypto-auditing/src/internal/logstore/segment"
)

// list returns the first sequences of the segments of the store in order, up to the active
// one. It omits files that only have the name of a segment: they are not sealed, removed or
// counted.
func (w *Writer) list() ([]uint64, error) {
	all, err := segment.List(w.dir)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	active, _ := segment.ParseName(w.active.name)
	maps.DeleteFunc(w.foreign, func(first uint64, _ error) bool {
		_, exists := slices.BinarySearch(all, first)
		return !exists
	})
	return slices.DeleteFunc(all, func(first uint64) bool {
		if first != active && !w.checked[first] {
			w.check(first)
		}
		return first > active || w.foreign[first] != nil
	}), nil
}

// Foreign returns the reasons why files with the names of segments are currently not part of
// the store or cannot be read.
func (w *Writer) Foreign() ([]error, error) {
	if _, err := w.list(); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var reasons []error
	for _, first := range slices.Sorted(maps.Keys(w.foreign)) {
		reasons = append(reasons, w.foreign[first])
	}
	return reasons, nil
}

// check checks a file with the name of a segment. An unreadable one is checked again, since
// it may become readable. The caller holds mu.
func (w *Writer) check(first uint64) {
	known := w.foreign[first]
	if _, unreadable := segment.AsUnreadable(known); known != nil && !unreadable {
		return
	}
	_, err := segment.Check(w.dir, first, w.store)
	var foreign *segment.ForeignError
	_, unreadable := segment.AsUnreadable(err)
	switch {
	case err == nil:
		w.checked[first] = true
		delete(w.foreign, first)
	case errors.As(err, &foreign), unreadable:
		w.foreign[first] = err
		if known == nil {
			w.foreignFile(segment.Name(first), err)
		}
	case errors.Is(err, fs.ErrNotExist):
		delete(w.foreign, first)
	}
}

// foreignFile reports a foreign file.
func (w *Writer) foreignFile(name string, err error) {
	if w.opts.Foreign != nil {
		w.opts.Foreign(name, err)
	}
}

// reportForeign reports the foreign files found when the store was opened.
func (w *Writer) reportForeign() {
	for _, first := range slices.Sorted(maps.Keys(w.foreign)) {
		w.foreignFile(segment.Name(first), w.foreign[first])
	}
}

// forget drops the state of a removed segment.
func (w *Writer) forget(first uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.checked, first)
}
