// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"time"

	"crypto-auditing/src/internal/schema"
)

// Window is the end of a log, read without what precedes it. What seems to
// be a root near its beginning may be part of an operation that began before.
type Window struct {
	// LeadIn is the number of entries at the beginning of which only what
	// the registry lets stand alone is believed to be a root, for leadTime at
	// most.
	LeadIn uint64

	read       uint64
	start, end int64 // of the lead-in
	closed     bool
}

const leadTime = 2 * time.Second

// see notes the time of an entry.
func (w *Window) see(start int64) {
	if w.read == 0 {
		w.start, w.end = start, start+int64(leadTime)
	}
	w.read++
	if w.read == w.LeadIn && !w.closed {
		w.closed, w.end = true, min(w.end, max(start, w.start))
	}
}

// believes reports whether a root is one.
func (w *Window) believes(r *schema.Registry, root *schema.Span) bool {
	return root.Start >= w.end || (!root.Headless && r.StandsAlone(root.Name))
}
