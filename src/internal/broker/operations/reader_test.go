// SPDX-License-Identifier: Apache-2.0

package operations

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/broker/brokertest"
	"crypto-auditing/src/internal/broker/filter"
	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/schema"
)

// newSource returns a source for a log, with a clock that is an hour ahead.
func newSource(t *testing.T, dir string) *Source {
	t.Helper()
	registry, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	s := &Source{
		Registry: registry, Log: reading.NewLog(dir, slog.New(slog.NewTextHandler(io.Discard, nil))),
		Library: func(string) string { return "" }, Now: func() time.Time { return time.Now().Add(time.Hour) },
	}
	t.Cleanup(s.Close)
	return s
}

// resolve returns the cursor that a text names.
func (s *Source) resolve(t *testing.T, text string) logstore.Cursor {
	t.Helper()
	c, err := s.Log.Resolve(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// compile returns a filter.
func (s *Source) compile(t *testing.T, spec filter.Spec) *filter.Filter {
	t.Helper()
	f, err := filter.Compile(s.Registry, spec)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// inLines is the Encoder that writes an operation as a line.
type inLines struct{}

func (inLines) Append(dst []byte, o *Operation) []byte { return append(dst, line(o)...) }

// read returns the lines of a page, and the page.
func (s *Source) read(t *testing.T, o Options, most int) (lines []string, p *Page) {
	t.Helper()
	o.Encoder, o.Most = inLines{}, most
	if o.Size == 0 {
		o.Size = math.MaxInt
	}
	p, err := s.Read(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	from := 0
	for _, end := range p.Ends {
		lines = append(lines, string(p.Bytes[from:end.At]))
		from = end.At
	}
	return lines, p
}

// line formats an operation as a line.
func line(o *Operation) string {
	text := fmt.Sprintf("%s %s %q %d %d %v %v %v", o.Cursor, o.Context.String()[:4], o.Name, o.Start, o.End, o.Orphan, o.Truncated, o.Data)
	for i := range o.Children {
		text += " [" + line(&o.Children[i]) + "]"
	}
	return text
}

// pages reads pages of sizes that vary returns, until the cursor does not move.
func (s *Source) pages(t *testing.T, o Options, vary func() (most, size int)) (all []string) {
	t.Helper()
	for {
		var most int
		most, o.Size = vary()
		lines, p := s.read(t, o, most)
		all = append(all, lines...)
		if p.Next == o.After {
			return all
		}
		o.After = p.Next
	}
}

// pausing returns groups of random operations with pauses, some long enough for operations to
// be complete. Ids are reused.
func pausing(r *rand.Rand, n int) []event.Group {
	names := []string{"tls::handshake", "tls::key_exchange", "tls::sign", "pk::derive", "x::y"}
	now := logstore.SystemClock{}.Now().Boot - uint64(2*time.Hour)
	groups := make([]event.Group, n)
	for i := range groups {
		g := &groups[i]
		g.Context, g.Executable = event.ContextID{1 + byte(r.IntN(200))}, []byte("curl")
		for range r.IntN(3) {
			parent := event.ContextID{1 + byte(r.IntN(255))}
			if r.IntN(3) > 0 {
				parent = event.ContextID{255, 1}
			}
			g.Events = append(g.Events, event.Event{Kind: event.NewContext, Parent: parent, Origin: []byte{7}},
				event.Event{Key: []byte("name"), Value: event.Value{Kind: event.String, Bytes: []byte(names[r.IntN(5)])}})
		}
		g.Events = append(g.Events, event.Event{Key: []byte("tls::group"), Value: event.Value{Word: r.Int64N(30)}})
		step := r.IntN(30)
		switch r.IntN(500) {
		case 0:
			step += 2500
		case 1:
			step += 1000
		}
		now += uint64(step) * uint64(time.Millisecond)
		g.Start = now - uint64(r.IntN(100))*uint64(time.Millisecond)
		g.End = g.Start + uint64(r.IntN(50))*uint64(time.Millisecond)
	}
	return groups
}

func TestEachOperationIsReturnedOnceForAnyPageSize(t *testing.T) {
	for range 2 {
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, 3))
		log := brokertest.New(t)
		for groups := pausing(r, 7000); len(groups) > 0; {
			n := min(len(groups), 1+r.IntN(500))
			log.Write(groups[:n]...)
			if groups = groups[n:]; r.IntN(10) == 0 {
				log.Rotate()
			}
		}
		log.Flush()
		kept, fresh := newSource(t, log.Dir), newSource(t, log.Dir)
		fresh.Close() // keeps no walks
		for _, spec := range []filter.Spec{{}, {Matches: []string{"tls::group=4"}}} {
			f := kept.compile(t, spec)
			whole, _ := kept.read(t, Options{Filter: f, After: kept.resolve(t, "oldest")}, math.MaxInt)
			if len(whole) < 100 {
				t.Fatalf("seed %d: %d operations", seed, len(whole))
			}
			for name, s := range map[string]*Source{"kept": kept, "fresh": fresh} {
				for _, reverse := range []bool{false, true} {
					o := Options{Filter: f, After: s.resolve(t, "oldest"), NewestFirst: reverse}
					if reverse {
						o.After = s.resolve(t, "newest")
					}
					got := s.pages(t, o, func() (most, size int) { return 1 + r.IntN(1+len(whole)/8), 1 + r.IntN(50_000) })
					if reverse {
						slices.Reverse(got)
					}
					for i := range min(len(got), len(whole)) {
						if got[i] != whole[i] {
							t.Fatalf("seed %d, %s, reverse %v: operation %d of %d\nis   %s\nwant %s", seed, name, reverse, i, len(whole), got[i], whole[i])
						}
					}
					if len(got) != len(whole) {
						t.Errorf("seed %d, %s, reverse %v: %d operations, want %d", seed, name, reverse, len(got), len(whole))
					}
				}
			}
		}
	}
}

func TestOperationsAreInTheOrderOfTheirLastEntries(t *testing.T) {
	log := brokertest.New(t)
	at := logstore.SystemClock{}.Now().Boot - uint64(time.Minute)
	last := map[byte]logstore.Cursor{}
	for i, id := range []byte{1, 2, 3, 1, 4, 2, 1, 4} {
		g := event.Group{Context: event.ContextID{id}, Start: at + uint64(i), End: at + uint64(i), Events: []event.Event{{Key: []byte("k"), Value: event.Value{Word: int64(i)}}}}
		if i == int(id)-1 || id == 4 && i == 4 {
			g.Events = append([]event.Event{{Kind: event.NewContext, Parent: event.ContextID{99}}}, g.Events...)
		}
		last[id] = log.Write(g)
	}
	log.Flush()
	s := newSource(t, log.Dir)
	for _, reverse := range []bool{false, true} {
		var ids []byte
		o := Options{Filter: s.compile(t, filter.Spec{}), After: s.resolve(t, "oldest"), NewestFirst: reverse}
		if reverse {
			o.After = s.resolve(t, "newest")
		}
		lines, _ := s.read(t, o, 10)
		for _, line := range lines {
			var id byte
			fields := strings.Fields(line)
			if _, err := fmt.Sscanf(fields[1][:2], "%x", &id); err != nil || fields[0] != last[id].String() || fields[5] != "false" {
				t.Errorf("%s, want the cursor %s", line, last[id])
			}
			ids = append(ids, id)
		}
		want := []byte{3, 2, 1, 4}
		if reverse {
			slices.Reverse(want)
		}
		if !slices.Equal(ids, want) {
			t.Errorf("reverse %v: %v, want %v", reverse, ids, want)
		}
	}
}

func TestAPageContinuesWhereThePreviousOneEnded(t *testing.T) {
	log := brokertest.New(t)
	for groups := pausing(rand.New(rand.NewPCG(1, 5)), 9000); len(groups) > 0; groups = groups[1000:] {
		log.Write(groups[:1000]...)
	}
	log.Flush()
	s := newSource(t, log.Dir)
	f := s.compile(t, filter.Spec{})
	o := Options{Filter: f, After: s.resolve(t, "oldest")}
	_, p := s.read(t, o, 20)
	before := s.cache.items[0].content.(*walk)
	read := before.read
	o.After = p.Next
	_, p = s.read(t, o, 20)
	it := s.cache.items[0]
	<-it.done
	if before.read-read > 2000 || len(before.ahead.Ends) != 20 || it.content != paused(before) {
		t.Errorf("%d entries were read for two pages, %d operations ahead", before.read-read, len(before.ahead.Ends))
	}
	// A page with another filter or direction does not continue the walk.
	for _, other := range []Options{{Filter: s.compile(t, filter.Spec{Keys: []string{"tls::group"}}), After: p.Next}, {Filter: f, After: p.Next, NewestFirst: true}} {
		s.read(t, other, 1)
		if !slices.ContainsFunc(s.cache.items, func(i *item) bool { return i.content == paused(before) }) {
			t.Errorf("%+v: took the walk that was kept for another page", other)
		}
	}
	for range 20 {
		s.read(t, Options{Filter: f, After: s.resolve(t, "oldest")}, 1+len(s.cache.items))
	}
	if n := len(s.cache.items); n != maxKept {
		t.Errorf("%d walks are kept", n)
	}
	it = s.cache.items[0]
	s.cache.discard(it) // like the timer
	s.cache.discard(it)
	if n := len(s.cache.items); n != maxKept-1 {
		t.Errorf("%d walks are kept", n)
	}
	s.Close()
	if lines, _ := s.read(t, o, 20); len(lines) != 20 || len(s.cache.items) != 0 {
		t.Errorf("%d operations, %d walks are kept after Close", len(lines), len(s.cache.items))
	}
}

func TestAPageContinuesAfterOperationsReadAhead(t *testing.T) {
	log := brokertest.New(t)
	write := func(n int) {
		for range n {
			at := logstore.SystemClock{}.Now().Boot - uint64(time.Minute)
			log.Write(event.Group{Context: event.ContextID{1 + byte(n)}, Start: at, End: at, Events: []event.Event{
				{Kind: event.NewContext, Parent: event.ContextID{255}}, {Key: []byte("name"), Value: event.Value{Kind: event.String, Bytes: []byte("x::y")}},
			}})
		}
		log.Flush()
	}
	write(25)
	s := newSource(t, log.Dir)
	o := Options{Filter: s.compile(t, filter.Spec{}), After: s.resolve(t, "oldest")}
	for range 2 {
		_, p := s.read(t, o, 10)
		o.After = p.Next
	}
	<-s.cache.items[0].done
	if n := len(s.cache.items[0].content.(*walk).ahead.Ends); n != 5 {
		t.Fatalf("%d operations were read ahead", n)
	}
	write(4)
	if lines, p := s.read(t, o, 10); len(lines) != 9 || p.Next != s.resolve(t, "newest") {
		t.Errorf("%d operations, want 9", len(lines))
	}
}

func TestReadingAheadEndsWithTheSource(t *testing.T) {
	log := brokertest.New(t)
	for groups := pausing(rand.New(rand.NewPCG(1, 5)), 9000); len(groups) > 0; groups = groups[1000:] {
		log.Write(groups[:1000]...)
	}
	log.Flush()
	s := newSource(t, log.Dir)
	for size := 1; size < 100; size += 10 {
		o := Options{Filter: s.compile(t, filter.Spec{}), After: s.resolve(t, "oldest")}
		for range 3 {
			_, p := s.read(t, o, size)
			o.After = p.Next
		}
	}
	items := slices.Clone(s.cache.items)
	s.Close()
	for _, it := range items {
		if it.reading {
			t.Error("operations are read ahead after Close")
		}
	}
}

func TestATooLargeTreeKeepsItsPosition(t *testing.T) {
	log := brokertest.New(t)
	at := logstore.SystemClock{}.Now().Boot - uint64(time.Minute)
	write := func(id byte, bytes int) {
		g := event.Group{Context: event.ContextID{id}, Start: at, End: at, Events: []event.Event{
			{Kind: event.NewContext, Parent: event.ContextID{255}},
			{Key: []byte("name"), Value: event.Value{Kind: event.String, Bytes: fmt.Appendf(nil, "x::c%d", id)}},
		}}
		for i := 0; i < bytes; i += 60_000 {
			g.Events = append(g.Events, event.Event{Key: fmt.Appendf(nil, "k%d", i), Value: event.Value{Kind: event.Blob, Bytes: make([]byte, 60_000)}})
		}
		for len(g.Events) > 4 {
			first := g
			first.Events = g.Events[:4]
			log.Write(first)
			g.Events = g.Events[4:]
		}
		log.Write(g)
		at += uint64(10 * time.Millisecond)
	}
	write(1, 0)
	write(2, maxBytes/4+200_000)
	write(3, 0)
	log.Flush()
	s := newSource(t, log.Dir)
	var names []string
	lines, p := s.read(t, Options{Filter: s.compile(t, filter.Spec{}), After: s.resolve(t, "oldest")}, 100)
	for _, line := range lines {
		if f := strings.Fields(line); f[5] == "false" {
			names = append(names, f[2]+" "+f[6])
		}
	}
	if want := []string{`"x::c1" false`, `"x::c2" true`, `"x::c3" false`}; !slices.Equal(names, want) || p.Next != s.resolve(t, "newest") {
		t.Errorf("%q", names)
	}
}
