// SPDX-License-Identifier: Apache-2.0

// Package join recognises a handshake that a library reported and that was also seen at
// its socket: they are one operation. It stores the handshakes that libraries report, and
// searches them for each handshake of a socket: one of the same process and role that
// began not long before, and without a differing value.
package join

import (
	"slices"
	"strings"
	"sync"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/status"
)

const (
	// joinTime is the longest time between the beginning of a handshake in a library and
	// its end at the socket, in nanoseconds.
	joinTime = 10e9
	// MatchSettles is the number of calls of Settle that a handshake of a socket waits for
	// the values of a library's.
	MatchSettles = 2
	// MismatchSettles is the number of additional calls if it disagrees with the
	// library's: the matching one may end later.
	MismatchSettles = 10
	// maxReported bounds the stored handshakes of libraries.
	maxReported = 16384
	// maxCandidates bounds the handshakes of a process that are compared with one of a
	// socket, so that a process that reports many only affects itself.
	maxCandidates = 256
	// maxCovered bounds the executables that are counted separately; further ones are
	// counted together, without a name.
	maxCovered = 256
)

// Joiner must be used by one goroutine only, except for Coverage.
type Joiner struct {
	// byProcess has the handshakes of each process, all has all of them, oldest first.
	byProcess map[uint32][]*Handshake
	all       []*Handshake
	// waiting are handshakes of sockets that may belong to a library's, whose values may
	// not all be reported yet.
	waiting   []waiting
	functions Functions

	mu       sync.Mutex
	coverage map[string]*status.Coverage
}

// Functions learns whether handshakes that were recorded by functions are right. Its
// methods are also called for handshakes that were recorded by probes.
type Functions interface {
	// Agree is called for a handshake that certainly agrees with the one at the socket.
	Agree(h *Handshake)
	// Differ is called for a handshake of a socket that agrees with none of the
	// handshakes of libraries to which it may belong.
	Differ(candidates []*Handshake, o *Operation)
}

// waiting is a handshake of a socket, with the number of calls of Settle it still waits
// for. doubt is set if libraries reported other values.
type waiting struct {
	operation *Operation
	settles   int
	doubt     bool
}

// New returns a joiner without handshakes.
func New() *Joiner {
	return &Joiner{byProcess: map[uint32][]*Handshake{}, coverage: map[string]*status.Coverage{}}
}

// SetFunctions makes the joiner expect handshakes that are recorded by functions: they
// are reported at their end, possibly later than at the socket.
func (j *Joiner) SetFunctions(f Functions) { j.functions = f }

// Coverage returns the counts of the handshakes of all executables, by name. It may be
// called from any goroutine.
func (j *Joiner) Coverage() []status.Coverage {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := make([]status.Coverage, 0, len(j.coverage))
	for _, c := range j.coverage {
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b status.Coverage) int { return strings.Compare(a.Executable, b.Executable) })
	return all
}

// Waiting reports whether a handshake of a socket waits for Settle.
func (j *Joiner) Waiting() bool { return len(j.waiting) > 0 }

// Begin stores a handshake that a library has begun, if a context of that name is one,
// and returns it; else nil. Further values are passed to its method Note. at is in
// nanoseconds since boot.
func (j *Joiner) Begin(at, task uint64, context event.ContextID, name, executable []byte) *Handshake {
	role, found := strings.CutPrefix(string(name), "tls::handshake")
	if !found || role != "" && role != "_client" && role != "_server" {
		return nil
	}
	j.forget(at)
	h := &Handshake{
		Task: task, Context: context, Name: name, Executable: executable, began: at,
		Values: Values{Role: strings.TrimPrefix(role, "_")},
	}
	j.add(h)
	return h
}

// Report stores a handshake that was recorded by functions, at its end. context is the
// id of its root.
func (j *Joiner) Report(o *Operation, context event.ContextID) {
	j.forget(o.End)
	j.add(&Handshake{
		Values: o.Values, Task: o.Task, Context: context, Origin: o.Origin, Root: &o.Root, Number: o.Context,
		Name: []byte(o.Root.Name), Executable: []byte(o.Executable),
		// A handshake that took long must not seem too old.
		began: max(o.Start, o.End-min(o.End, joinTime/2)),
	})
}

func (j *Joiner) add(h *Handshake) {
	process := uint32(h.Task >> 32)
	j.byProcess[process] = append(j.byProcess[process], h)
	j.all = append(j.all, h)
}

// Reset removes all handshakes of libraries, for a new context key. None of a socket may
// be waiting.
func (j *Joiner) Reset() {
	clear(j.byProcess)
	j.all = nil
}

// forget removes handshakes that are too old.
func (j *Joiner) forget(at uint64) {
	for len(j.all) > 0 && (len(j.all) >= maxReported || j.all[0].began+2*joinTime < at) {
		h := j.all[0]
		j.all = j.all[1:]
		// The lists of processes have the same order, without the first matched ones.
		process := uint32(h.Task >> 32)
		if rest := j.byProcess[process]; len(rest) > 0 && rest[0] == h {
			j.keep(process, rest[1:])
		}
		if !h.matched && h.Executable != nil {
			j.Count(string(h.Executable), func(c *status.Coverage) { c.Library++ })
		}
	}
}

// keep replaces the handshakes of a process.
func (j *Joiner) keep(process uint32, rest []*Handshake) {
	if len(rest) > 0 {
		j.byProcess[process] = rest
	} else {
		delete(j.byProcess, process)
	}
}

// candidates returns the handshakes of libraries that may match one of a socket by time
// and role, oldest first.
func (j *Joiner) candidates(o *Operation) (all []*Handshake) {
	process := uint32(o.Task >> 32)
	list := j.byProcess[process]
	for len(list) > 0 && list[0].matched {
		list = list[1:]
	}
	j.keep(process, list)
	for _, h := range list[:min(len(list), maxCandidates)] {
		if !h.matched && (h.Role == "" || h.Role == o.Role) && h.began <= o.End && o.End-h.began <= joinTime {
			all = append(all, h)
		}
	}
	return all
}

// find returns the candidate that matches a handshake of a socket: among those that
// agree, preferably one of the same task, else the oldest. It reports whether the match
// is certain, and records the doubt in the others if it is not.
func find(candidates []*Handshake, o *Operation) (match *Handshake, certain bool) {
	for _, h := range candidates {
		if h.agrees(&o.Values) && (match == nil || h.Task == o.Task && match.Task != o.Task) {
			match = h
		}
	}
	if match == nil {
		return nil, false
	}
	certain = !match.disputed && (match.rival == nil || match.rival.same(&o.Values))
	for _, h := range candidates {
		if h != match && (h.Task == o.Task) == (match.Task == o.Task) && h.agrees(&o.Values) {
			h.mayBe(o)
			certain = false
		}
	}
	return match, certain
}

// Offer takes a handshake of a socket, and reports whether it keeps it until Settle.
func (j *Joiner) Offer(o *Operation) bool {
	if j.functions != nil || len(j.candidates(o)) > 0 {
		j.waiting = append(j.waiting, waiting{operation: o, settles: MatchSettles})
		return true
	}
	j.Count(o.Executable, func(c *status.Coverage) { c.Socket++ })
	return false
}

// Count counts a handshake of an executable.
func (j *Joiner) Count(executable string, add func(*status.Coverage)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := j.coverage[executable]
	if c == nil {
		if len(j.coverage) >= maxCovered {
			executable = ""
		}
		if c = j.coverage[executable]; c == nil {
			c = &status.Coverage{Executable: executable}
			j.coverage[executable] = c
		}
	}
	add(c)
}

// Settle decides on the handshakes that have waited long enough, or all. It calls write
// for those that match no library's, and complete for matches that are certain.
// Handshakes for which a library reported other values are written and passed to
// mismatch.
func (j *Joiner) Settle(all bool, write func(*Operation), complete, mismatch func(*Handshake, *Operation)) {
	waiting := j.waiting
	j.waiting = j.waiting[:0]
	for _, w := range waiting {
		if w.settles--; w.settles > 0 && !all {
			j.waiting = append(j.waiting, w)
			continue
		}
		candidates := j.candidates(w.operation)
		match, certain := find(candidates, w.operation)
		switch {
		case match != nil:
			match.matched = true
			j.Count(w.operation.Executable, func(c *status.Coverage) { c.Matched++ })
			if certain {
				j.agree(match)
				complete(match, w.operation)
			}
			continue
		case len(candidates) > 0 && !w.doubt && !all:
			w.settles, w.doubt = MismatchSettles, true
			for _, h := range nearest(candidates, w.operation) {
				h.contested = h.contested || h.doubted != nil
				h.doubted = w.operation
			}
			j.waiting = append(j.waiting, w)
			continue
		}
		if h := mismatched(candidates, w.operation); h != nil {
			h.matched = true
			j.Count(w.operation.Executable, func(c *status.Coverage) { c.Mismatched++ })
			if j.functions != nil {
				j.functions.Differ(candidates, w.operation)
			}
			mismatch(h, w.operation)
		} else {
			j.Count(w.operation.Executable, func(c *status.Coverage) { c.Socket++ })
		}
		write(w.operation)
	}
}

func (j *Joiner) agree(h *Handshake) {
	if j.functions != nil {
		j.functions.Agree(h)
	}
}

// nearest returns the candidates of the same task as a handshake of a socket, or else
// all.
func nearest(candidates []*Handshake, o *Operation) (near []*Handshake) {
	for _, h := range candidates {
		if h.Task == o.Task {
			near = append(near, h)
		}
	}
	if near == nil {
		return candidates
	}
	return near
}

// mismatched returns the candidate to which a handshake of a socket belongs although none
// agrees; nil if that is not certain.
func mismatched(candidates []*Handshake, o *Operation) *Handshake {
	if near := nearest(candidates, o); len(near) == 1 && !near[0].contested {
		return near[0]
	}
	return nil
}
