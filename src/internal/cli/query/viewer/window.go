// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"time"

	"crypto-auditing/src/internal/schema"
)

// Window is the end of a log that is read without the preceding part. A context near its
// beginning that seems to be a root may be part of an earlier operation.
type Window struct {
	// LeadIn is the number of entries at the beginning in which only contexts that the
	// registry lets stand alone are accepted as roots, for at most leadTime.
	LeadIn uint64

	read       uint64
	start, end int64 // of the lead-in
	closed     bool
}

const leadTime = 2 * time.Second

// record records the time of an entry.
func (w *Window) record(start int64) {
	if w.read == 0 {
		w.start, w.end = start, start+int64(leadTime)
	}
	w.read++
	if w.read == w.LeadIn && !w.closed {
		w.closed, w.end = true, min(w.end, max(start, w.start))
	}
}

// accepts reports whether a root is accepted as one.
func (w *Window) accepts(r *schema.Registry, root *schema.Span) bool {
	return root.Start >= w.end || (!root.Headless && r.StandsAlone(root.Name))
}
