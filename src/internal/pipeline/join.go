// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"slices"
	"strings"
	"sync"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/status"
	"crypto-auditing/src/internal/wire"
)

// A handshake that is reported by a library and also seen at its socket is one
// operation. The joiner stores the handshakes that libraries begin, and searches them
// for each handshake of a socket: one of the same process and role that began not long
// before, and without a differing value.

const (
	// joinTime is the longest time between the beginning of a handshake in a library and
	// its end at the socket, in nanoseconds.
	joinTime = 10e9
	// mismatchFlushes is the number of additional flushes that a handshake of a socket
	// waits for if it disagrees with the library's: the matching one may end later.
	mismatchFlushes = 10
	// maxReported bounds the stored handshakes of libraries.
	maxReported = 16384
	// maxGroups is the highest number of groups of a handshake: a client generates a key
	// pair for each group that it offers.
	maxGroups = 4
	// maxCandidates bounds the handshakes of a process that are compared with one of a
	// socket, so that a process that reports many only affects itself.
	maxCandidates = 256
	// maxCovered bounds the executables that are counted separately; further ones are
	// counted together, without a name.
	maxCovered = 256
)

// values are the values of a handshake that both sides of the joiner may know; zero is
// unknown.
type values struct {
	role           string // "client" or "server"
	version, suite int64
	groups         [maxGroups]int64
	count          int // of groups
}

// addGroup adds a group.
func (v *values) addGroup(group int64) {
	if v.count < len(v.groups) && group != 0 {
		v.groups[v.count] = group
		v.count++
	}
}

// agrees reports whether the values of a library, v, and of a socket, s, can be from the
// same handshake.
func (v *values) agrees(s *values) bool {
	if differ(v.version, s.version) || differ(v.suite, s.suite) {
		return false
	}
	for _, group := range v.groups[:v.count] {
		if s.count == 0 || group == s.groups[0] {
			return true
		}
	}
	return v.count == 0
}

// differences returns the keys for which the values of a library, v, and of a socket, s,
// differ.
func (v *values) differences(s *values) string {
	var keys []string
	if differ(v.version, s.version) {
		keys = append(keys, "tls::protocol_version")
	}
	if differ(v.suite, s.suite) {
		keys = append(keys, "tls::ciphersuite")
	}
	if s.count > 0 && v.count > 0 && !slices.Contains(v.groups[:v.count], s.groups[0]) {
		keys = append(keys, "tls::group")
	}
	return strings.Join(keys, ",")
}

func differ(a, b int64) bool { return a != 0 && b != 0 && a != b }

// reported is a handshake that a library reported.
type reported struct {
	values
	task             uint64
	context          event.ContextID
	name, executable *word
	began            uint64
	matched          bool
	// origin is the build-id of the library if it was recorded by its functions, nil if
	// by its probes.
	origin []byte
	// root is what functions recorded of it, with the number of its context; nil with
	// probes.
	root   *wire.Context
	number uint64
	// rival is a handshake of a socket that was matched with another one and may have
	// belonged to this one, nil if there is none; disputed is set if there were several
	// that differ.
	rival    *values
	disputed bool
	// doubted is a handshake of a socket that disagrees with this one and may
	// nevertheless belong to it; contested is set if there were several.
	doubted   *operation
	contested bool
}

// mayBe records that a handshake of a socket may belong to this one.
func (r *reported) mayBe(o *operation) {
	if r.rival == nil {
		r.rival = &o.values
	} else if !r.rival.same(&o.values) {
		r.disputed = true
	}
}

// same reports whether two handshakes would add the same values.
func (v *values) same(o *values) bool { return v.version == o.version && v.suite == o.suite }

// joiner must be used by the goroutine of the window only, except for the coverage.
type joiner struct {
	// byProcess has the handshakes of each process, all has all of them, oldest first.
	byProcess map[uint32][]*reported
	all       []*reported
	// waiting are handshakes of sockets that may belong to a library's, whose values may
	// not all be reported yet.
	waiting []waiting
	// functions is nil unless functions of libraries are recorded. They report a
	// handshake at its end, possibly later than the socket.
	functions *functions

	mu       sync.Mutex
	coverage map[string]*status.Coverage
}

// waiting is a handshake of a socket, with the number of flushes it still waits for.
// doubt is set if libraries reported other values.
type waiting struct {
	operation *operation
	flushes   int
	doubt     bool
}

func newJoiner() *joiner {
	return &joiner{byProcess: map[uint32][]*reported{}, coverage: map[string]*status.Coverage{}}
}

// list returns the counters of all executables, by name.
func (j *joiner) list() []status.Coverage {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := make([]status.Coverage, 0, len(j.coverage))
	for _, c := range j.coverage {
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b status.Coverage) int { return strings.Compare(a.Executable, b.Executable) })
	return all
}

// begin stores a handshake that a library has begun, if the context that got its name is
// one.
func (j *joiner) begin(state *contextState, at uint64) {
	role, found := strings.CutPrefix(string(state.name.text), "tls::handshake")
	if !found || role != "" && role != "_client" && role != "_server" {
		return
	}
	j.forget(at)
	r := &reported{
		task: state.key.pidTGID, context: state.id, name: state.name, executable: state.executable, began: at,
		values: values{role: strings.TrimPrefix(role, "_")},
	}
	state.handshake = r
	process := uint32(r.task >> 32)
	j.byProcess[process] = append(j.byProcess[process], r)
	j.all = append(j.all, r)
}

// report stores a handshake that was recorded by functions, at its end. context is the
// id of its root.
func (j *joiner) report(o *operation, context event.ContextID, w *words) {
	j.forget(o.end)
	r := &reported{
		values: o.values, task: o.task, context: context, origin: o.origin, root: &o.root, number: o.context,
		name: w.get([]byte(o.root.Name)), executable: w.get([]byte(o.executable)),
		// A handshake that took long must not seem too old.
		began: max(o.start, o.end-min(o.end, joinTime/2)),
	}
	process := uint32(r.task >> 32)
	j.byProcess[process] = append(j.byProcess[process], r)
	j.all = append(j.all, r)
}

// reset removes all handshakes, for a new context key. None may be waiting.
func (j *joiner) reset() {
	clear(j.byProcess)
	j.all = nil
}

// forget removes handshakes that are too old.
func (j *joiner) forget(at uint64) {
	for len(j.all) > 0 && (len(j.all) >= maxReported || j.all[0].began+2*joinTime < at) {
		r := j.all[0]
		j.all = j.all[1:]
		// The lists of processes have the same order, without the first matched ones.
		process := uint32(r.task >> 32)
		if rest := j.byProcess[process]; len(rest) > 0 && rest[0] == r {
			j.keep(process, rest[1:])
		}
		if !r.matched && r.executable != nil {
			j.count(string(r.executable.raw), func(c *status.Coverage) { c.Library++ })
		}
	}
}

// note stores a value that a library reports.
func (r *reported) note(key []byte, v *event.Value) {
	switch string(key) {
	case "tls::role":
		r.role = string(v.Bytes)
	case "tls::protocol_version":
		r.version = v.Word
	case "tls::ciphersuite":
		r.suite = v.Word
	case "tls::group":
		r.addGroup(v.Word)
	}
}

// keep replaces the handshakes of a process.
func (j *joiner) keep(process uint32, rest []*reported) {
	if len(rest) > 0 {
		j.byProcess[process] = rest
	} else {
		delete(j.byProcess, process)
	}
}

// candidates returns the handshakes of libraries that may match one of a socket by time
// and role, oldest first.
func (j *joiner) candidates(o *operation) (all []*reported) {
	process := uint32(o.task >> 32)
	list := j.byProcess[process]
	for len(list) > 0 && list[0].matched {
		list = list[1:]
	}
	j.keep(process, list)
	for _, r := range list[:min(len(list), maxCandidates)] {
		if !r.matched && (r.role == "" || r.role == o.role) && r.began <= o.end && o.end-r.began <= joinTime {
			all = append(all, r)
		}
	}
	return all
}

// find returns the candidate that matches a handshake of a socket: among those that
// agree, preferably one of the same task, else the oldest. It reports whether the match
// is certain, and records the doubt in the others if it is not.
func find(candidates []*reported, o *operation) (match *reported, certain bool) {
	for _, r := range candidates {
		if r.agrees(&o.values) && (match == nil || r.task == o.task && match.task != o.task) {
			match = r
		}
	}
	if match == nil {
		return nil, false
	}
	certain = !match.disputed && (match.rival == nil || match.rival.same(&o.values))
	for _, r := range candidates {
		if r != match && (r.task == o.task) == (match.task == o.task) && r.agrees(&o.values) {
			r.mayBe(o)
			certain = false
		}
	}
	return match, certain
}

// offer takes a handshake of a socket, and reports whether it keeps it until settle.
func (j *joiner) offer(o *operation) bool {
	if j.functions != nil || len(j.candidates(o)) > 0 {
		j.waiting = append(j.waiting, waiting{operation: o, flushes: 2})
		return true
	}
	j.count(o.executable, func(c *status.Coverage) { c.Socket++ })
	return false
}

// count counts a handshake of an executable.
func (j *joiner) count(executable string, add func(*status.Coverage)) {
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

// settle decides on the handshakes that have waited long enough, or all. It calls write
// for those that match no library's, and complete for matches that are certain.
// Handshakes for which a library reported other values are written and passed to
// mismatch.
func (j *joiner) settle(all bool, write func(*operation), complete, mismatch func(*reported, *operation)) {
	waiting := j.waiting
	j.waiting = j.waiting[:0]
	for _, w := range waiting {
		if w.flushes--; w.flushes > 0 && !all {
			j.waiting = append(j.waiting, w)
			continue
		}
		candidates := j.candidates(w.operation)
		match, certain := find(candidates, w.operation)
		switch {
		case match != nil:
			match.matched = true
			j.count(w.operation.executable, func(c *status.Coverage) { c.Matched++ })
			if certain {
				j.functions.agree(match)
				complete(match, w.operation)
			}
			continue
		case len(candidates) > 0 && !w.doubt && !all:
			w.flushes, w.doubt = mismatchFlushes, true
			for _, r := range nearest(candidates, w.operation) {
				r.contested = r.contested || r.doubted != nil
				r.doubted = w.operation
			}
			j.waiting = append(j.waiting, w)
			continue
		}
		if r := contrary(candidates, w.operation); r != nil {
			r.matched = true
			j.count(w.operation.executable, func(c *status.Coverage) { c.Mismatched++ })
			j.functions.differ(candidates, w.operation)
			mismatch(r, w.operation)
		} else {
			j.count(w.operation.executable, func(c *status.Coverage) { c.Socket++ })
		}
		write(w.operation)
	}
}

// nearest returns the candidates of the same task as a handshake of a socket, or else
// all.
func nearest(candidates []*reported, o *operation) (near []*reported) {
	for _, r := range candidates {
		if r.task == o.task {
			near = append(near, r)
		}
	}
	if near == nil {
		return candidates
	}
	return near
}

// contrary returns the candidate to which a handshake of a socket belongs although none
// agrees; nil if that is not certain.
func contrary(candidates []*reported, o *operation) *reported {
	if near := nearest(candidates, o); len(near) == 1 && !near[0].contested {
		return near[0]
	}
	return nil
}
