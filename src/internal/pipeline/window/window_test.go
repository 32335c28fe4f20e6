// SPDX-License-Identifier: Apache-2.0

package window

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"crypto-auditing/src/internal/entry"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/probe"
)

func testWindow(t testing.TB) *Window {
	t.Helper()
	cipher, err := event.NewCipher(make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	return New(cipher)
}

func text(key, value string) probe.Element {
	return probe.Element{Key: []byte(key), Type: probe.String, Bytes: []byte(value)}
}

func number(key string, value int64) probe.Element {
	return probe.Element{Key: []byte(key), Type: probe.Word, Word: value}
}

// opens is a probe that opens a context.
func opens(at, context, parent uint64, elements ...probe.Element) *probe.Record {
	return &probe.Record{
		Time: at * timeResolution, PIDTGID: 7, Context: context, Parent: parent, NewContext: true,
		Executable: []byte("curl"), Library: library, Elements: elements,
	}
}

// sets is a probe that sets elements of a context.
func sets(at, context uint64, elements ...probe.Element) *probe.Record {
	return &probe.Record{Time: at * timeResolution, PIDTGID: 7, Context: context, Library: library, Elements: elements}
}

var library = &probe.Library{BuildID: []byte{1, 2, 3}}

// flushed returns what a flush puts into the log.
func flushWindow(t *testing.T, w *Window) (groups []event.Group, b Batch) {
	t.Helper()
	w.Flush(&b)
	for rest := b.Entries; len(rest) > 0; {
		var g event.Group
		n, err := event.Decode(rest, &g)
		if err != nil {
			t.Fatal(err)
		}
		groups = append(groups, g)
		rest = rest[n:]
		if end := len(b.Entries) - len(rest); len(groups) > len(b.Ends) || int(b.Ends[len(groups)-1]) != end {
			t.Errorf("group %d ends at %d, the batch has %d", len(groups), end, b.Ends)
		}
	}
	if len(b.Ends) != len(groups) {
		t.Errorf("batch counts %d groups, has %d", len(b.Ends), len(groups))
	}
	return groups, b
}

func TestEventsOfAContextAreMergedInsideAWindow(t *testing.T) {
	w := testWindow(t)
	w.Take(opens(10, 1, event.NoParent, text("name", "tls::handshake")))
	w.Take(opens(11, 2, 1))
	w.Take(sets(12, 1, number("tls::protocol_version", 772)))
	groups, b := flushWindow(t, w)
	if len(groups) != 2 {
		t.Fatalf("%d groups, want 2", len(groups))
	}
	g := groups[0]
	if len(g.Events) != 3 || g.Events[0].Kind != event.NewContext || g.Start != 10*timeResolution || g.End != 12*timeResolution {
		t.Errorf("first group %+v", g)
	}
	if groups[1].Events[0].Parent != g.Context {
		t.Error("the parent's id is not that of its group")
	}
	if b.Hits != 3 || b.Events != 4 || b.First != 10*timeResolution || b.Last != 12*timeResolution {
		t.Errorf("batch: %d hits, %d events, %d to %d", b.Hits, b.Events, b.First, b.Last)
	}
}

func TestANewContextAlwaysBeginsAGroup(t *testing.T) {
	w := testWindow(t)
	for at := range uint64(3) {
		w.Take(opens(at+1, 1, event.NoParent, text("name", fmt.Sprint("turn ", at))))
	}
	groups, _ := flushWindow(t, w)
	if len(groups) != 3 {
		t.Fatalf("%d groups, want 3", len(groups))
	}
	for i, g := range groups {
		if string(g.Name) != fmt.Sprint("turn ", i) || g.Context != groups[0].Context {
			t.Errorf("group %d: %q", i, g.Name)
		}
	}
}

func TestLaterWindowsRepeatTheAttributesOfAContext(t *testing.T) {
	w := testWindow(t)
	w.Take(opens(1, 1, event.NoParent))
	flushWindow(t, w)
	w.Take(sets(2, 1, text("name", "pk::sign")))
	flushWindow(t, w)
	w.Take(sets(3, 1, number("pk::bits", 256)))
	w.Take(sets(4, 99, number("pk::bits", 512)))
	groups, b := flushWindow(t, w)
	known, unknown := groups[0], groups[1]
	if string(known.Name) != "pk::sign" || string(known.Executable) != "curl" || !bytes.Equal(known.Origin, library.BuildID) {
		t.Errorf("known context: %+v", known)
	}
	if len(unknown.Name)+len(unknown.Executable)+len(unknown.Origin) != 0 {
		t.Errorf("context that was never opened: %+v", unknown)
	}
	terms := entry.Terms()
	var want, wantValues []uint64
	for rest := b.Entries; len(rest) > 0; {
		n, err := event.Len(rest)
		if err != nil {
			t.Fatal(err)
		}
		want, wantValues = terms(want, wantValues, rest[:n])
		rest = rest[n:]
	}
	slices.Sort(want)
	got := slices.Sorted(slices.Values(b.Terms))
	if !slices.Equal(got, slices.Compact(want)) {
		t.Errorf("terms %x, want those of the entries, %x", got, want)
	}
	slices.Sort(wantValues)
	got = slices.Compact(slices.Sorted(slices.Values(b.Values)))
	if wantValues = slices.Compact(wantValues); len(got) < 2 || !slices.Equal(got, wantValues) {
		t.Errorf("terms of values %x, want those of the entries, %x", got, wantValues)
	}
}

func TestADifferentTaskHasDifferentContexts(t *testing.T) {
	w := testWindow(t)
	child := opens(2, 1, event.NoParent)
	child.PIDTGID = 8
	w.Take(opens(1, 1, event.NoParent))
	w.Take(child)
	if groups, _ := flushWindow(t, w); groups[0].Context == groups[1].Context {
		t.Error("two tasks share a context")
	}
}

func TestEventsThatCannotBeRecordedAreCounted(t *testing.T) {
	w := testWindow(t)
	r := sets(1, 1, probe.Element{Type: probe.Word, Word: 1}, number("k", 2))
	r.Dropped = 3
	w.Take(r)
	only := sets(2, 2)
	only.Dropped, only.ArrayUnreadable = 5, true
	w.Take(only)
	if w.unreadable != 6 || w.oversize != 3 {
		t.Errorf("%d events unreadable, want a value without a key and 5 dropped; %d oversize, want 3", w.unreadable, w.oversize)
	}
	groups, b := flushWindow(t, w)
	if len(groups) != 1 || b.Hits != 2 || b.Events != 1 {
		t.Errorf("%d groups of %d hits and %d events", len(groups), b.Hits, b.Events)
	}
}

func TestValuesKeepTheirMarks(t *testing.T) {
	w := testWindow(t)
	w.Take(sets(1, 1,
		probe.Element{Key: []byte("cut"), Type: probe.String, Bytes: []byte("abc"), Truncated: true},
		probe.Element{Key: []byte("gone"), Type: probe.Blob, Unreadable: true},
		probe.Element{Key: []byte("latin\xe9"), Type: probe.String, Bytes: []byte("caf\xe9")},
		probe.Element{Key: []byte("null"), Type: probe.String, Null: true},
	))
	groups, _ := flushWindow(t, w)
	e := groups[0].Events
	if !e[0].Value.Truncated || !e[1].Value.Unreadable {
		t.Errorf("marks are missing: %+v", e[:2])
	}
	if string(e[2].Key) != `latin\xe9` || e[2].Value.Kind != event.Blob || string(e[2].Value.Bytes) != "caf\xe9" {
		t.Errorf("bytes that are no text: %+v", e[2])
	}
	if e[3].Value.Kind != event.String || len(e[3].Value.Bytes) != 0 {
		t.Errorf("NULL: %+v", e[3])
	}
}

func TestAFullWindowStaysBelowTheStoresLimit(t *testing.T) {
	w := testWindow(t)
	large := bytes.Repeat([]byte{'x'}, 512)
	for at := uint64(1); !w.Full(); at++ {
		r := opens(at, at, event.NoParent)
		for range 16 {
			r.Elements = append(r.Elements, probe.Element{Key: large[:127], Type: probe.Blob, Bytes: large})
		}
		w.Take(r)
	}
	_, b := flushWindow(t, w)
	if n := len(b.Entries); n > logstore.MaxBatch || n < logstore.MaxBatch/2 {
		t.Errorf("a full window has %d bytes, the limit is %d", n, logstore.MaxBatch)
	}
}

func TestForgottenContextsKeepTheirIDs(t *testing.T) {
	w := testWindow(t)
	w.Take(opens(1, 1, event.NoParent, text("name", "old")))
	before, _ := flushWindow(t, w)
	for c := uint64(2); c < 2+3*maxContexts; c++ {
		w.Take(opens(c, c, event.NoParent))
		if w.Full() {
			flushWindow(t, w)
		}
	}
	flushWindow(t, w)
	if n := len(w.contexts.young.states) + len(w.contexts.old.states); n > 2*maxContexts {
		t.Errorf("%d contexts are remembered, want %d at most", n, 2*maxContexts)
	}
	w.Take(sets(1<<40, 1, number("k", 1)))
	after, _ := flushWindow(t, w)
	if after[0].Context != before[0].Context || len(after[0].Name) != 0 {
		t.Errorf("context %v became %v, name %q", before[0].Context, after[0].Context, after[0].Name)
	}
}

func TestWordsAreBounded(t *testing.T) {
	w := newWords()
	for i := range 3 * maxWords {
		w.get(fmt.Appendf(nil, "key%d", i))
	}
	if n := len(w.byText); n > maxWords {
		t.Errorf("%d words are kept, want %d at most", n, maxWords)
	}
}

func TestARenewedKeyEndsContexts(t *testing.T) {
	w := testWindow(t)
	w.Take(opens(1, 1, event.NoParent, text("name", "n")))
	before, _ := flushWindow(t, w)
	cipher, err := event.NewCipher(bytes.Repeat([]byte{1}, 16))
	if err != nil {
		t.Fatal(err)
	}
	w.Renew(cipher)
	w.Take(sets(2, 1, number("k", 1)))
	after, _ := flushWindow(t, w)
	if after[0].Context == before[0].Context || len(after[0].Name) != 0 {
		t.Error("a context continues under a new key")
	}
}

func BenchmarkTakeAndFlush(b *testing.B) {
	w := testWindow(b)
	var out Batch
	records := []*probe.Record{
		opens(1, 1, event.NoParent, text("name", "tls::handshake_client")),
		opens(2, 2, 1, text("name", "tls::key_exchange"), number("tls::group", 23)),
		opens(3, 3, 2, text("name", "pk::generate"), text("pk::algorithm", "EC/ECDSA")),
		sets(4, 3, text("pk::curve", "SECP256R1")),
	}
	values := 0
	b.ReportAllocs()
	for b.Loop() {
		for _, r := range records {
			r.Context += 16 // fresh ids
			w.Take(r)
			values += len(r.Elements)
		}
		if w.Full() {
			out.Reset()
			w.Flush(&out)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(values), "ns/value")
}
