// SPDX-License-Identifier: Apache-2.0

// Package window merges the events that happen to one context within a short time, the
// flush window, into a group, and encodes the groups as entries of a batch.
package window

import (
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/pipeline/join"
	"crypto-auditing/src/internal/probe"
)

// fullWindow is the size at which a window is flushed early, in bytes of entries. It
// leaves room for one more record below the store's limit.
const fullWindow = logstore.MaxBatch - 64<<10

// headSize is the usual size of a group without its events in bytes.
const headSize = 160

// timeResolution is the unit in nanoseconds to which the times of groups are rounded
// down. The bits below are noise that does not compress: without them the log is a tenth
// smaller. The interfaces report microseconds.
const timeResolution = 1024

// group is an entry under construction.
type group struct {
	id         event.ContextID
	start, end uint64
	name       *word
	executable *word
	origin     []byte
	// unit and source are nil if unknown, and for USDT.
	unit, source *word
	events       []byte // encoded
	count        int
}

// Window collects the groups of one flush window. The events of a context are merged,
// but a new context starts a new group. It must be used by one goroutine only.
type Window struct {
	cipher   *event.Cipher
	contexts *contexts
	words    *words
	// join is nil unless handshakes are recorded at sockets.
	join *join.Joiner

	groups []group // the first n are in use; all keep their buffers
	n      int
	size   int // approximately, in bytes of entries

	// Counts of the records since the window began.
	hits   uint64
	events uint32
	// unreadable and oversize count values of recorded hits that could not be
	// recorded.
	unreadable, oversize uint64
}

// New returns an empty window, with a cipher for context ids.
func New(cipher *event.Cipher) *Window {
	return &Window{cipher: cipher, contexts: newContexts(), words: newWords()}
}

// Join passes the handshakes of libraries to j. It must be called before Take.
func (w *Window) Join(j *join.Joiner) { w.join = j }

// Take adds a record, which must have its arguments.
func (w *Window) Take(r *probe.Record) {
	w.hits++
	if r.Library != nil {
		r.Library.Hits.Add(1)
	}
	key := contextKey{r.PIDTGID, r.Context}
	var parent event.ContextID
	var handshake *join.Handshake
	if r.NewContext {
		// The parent was usually used a moment ago: finding it is faster than computing its
		// id.
		above := contextKey{r.PIDTGID, r.Parent}
		if state := w.contexts.recent(above); state != nil {
			parent, handshake = state.id, state.handshake
		} else {
			parent = w.cipher.ContextID(above.pidTGID, above.context)
		}
	}
	state, known := w.contexts.get(key, r.NewContext)
	if !known {
		state.id = w.cipher.ContextID(r.PIDTGID, r.Context)
	}
	if r.NewContext {
		executable := w.words.get(r.Executable)
		*state = contextState{key: key, id: state.id, executable: executable, library: r.Library, handshake: handshake}
	}
	if len(r.Elements) == 0 && !r.NewContext {
		w.drop(r)
		return
	}
	g := w.group(state, r)
	if r.NewContext {
		size := len(g.events)
		g.events = event.AppendNewContext(g.events, parent, origin(r.Library), r.Executable)
		w.size += len(g.events) - size
		g.count++
		w.events++
	}
	for i := range r.Elements {
		w.element(g, state, &r.Elements[i])
	}
	w.drop(r)
}

// drop counts the elements that are missing in a record. If some were unreadable, those
// beyond the limit are counted with them.
func (w *Window) drop(r *probe.Record) {
	if r.ArrayUnreadable {
		w.unreadable += uint64(r.Dropped)
	} else {
		w.oversize += uint64(r.Dropped)
	}
}

// group returns the open group of a context, or a new one.
func (w *Window) group(state *contextState, r *probe.Record) *group {
	at := r.Time &^ (timeResolution - 1)
	if state.window == w.words.window && !r.NewContext {
		g := &w.groups[state.group]
		g.end = max(g.end, at)
		return g
	}
	state.group, state.window = int32(w.n), w.words.window
	return w.newGroup(group{
		id: state.id, start: at, end: at,
		name: state.name, executable: state.executable, origin: origin(state.library), unit: state.unit, source: state.source,
	})
}

// newGroup adds a group without events.
func (w *Window) newGroup(made group) *group {
	if w.n == len(w.groups) {
		w.groups = append(w.groups, group{})
	}
	g := &w.groups[w.n]
	made.events = g.events[:0]
	*g = made
	w.n++
	w.size += headSize
	return g
}

func (w *Window) element(g *group, state *contextState, e *probe.Element) {
	if e.Key == nil {
		w.unreadable++
		return
	}
	key := w.words.get(e.Key)
	w.words.use(key, asKey)
	v := event.Value{Truncated: e.Truncated, Unreadable: e.Unreadable}
	switch e.Type {
	case probe.Word:
		v.Kind, v.Word = event.Word, e.Word
	case probe.String:
		v.Kind, v.Bytes = event.String, e.Bytes
		if string(key.text) == "name" && len(e.Bytes) > 0 {
			state.name = w.words.get(e.Bytes)
			g.name = state.name
			w.begin(state, g.start)
		}
	default:
		v.Kind, v.Bytes = event.Blob, e.Bytes
	}
	w.words.useValue(key, &v)
	if state.handshake != nil {
		state.handshake.Note(key.text, &v)
	}
	size := len(g.events)
	g.events = key.appendData(g.events, &v)
	w.size += len(g.events) - size
	g.count++
	w.events++
}

// begin passes a context that got its name to the joiner, which knows whether it is a
// handshake.
func (w *Window) begin(state *contextState, at uint64) {
	if w.join == nil {
		return
	}
	var executable []byte
	if state.executable != nil {
		executable = state.executable.raw
	}
	if h := w.join.Begin(at, state.key.pidTGID, state.id, state.name.text, executable); h != nil {
		state.handshake = h
	}
}

// Call counts the record of a call of a function, which is not passed to Take, and its
// values that could not be read.
func (w *Window) Call(unreadable uint64) {
	w.hits++
	w.unreadable += unreadable
}

// Missing returns how many values of recorded hits could not be recorded since the last
// call: unreadable ones, and those beyond the limit of a probe.
func (w *Window) Missing() (unreadable, oversize uint64) {
	unreadable, oversize = w.unreadable, w.oversize
	w.unreadable, w.oversize = 0, 0
	return unreadable, oversize
}

// Groups returns the number of groups.
func (w *Window) Groups() int { return w.n }

// Full reports whether the window must be flushed early.
func (w *Window) Full() bool { return w.size >= fullWindow }

// Renew replaces the key of the context ids. Open contexts end with the old key: the
// window must be empty.
func (w *Window) Renew(cipher *event.Cipher) {
	w.cipher = cipher
	w.contexts.forget()
	if w.join != nil {
		w.join.Reset()
	}
}

// Empty reports whether there is nothing to flush. A hit without recordable values must
// be flushed, too: it is reported.
func (w *Window) Empty() bool {
	return w.hits == 0 && w.n == 0 && (w.join == nil || !w.join.Waiting())
}

// Flush moves the groups to b and begins the next window.
func (w *Window) Flush(b *Batch) {
	for i := range w.groups[:w.n] {
		g := &w.groups[i]
		if g.count == 0 {
			continue
		}
		head := event.Head{Context: g.id, Start: g.start, End: g.end, Origin: g.origin}
		if g.name != nil {
			head.Name = g.name.text
			w.words.use(g.name, asName)
		}
		if g.executable != nil {
			head.Executable = g.executable.raw
			w.words.use(g.executable, asExecutable)
		}
		if g.unit != nil {
			head.Unit = g.unit.text
			w.words.use(g.unit, asUnit)
		}
		if g.source != nil {
			head.Source = g.source.text
			w.words.use(g.source, asSource)
		}
		b.Entries = event.AppendHead(b.Entries, &head, g.count)
		b.Entries = append(b.Entries, g.events...)
		b.End()
		b.Starts = append(b.Starts, g.start)
		b.span(g.start, g.end)
	}
	b.Hits, b.Events = w.hits, w.events
	w.words.takeTerms(b)
	w.n, w.size, w.hits, w.events = 0, 0, 0, 0
	w.words.next()
}

func origin(l *probe.Library) []byte {
	if l == nil {
		return nil
	}
	return l.BuildID
}
