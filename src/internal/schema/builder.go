// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"cmp"
	"slices"

	"crypto-auditing/src/internal/event"
)

// MaxDepth is the number of spans above each other in a tree. A span that
// would stand deeper stands beside its parent.
const MaxDepth = 64

// Options of a Builder. The zero value has the defaults.
type Options struct {
	// MaxBytes bounds the memory of all trees that are under way, roughly;
	// the default is 64 MiB. When there is more, the oldest tree is complete,
	// whatever may follow of it.
	MaxBytes int
	// MaxTreeBytes bounds one tree; the default is a quarter of MaxBytes.
	MaxTreeBytes int
	// Ordered gives roots in the order of their opening: a complete one waits
	// for all that were opened before it. Without it roots come as they are
	// complete.
	Ordered bool
}

// Builder makes trees of spans from the groups of a log, in the order of the
// log.
//
// Contexts say less than one would like, and the builder survives all of it:
// an id that is used again opens a new span, and both data and contexts
// inside belong to the latest span of their id; where a library gives one id
// to an operation and its parts, the registry tells what is part of what, and
// data belongs to the nearest open span that the registry gives its key; a
// span may get its name after its data, or never; a context whose beginning
// is not in the log is a root. How events are spread over groups makes no
// difference but for the times.
//
// A Builder is not safe for use by several goroutines.
type Builder struct {
	registry *Registry
	options  Options
	emit     func(*Span)

	latest contexts
	// opened has all trees, complete ones included that wait for older ones;
	// active those that are not complete, in the order of their last events.
	opened opened
	active active
	bytes  int
	order  uint64
	words  map[string]string // keys and names, which repeat
	recent [fields]string    // the words that a field had last
	// libraries are the names of libraries that the log reported, by build-id.
	libraries map[string]string
	memory    memory
	done      []*tree // memory of Flush
}

// The fields of a group that mostly hold what they held in the group before.
const (
	fieldOrigin = iota
	fieldExecutable
	fieldUnit
	fieldSource
	fields
)

// maxWords bounds the table of words, maxWord the length of one that is kept
// there.
const maxWords, maxWord = 4096, 1024

// NewBuilder returns a builder that gives every complete root to emit. The
// root does not change afterwards and belongs to emit, unless that gives it back
// to Release.
func NewBuilder(r *Registry, options Options, emit func(*Span)) *Builder {
	if options.MaxBytes <= 0 {
		options.MaxBytes = 64 << 20
	}
	if options.MaxTreeBytes <= 0 {
		options.MaxTreeBytes = options.MaxBytes / 4
	}
	return &Builder{
		registry: r, options: options, emit: emit,
		latest: newContexts(),
		words:  make(map[string]string), libraries: make(map[string]string),
	}
}

// Add adds a group to the trees. boot is the time of boot to which the times
// of the group are relative, in nanoseconds since the Unix epoch. Nothing of
// g is kept. Metadata groups are passed over.
//
// Add returns the span that the first event of the group belongs to, which
// stays in the trees at least until the next call of a method of the builder;
// nil for a metadata group.
func (b *Builder) Add(g *event.Group, boot int64) *Span {
	if g.IsMetadata() || len(g.Events) == 0 {
		b.nameLibrary(g)
		return nil
	}
	b.makeRoom()
	start, end := event.WallTime(boot, g.Start), event.WallTime(boot, g.End)
	latest := b.latest.get(&g.Context)
	var first *Span
	for i := range g.Events {
		var s *Span
		s, latest = b.event(g, &g.Events[i], latest, start, end)
		if i == 0 {
			first = s
		}
	}
	if len(g.Unit) > 0 || len(g.Source) > 0 {
		b.learn(latest, g)
	}
	return first
}

// maxLibraries bounds the names of libraries that are remembered.
const maxLibraries = 4096

// nameLibrary takes the name of a library.
func (b *Builder) nameLibrary(g *event.Group) {
	if l, ok := g.Library(); ok && len(l.Name) <= maxWord && len(b.libraries) < maxLibraries {
		b.libraries[string(l.BuildID)] = l.Name
	}
}

// learn takes what a later group of a span knows of it and the first did not.
func (b *Builder) learn(s *Span, g *event.Group) {
	if s.Unit == "" {
		s.Unit = b.field(fieldUnit, g.Unit)
	}
	if len(g.Source) > 0 && string(g.Source) != s.Source {
		s.Joined = b.field(fieldSource, g.Source)
	}
}

// event adds an event to the span that it belongs to, which it returns, and the
// latest one of the group's context.
func (b *Builder) event(g *event.Group, e *event.Event, latest *Span, start, end int64) (of, last *Span) {
	if e.Kind == event.NewContext {
		latest = b.open(g, e, latest, start, end)
		b.touch(latest, end)
		return latest, latest
	}
	if latest == nil {
		latest = b.headless(g, start, end)
	}
	s := b.data(latest, e.Key, &e.Value)
	b.touch(s, end)
	return s, latest
}

// span makes a span of the group's context, which is the latest of its id from
// here on.
func (b *Builder) span(g *event.Group, origin, executable []byte, start, end int64) *Span {
	b.order++
	s := b.memory.span()
	s.Context, s.Start, s.End, s.order = g.Context, start, end, b.order
	s.Origin, s.Executable = b.field(fieldOrigin, origin), b.field(fieldExecutable, executable)
	s.Unit, s.Source = b.field(fieldUnit, g.Unit), b.field(fieldSource, g.Source)
	b.latest.set(s)
	return s
}

// headless makes the span of a context that is met in the middle, with what
// the group says of it.
func (b *Builder) headless(g *event.Group, start, end int64) *Span {
	s := b.span(g, g.Origin, g.Executable, start, end)
	s.Headless = true
	b.addRoot(s)
	if len(g.Name) > 0 {
		b.data(s, []byte(KeyName), &event.Value{Kind: event.String, Bytes: g.Name})
	}
	return s
}

// open makes the span of a NewContext. latest is that of the same id.
func (b *Builder) open(g *event.Group, e *event.Event, latest *Span, start, end int64) *Span {
	executable := e.Executable
	if len(executable) == 0 {
		executable = g.Executable
	}
	self := e.Parent == g.Context
	if self && latest != nil && !latest.named && len(latest.Data) == 0 {
		// Opened twice before anything was said of it: a library announces
		// the context of an operation, another one fills it in.
		latest.self = latest.self || latest.parent == nil
		latest.Origin, latest.Executable = b.field(fieldOrigin, e.Origin), b.field(fieldExecutable, executable)
		latest.Unit, latest.Source = b.field(fieldUnit, g.Unit), b.field(fieldSource, g.Source)
		return latest
	}
	parent := latest
	if !self {
		parent = b.latest.get(&e.Parent)
	}
	s := b.span(g, e.Origin, executable, start, end)
	s.self = self
	if parent == nil {
		b.addRoot(s)
		return s
	}
	s.attach(shallow(parent))
	t := s.root().tree
	t.bytes += spanSize
	b.bytes += spanSize
	return s
}

// shallow returns s, or the nearest span above that may have spans inside.
func shallow(s *Span) *Span {
	for s.depth >= MaxDepth-1 {
		s = s.parent
	}
	return s
}

// data gives an event of key and value to a span, the latest one of its id or
// one of those around it.
func (b *Builder) data(latest *Span, name []byte, v *event.Value) *Span {
	key := b.word(name)
	s := latest
	if key == KeyName {
		if v.Kind == event.String && len(v.Bytes) > 0 {
			b.name(s, b.word(v.Bytes))
		}
	} else {
		s = b.owner(latest, key)
	}
	grown := s.set(key, v)
	s.root().tree.bytes += grown
	b.bytes += grown
	return s
}

// owner returns the span that data of a key belongs to: the nearest open one
// of the id whose definition has the key, else the latest.
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

// name names a span that has no name yet and finds its place.
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

// move takes a span to its place, nil for a root.
func (b *Builder) move(s, place *Span) {
	if place == s.parent {
		return
	}
	old := s.root().tree
	s.detach()
	if place != nil {
		s.attach(shallow(place))
		s.deepen()
		return
	}
	moved := 0
	s.depth = 0
	s.deepen()
	s.walkHoles(func(inner *Span) { moved += inner.size() })
	old.bytes -= moved
	b.bytes -= moved
	b.addRoot(s)
	s.tree.bytes, b.bytes = moved, b.bytes-spanSize+moved
}

// place returns the span inside which a span that just got its name belongs,
// nil for a root. So far it stands inside the span that was the latest of the
// parent's id when it was opened. The open spans of that id are this one and
// those around it of the same id; a span beside them is closed.
func (b *Builder) place(s *Span) *Span {
	id := s.parent.Context
	for p := s.parent; p != nil && p.Context == id; p = p.parent {
		if p.context.mayHold(s.context) {
			return p
		}
		if p == s.parent && !p.named && !s.self {
			s.tentative = true // until it is known what p is
			return p
		}
	}
	if !s.self {
		return s.parent
	}
	// One id for an operation and its parts, and nothing open may hold it: an
	// operation of its own.
	if s.context != nil {
		return nil
	}
	// A context that the registry does not know is part of the operation,
	// unless it is the operation's own name once more.
	outermost := s.parent
	for p := s.parent; p != nil && p.Context == id; p = p.parent {
		if p.Name == s.Name {
			return p.parent
		}
		outermost = p
	}
	return outermost
}

// deepen corrects the depths inside s.
func (s *Span) deepen() {
	for _, inner := range s.Spans {
		if inner != nil {
			inner.depth = s.depth + 1
			inner.deepen()
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

// touch notes that an event of a span happened.
func (b *Builder) touch(s *Span, at int64) {
	s.Last = max(s.Last, at)
	t := s.root().tree
	t.last = max(t.last, at)
	b.active.moveToBack(t)
}

// word returns w as a string that equal words share.
func (b *Builder) word(w []byte) string {
	if len(w) == 0 {
		return ""
	}
	if s, ok := b.words[string(w)]; ok {
		return s
	}
	if len(w) > maxWord {
		return string(w)
	}
	if len(b.words) >= maxWords {
		clear(b.words)
	}
	s := string(w)
	b.words[s] = s
	return s
}

// field returns the word that a field holds.
func (b *Builder) field(field int, w []byte) string {
	if string(w) != b.recent[field] {
		b.recent[field] = b.word(w)
	}
	return b.recent[field]
}

// Flush completes the roots in whose trees nothing happened since before, in
// nanoseconds since the Unix epoch. They come in the order of their opening.
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

// Close completes all roots.
func (b *Builder) Close() {
	for t := b.opened.front(); t != nil; t = b.opened.front() {
		b.finish(t)
	}
}

// Release takes back a tree that emit was given, to use its memory again. Nothing
// of the tree may be used afterwards.
func (b *Builder) Release(root *Span) { b.memory.release(root) }

// Pending returns the number of roots that are not complete and the start of
// the oldest one that was not given out yet; ok is false if there is none.
func (b *Builder) Pending() (roots int, oldest int64, ok bool) {
	t := b.opened.front()
	if t == nil {
		return 0, 0, false
	}
	return b.active.count, t.root.Start, true
}

// makeRoom completes trees until what is kept is within the limits.
func (b *Builder) makeRoom() {
	// Only the tree that the last event belongs to can have outgrown.
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

// finish completes a tree and gives out what no older tree holds back.
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

// forget takes the spans of a tree out of the latest ones of their ids.
func (b *Builder) forget(s *Span) {
	b.latest.remove(s)
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
	root.settle(b.libraries)
	b.memory.releaseTree(t)
	b.emit(root)
}
