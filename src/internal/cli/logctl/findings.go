// SPDX-License-Identifier: Apache-2.0

package logctl

import (
	"encoding/json"
	"strings"
	"time"

	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// findings are the notices that a log contains about itself, in its order. The zero value
// has none.
type findings struct {
	counts   map[render.Kind]uint64
	newest   []*render.Notice
	removals render.Removals
	// known reports whether the version that wrote the first segment was found, records
	// whether that version may record removals.
	known, records bool
}

// maxNotices bounds the notices that a report lists.
const maxNotices = 20

// chunk adds the notices of a chunk. first reports whether it is in the log's first
// segment.
func (f *findings) chunk(h *logstore.Header, entries []byte, first bool) {
	var g event.Group
	for len(entries) > 0 {
		n, err := event.Decode(entries, &g)
		if err != nil {
			return // the reader of the entries reports it
		}
		f.add(&g, h.Offset, first)
		entries = entries[n:]
	}
}

func (f *findings) add(g *event.Group, boot int64, first bool) {
	if r, ok := g.Recording(); ok && !f.known {
		// A version that records removals ends its segments with a stop and begins them
		// with a start. A start in a later segment does not identify the version that
		// wrote the first one.
		f.known, f.records = true, first || r.State == event.Stopped
	}
	if r, ok := g.Removal(); ok {
		f.removals.Add(r, boot)
	}
	n, ok := render.NewNotice(g, nil, boot)
	if !ok {
		return
	}
	if f.counts == nil {
		f.counts = make(map[render.Kind]uint64)
	}
	f.counts[n.Kind()]++
	if len(f.newest) == maxNotices {
		copy(f.newest, f.newest[1:])
		f.newest = f.newest[:maxNotices-1]
	}
	f.newest = append(f.newest, n)
}

// recorded reports whether the log has a record of the removal of all entries up to
// last, or may lack it because version 0.1.0 wrote no such records.
func (f *findings) recorded(last uint64) bool {
	return last == 0 || f.removals.Cover(last) || !f.records && !f.removals.Known
}

// lines returns the findings as text: the number of each kind, then the newest. It
// returns nil without findings.
func (f *findings) lines(location *time.Location) []string {
	var counts []string
	all := uint64(0)
	for _, kind := range []render.Kind{render.Unrecorded, render.Removal, render.Loss} {
		if n := f.counts[kind]; n > 0 {
			counts = append(counts, kind.Counted(n))
			all += n
		}
	}
	if all == 0 {
		return nil
	}
	head := strings.Join(counts, ", ")
	if all > maxNotices {
		head += "; the newest"
	}
	lines := []string{head + ":"}
	for _, n := range f.newest {
		lines = append(lines, "  "+n.Text(location))
	}
	return lines
}

// findingsJSON is the JSON form: the number of each kind, and the newest.
type findingsJSON struct {
	Counts map[render.Kind]uint64 `json:"counts"`
	Newest []json.RawMessage      `json:"newest"`
}

func (f *findings) json() findingsJSON {
	j := findingsJSON{
		Counts: map[render.Kind]uint64{render.Unrecorded: 0, render.Removal: 0, render.Loss: 0},
		Newest: []json.RawMessage{},
	}
	for kind, n := range f.counts {
		j.Counts[kind] = n
	}
	for _, n := range f.newest {
		j.Newest = append(j.Newest, n.JSON())
	}
	return j
}
