// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/schema/tracetest"
)

// interrupted builds the trees of groups. Before each group for which cut returns true, it saves
// the builder, and continues with a new one that loads the saved state.
func interrupted(t testing.TB, groups []event.Group, cut func(int) bool, flush int) []*schema.Span {
	t.Helper()
	var out []*schema.Span
	emit := func(s *schema.Span) { out = append(out, s) }
	b := schema.NewBuilder(registry(t), schema.Options{}, emit)
	for i := range groups {
		if cut(i) {
			var state bytes.Buffer
			if err := b.Save(&state); err != nil {
				t.Fatal(err)
			}
			b = schema.NewBuilder(registry(t), schema.Options{}, emit)
			if err := b.Load(&state); err != nil {
				t.Fatal(err)
			}
		}
		b.Add(&groups[i], 0)
		if flush > 0 && i%flush == flush-1 {
			b.Flush(int64(groups[i].End) - int64(flush))
		}
	}
	b.Close()
	return out
}

func TestALoadedBuilderContinuesLikeTheSavedOne(t *testing.T) {
	never := func(int) bool { return false }
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 2))
		hits := randomHits(random, 10+random.IntN(60))
		flush := random.IntN(12)
		want := sketch(interrupted(t, hits, never, flush))
		if got := sketch(interrupted(t, hits, func(int) bool { return random.IntN(4) == 0 }, flush)); got != want {
			t.Fatalf("seed %d: with interruptions:\n%s\nwithout:\n%s", seed, got, want)
		}
	}
	for _, name := range tracetest.Names() {
		hits, err := tracetest.Hits(name)
		if err != nil {
			t.Fatal(err)
		}
		want := sketch(interrupted(t, hits, never, 0))
		if got := sketch(interrupted(t, hits, func(int) bool { return true }, 0)); got != want {
			t.Errorf("%s: with interruptions:\n%s\nwithout:\n%s", name, got, want)
		}
	}
}

func TestALoadedBuilderHasAttributesAndLibraries(t *testing.T) {
	id := event.ContextID{7}
	value := event.Value{Kind: event.Blob, Bytes: []byte{0xff, 0}, Truncated: true}
	groups := []event.Group{
		{Events: []event.Event{
			{Key: []byte(event.KeyLibrary), Value: event.Value{Kind: event.String, Bytes: []byte("libssl.so.3")}},
			{Key: []byte(event.KeyBuildID), Value: event.Value{Kind: event.Blob, Bytes: []byte("\xfe\xdc")}},
		}},
		{Context: id, Start: 5, End: 9, Name: []byte("tls::handshake"), Executable: []byte("cur\xff"), Origin: []byte("\xfe\xdc"),
			Unit: []byte("a.service"), Source: []byte(event.Wire), Events: []event.Event{{Key: []byte("tls::alert"), Value: value}}},
		{Context: id, Start: 10, End: 11, Source: []byte(event.Function), Events: []event.Event{{Key: []byte("tls::role"), Value: event.Value{Word: -3}}}},
	}
	all := interrupted(t, groups, func(int) bool { return true }, 0)
	if len(all) != 1 {
		t.Fatalf("%d trees", len(all))
	}
	s := all[0]
	if s.Executable != "cur\xff" || s.Unit != "a.service" || s.Source != "wire" || s.Joined != "function" || !s.Headless ||
		s.Start != 5 || s.End != 9 || s.Last != 11 {
		t.Errorf("the span is %+v", s)
	}
	if v, _ := s.Value("tls::alert"); v.Kind != event.Blob || string(v.Bytes) != "\xff\x00" || !v.Truncated || v.Unreadable {
		t.Errorf("the blob is %+v", v)
	}
	if v, _ := s.Value(event.KeyLibrary); string(v.Bytes) != "libssl.so.3" {
		t.Errorf("the library is %q", v.Bytes)
	}
}

func TestADamagedStateIsNotLoaded(t *testing.T) {
	b := schema.NewBuilder(registry(t), schema.Options{}, func(*schema.Span) {})
	for i, g := range script(t, "new a -\na name=tls::handshake\nnew b a\nb name=pk::sign") {
		g.Start, g.End = uint64(i), uint64(i)
		b.Add(&g, 0)
	}
	var buffer bytes.Buffer
	if err := b.Save(&buffer); err != nil {
		t.Fatal(err)
	}
	state := buffer.Bytes()
	for n := range state {
		if err := schema.NewBuilder(registry(t), schema.Options{}, func(*schema.Span) {}).Load(bytes.NewReader(state[:n])); err == nil {
			t.Errorf("%d of %d bytes were loaded", n, len(state))
		}
	}
	for n := range state {
		damaged := append([]byte{}, state...)
		damaged[n] ^= 0x55
		// Load must not panic; the result may differ.
		_ = schema.NewBuilder(registry(t), schema.Options{}, func(*schema.Span) {}).Load(bytes.NewReader(damaged))
	}
}

func TestIncompleteTreesAreShownLikeCompleteOnes(t *testing.T) {
	for seed := range uint64(200) {
		hits := randomHits(rand.New(rand.NewPCG(seed, 3)), 40)
		var now, later []*schema.Span
		b := schema.NewBuilder(registry(t), schema.Options{}, func(s *schema.Span) { later = append(later, s) })
		for i := range hits {
			b.Add(&hits[i], 0)
		}
		var text string
		b.Incomplete(func(s *schema.Span) {
			now = append(now, s)
			text += sketch([]*schema.Span{s})
		})
		b.Flush(1 << 60) // in the order of their opening, as they are active in the order of their events
		if len(now) != len(later) {
			t.Fatalf("seed %d: %d trees are incomplete, then %d complete", seed, len(now), len(later))
		}
		for _, s := range later {
			if tree := sketch([]*schema.Span{s}); !strings.Contains(text, tree) {
				t.Fatalf("seed %d: incomplete trees are\n%s\nwithout\n%s", seed, text, tree)
			}
		}
	}
}
