// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"cmp"
	"slices"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema/idtable"
	"crypto-auditing/src/internal/schema/intern"
)

// MaxDepth is the maximum depth of a tree. A deeper span becomes a sibling of its parent.
const MaxDepth = 64

// Options configure a Builder. The zero value selects the defaults.
type Options struct {
	// MaxBytes is an approximate limit of the memory of all pending trees; the default is 64
	// MiB. Above it, the oldest tree is completed, even if more of it may follow.
	MaxBytes int
	// MaxTreeBytes is the limit of one tree; the default is a quarter of MaxBytes.
	MaxTreeBytes int
	// Ordered emits roots in the order of their opening: a complete one waits for all that
	// were opened before it. Otherwise roots are emitted when they are complete.
	Ordered bool
	// MaxFree is the highest number of released spans whose memory is kept for others; the
	// default is 16,384.
	MaxFree int
}

// Builder builds trees of spans from the groups of a log, in the order of the log.
//
// Contexts are ambiguous, and the builder handles all of this: an id that is reused opens a
// new span, and elements and child contexts belong to the latest span of their id; if a
// library uses one id for an operation and its parts, the registry defines which contexts are
// parts of which, and elements belong to the nearest open span whose definition has their
// key; a span may be named after its elements, or never; a context whose start is not in the
// log is a root. The distribution of events over groups affects only the times.
//
// A Builder is for use by one goroutine.
type Builder struct {
	registry *Registry
	options  Options
	emit     func(*Span)

	latest idtable.Table[Span] // spans by their ids
	// opened has all trees, including complete ones that wait for older ones; active has the
	// incomplete ones in the order of their last events.
	opened opened
	active active
	bytes  int
	order  uint64
	at     uint64         // number of the entry that is added
	words  intern.Words   // keys and names, which repeat
	recent [fields]string // the last words of each field
	// libraries has the names of libraries that the log has reported, by build-id.
	libraries map[string]string
	memory    memory
	done      []*tree // memory for Flush
}

// The fields of a group that usually do not change between groups.
const (
	fieldOrigin = iota
	fieldExecutable
	fieldUnit
	fieldSource
	fields
)

// NewBuilder returns a builder that passes every complete root to emit. The root does not
// change afterwards and is owned by emit, unless emit passes it to Release.
func NewBuilder(r *Registry, options Options, emit func(*Span)) *Builder {
	if options.MaxBytes <= 0 {
		options.MaxBytes = 64 << 20
	}
	if options.MaxTreeBytes <= 0 {
		options.MaxTreeBytes = options.MaxBytes / 4
	}
	return &Builder{
		registry: r, options: options, emit: emit, memory: memory{most: cmp.Or(options.MaxFree, maxFree)},
		latest:    idtable.New[Span](),
		libraries: make(map[string]string),
	}
}

// At sets the number of the entry that is added next.
func (b *Builder) At(sequence uint64) { b.at = sequence }

// Add adds a group to the trees. boot is the boot time to which the times of the group are
// relative, in nanoseconds since the Unix epoch. g is not retained. Metadata groups are
// skipped.
//
// Add returns the span of the first event of the group, which stays in the trees at least
// until the next call of a method of the builder; nil for a metadata group.
func (b *Builder) Add(g *event.Group, boot int64) *Span {
	if g.IsMetadata() || len(g.Events) == 0 {
		b.nameLibrary(g)
		return nil
	}
	b.makeRoom()
	start, end := event.WallTime(boot, g.Start), event.WallTime(boot, g.End)
	latest := b.latest.Get(&g.Context)
	var first *Span
	for i := range g.Events {
		var s *Span
		s, latest = b.event(g, &g.Events[i], latest, start, end)
		if i == 0 {
			first = s
		}
	}
	if len(g.Unit) > 0 || len(g.Source) > 0 {
		b.addAttributes(latest, g)
	}
	return first
}

// maxLibraries limits the number of cached library names.
const maxLibraries = 4096

// nameLibrary records the name of a library.
func (b *Builder) nameLibrary(g *event.Group) {
	if l, ok := g.Library(); ok && len(l.Name) <= intern.MaxWord && len(b.libraries) < maxLibraries {
		b.libraries[string(l.BuildID)] = l.Name
	}
}

// addAttributes adds attributes from a later group of a span that the first group did not have.
func (b *Builder) addAttributes(s *Span, g *event.Group) {
	if s.Unit == "" {
		s.Unit = b.field(fieldUnit, g.Unit)
	}
	if len(g.Source) > 0 && string(g.Source) != s.Source {
		s.Joined = b.field(fieldSource, g.Source)
	}
}

// event adds an event to its span. It returns that span and the latest span of the group's
// context.
func (b *Builder) event(g *event.Group, e *event.Event, latest *Span, start, end int64) (span, last *Span) {
	if e.Kind == event.NewContext {
		latest = b.open(g, e, latest, start, end)
		b.touch(latest, end)
		return latest, latest
	}
	if latest == nil {
		latest = b.openWithoutStart(g, start, end)
	}
	s := b.data(latest, e.Key, &e.Value)
	b.touch(s, end)
	return s, latest
}

// span creates a span of the group's context, which becomes the latest of its id.
func (b *Builder) span(g *event.Group, origin, executable []byte, start, end int64) *Span {
	b.order++
	s := b.memory.span()
	s.Context, s.Start, s.End, s.order = g.Context, start, end, b.order
	s.Origin, s.Executable = b.field(fieldOrigin, origin), b.field(fieldExecutable, executable)
	s.Unit, s.Source = b.field(fieldUnit, g.Unit), b.field(fieldSource, g.Source)
	b.latest.Set(&s.Context, s)
	return s
}

// openWithoutStart creates the span of a context whose start is missing, with the attributes of the
// group.
func (b *Builder) openWithoutStart(g *event.Group, start, end int64) *Span {
	s := b.span(g, g.Origin, g.Executable, start, end)
	s.Headless = true
	b.addRoot(s)
	if len(g.Name) > 0 {
		b.data(s, []byte(KeyName), &event.Value{Kind: event.String, Bytes: g.Name})
	}
	return s
}

// open creates the span of a NewContext. latest is the latest span of the same id.
func (b *Builder) open(g *event.Group, e *event.Event, latest *Span, start, end int64) *Span {
	executable := e.Executable
	if len(executable) == 0 {
		executable = g.Executable
	}
	self := e.Parent == g.Context
	if self && latest != nil && !latest.named && len(latest.Data) == 0 {
		// Opened twice before any elements: one library announces the context of an
		// operation, another one adds the elements.
		latest.self = latest.self || latest.parent == nil
		latest.Origin, latest.Executable = b.field(fieldOrigin, e.Origin), b.field(fieldExecutable, executable)
		latest.Unit, latest.Source = b.field(fieldUnit, g.Unit), b.field(fieldSource, g.Source)
		return latest
	}
	parent := latest
	if !self {
		parent = b.latest.Get(&e.Parent)
	}
	s := b.span(g, e.Origin, executable, start, end)
	s.self = self
	if parent == nil {
		b.addRoot(s)
		return s
	}
	s.attach(nearestParent(parent))
	t := s.root().tree
	t.bytes += spanSize
	b.bytes += spanSize
	return s
}

// nearestParent returns s, or the nearest ancestor that may have children.
func nearestParent(s *Span) *Span {
	for s.depth >= MaxDepth-1 {
		s = s.parent
	}
	return s
}

// data adds an element to a span: the latest one of its id or one of its ancestors.
func (b *Builder) data(latest *Span, name []byte, v *event.Value) *Span {
	key := b.words.Intern(name)
	s := latest
	if key == KeyName {
		if v.Kind == event.String && len(v.Bytes) > 0 {
			b.name(s, b.words.Intern(v.Bytes))
		}
	} else {
		s = b.owner(latest, key)
	}
	grown := s.set(key, v)
	s.root().tree.bytes += grown
	b.bytes += grown
	return s
}

// owner returns the span for an element of a key: the nearest open span of the id whose
// definition has the key, or else the latest.
func (b *Builder) owner(latest *Span, key string) *Span {
	if !latest.named {
		return latest // its definition is not known yet
	}
	for s := latest; s != nil && s.Context == latest.Context; s = s.parent {
		if s.context.Has(key) {
			return s
		}
	}
	return latest
}

// name names an unnamed span and determines its parent.
func (b *Builder) name(s *Span, name string) {
	if s.named {
		return
	}
	s.Name, s.named, s.context = name, true, b.registry.Context(name)
	if s.parent != nil {
		b.move(s, b.place(s))
	}
	for _, inner := range s.Spans {
		if inner != nil && inner.tentative {
			inner.tentative = false
			b.move(inner, b.place(inner))
		}
	}
}

// move moves a span to a new parent, or makes it a root if place is nil.
func (b *Builder) move(s, place *Span) {
	if place == s.parent {
		return
	}
	old := s.root().tree
	s.detach()
	if place != nil {
		s.attach(nearestParent(place))
		s.updateDepth()
		return
	}
	moved := 0
	s.depth = 0
	s.updateDepth()
	s.walkHoles(func(inner *Span) { moved += inner.size() })
	old.bytes -= moved
	b.bytes -= moved
	b.addRoot(s)
	s.tree.bytes, b.bytes = moved, b.bytes-spanSize+moved
}

// place returns the parent of a span that was just named, nil for a root. Until now its
// parent is the span that was the latest of the parent's id when it was opened. The open
// spans of that id are this one and its ancestors of the same id; siblings are closed.
func (b *Builder) place(s *Span) *Span {
	id := s.parent.Context
	for p := s.parent; p != nil && p.Context == id; p = p.parent {
		if p.context.mayHold(s.context) {
			return p
		}
		if p == s.parent && !p.named && !s.self {
			s.tentative = true // until the name of p is known
			return p
		}
	}
	if !s.self {
		return s.parent
	}
	// One id for an operation and its parts, and no open span may contain it, so it is an
	// operation of its own.
	if s.context != nil {
		return nil
	}
	// A context that is not in the registry is part of the operation, unless it repeats the
	// name of the operation.
	outermost := s.parent
	for p := s.parent; p != nil && p.Context == id; p = p.parent {
		if p.Name == s.Name {
			return p.parent
		}
		outermost = p
	}
	return outermost
}

// updateDepth updates the depths of the descendants of s.
func (s *Span) updateDepth() {
	for _, inner := range s.Spans {
		if inner != nil {
			inner.depth = s.depth + 1
			inner.updateDepth()
		}
	}
}

func (s *Span) walkHoles(visit func(*Span)) {
	visit(s)
	for _, inner := range s.Spans {
		if inner != nil {
			inner.walkHoles(visit)
		}
	}
}

func (b *Builder) addRoot(s *Span) {
	t := b.memory.tree()
	t.root, t.order, t.bytes, t.last = s, s.order, spanSize, s.Start
	b.opened.push(t)
	b.active.push(t)
	s.tree = t
	b.bytes += spanSize
}

// touch records the time of an event of a span.
func (b *Builder) touch(s *Span, at int64) {
	s.Last = max(s.Last, at)
	t := s.root().tree
	t.last = max(t.last, at)
	t.touched = b.at
	b.active.moveToBack(t)
}

// field returns the word of a field.
func (b *Builder) field(field int, w []byte) string {
	if string(w) != b.recent[field] {
		b.recent[field] = b.words.Intern(w)
	}
	return b.recent[field]
}

// Flush completes the roots of trees without events since before, in nanoseconds since the
// Unix epoch. They are emitted in the order of their opening.
func (b *Builder) Flush(before int64) {
	done := b.done[:0]
	for t := b.active.front; t != nil && t.last < before; t = t.next {
		done = append(done, t)
	}
	slices.SortFunc(done, func(x, y *tree) int { return cmp.Compare(x.order, y.order) })
	for _, t := range done {
		b.finish(t)
	}
	b.done = done[:0]
}

// FlushUntil completes the roots of trees whose last event is in an entry up to a number, in the
// order of their last events. It needs At.
func (b *Builder) FlushUntil(sequence uint64) {
	for t := b.active.front; t != nil && t.touched <= sequence; t = b.active.front {
		b.finish(t)
	}
}

// Oldest returns the number of the entry with the last event of the incomplete tree that has had
// none for the longest time; ok is false if there is no incomplete tree. It needs At.
func (b *Builder) Oldest() (sequence uint64, ok bool) {
	if t := b.active.front; t != nil {
		return t.touched, true
	}
	return 0, false
}

// Bytes returns the approximate memory of all trees that were not emitted.
func (b *Builder) Bytes() int { return b.bytes }

// Close completes all roots.
func (b *Builder) Close() {
	for t := b.opened.front(); t != nil; t = b.opened.front() {
		b.finish(t)
	}
}

// Release takes back a tree that was passed to emit and reuses its memory. The tree must not
// be used afterwards.
func (b *Builder) Release(root *Span) { b.memory.release(root) }

// Pending returns the number of incomplete roots and the start of the oldest one that was
// not emitted; ok is false if there is none.
func (b *Builder) Pending() (roots int, oldest int64, ok bool) {
	t := b.opened.front()
	if t == nil {
		return 0, 0, false
	}
	return b.active.count, t.root.Start, true
}

// makeRoom completes trees until the memory is within the limits.
func (b *Builder) makeRoom() {
	// Only the tree of the last event can have exceeded the limit.
	if t := b.active.back; t != nil && t.bytes > b.options.MaxTreeBytes {
		t.root.Cut = true
		b.finish(t)
	}
	for b.bytes > b.options.MaxBytes {
		if b.options.Ordered {
			b.finish(b.opened.front())
		} else {
			b.finish(b.active.front)
		}
	}
}

// finish completes a tree and emits the trees that do not wait for older ones.
func (b *Builder) finish(t *tree) {
	if !t.complete {
		t.complete = true
		b.active.remove(t)
		b.forget(t.root)
	}
	if !b.options.Ordered {
		b.give(t)
		return
	}
	for t := b.opened.front(); t != nil && t.complete; t = b.opened.front() {
		b.give(t)
	}
}

// forget removes the spans of a tree from the latest ones of their ids.
func (b *Builder) forget(s *Span) {
	b.latest.Remove(&s.Context, s)
	for _, inner := range s.Spans {
		if inner != nil {
			b.forget(inner)
		}
	}
}

func (b *Builder) give(t *tree) {
	b.opened.remove(t)
	b.bytes -= t.bytes
	root := t.root
	root.Completed = t.touched
	root.settle(b.libraries)
	b.memory.releaseTree(t)
	b.emit(root)
}
