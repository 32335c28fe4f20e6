// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/goldentest"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/schema/tracetest"
)

func registry(t testing.TB) *schema.Registry {
	t.Helper()
	r, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// roots builds the trees of groups.
func roots(t testing.TB, groups []event.Group, options schema.Options) []*schema.Span {
	t.Helper()
	var out []*schema.Span
	b := schema.NewBuilder(registry(t), options, func(s *schema.Span) { out = append(out, s) })
	for i := range groups {
		b.Add(&groups[i], 0)
	}
	b.Close()
	return out
}

// sketch formats trees as text: a line for each span, with its name and data.
func sketch(roots []*schema.Span) string {
	var b strings.Builder
	var write func(s *schema.Span, depth int)
	write = func(s *schema.Span, depth int) {
		b.WriteString(strings.Repeat("  ", depth))
		if s.Name == "" {
			b.WriteString("(no name)")
		}
		b.WriteString(s.Name)
		for _, d := range s.Data {
			switch {
			case d.Key == schema.KeyName:
			case d.Value.Kind == event.Word:
				fmt.Fprintf(&b, " %s=%d", d.Key, d.Value.Word)
			default:
				fmt.Fprintf(&b, " %s=%q", d.Key, d.Value.Bytes)
			}
		}
		if s.Headless {
			b.WriteString(" (headless)")
		}
		if s.Cut {
			b.WriteString(" (cut)")
		}
		b.WriteByte('\n')
		for _, inner := range s.Spans {
			write(inner, depth+1)
		}
	}
	for _, s := range roots {
		write(s, 0)
	}
	return b.String()
}

func TestRecordedHandshakesBecomeTrees(t *testing.T) {
	for _, name := range tracetest.Names() {
		t.Run(name, func(t *testing.T) {
			hits, err := tracetest.Hits(name)
			if err != nil {
				t.Fatal(err)
			}
			got := sketch(roots(t, hits, schema.Options{Ordered: true}))
			goldentest.Compare(t, name+".tree", got)
			if split := sketch(roots(t, tracetest.Split(hits), schema.Options{Ordered: true})); split != got {
				t.Errorf("one event per group makes different trees:\n%s\nwant:\n%s", split, got)
			}
			if merged := sketch(roots(t, tracetest.Merge(hits), schema.Options{Ordered: true})); merged != got {
				t.Errorf("merged groups make different trees:\n%s\nwant:\n%s", merged, got)
			}
		})
	}
}

// script parses groups of one event each from lines "new ID PARENT" and "ID KEY=VALUE".
// A numeric value is a word. No context has the id "-".
func script(t testing.TB, text string) []event.Group {
	t.Helper()
	var groups []event.Group
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		fields := strings.Fields(line)
		at := uint64(len(groups) + 1)
		g := event.Group{Start: at, End: at}
		switch {
		case len(fields) == 3 && fields[0] == "new":
			g.Context = id(fields[1])
			g.Events = []event.Event{{Kind: event.NewContext, Parent: id(fields[2])}}
		case len(fields) == 2:
			g.Context = id(fields[0])
			key, value, _ := strings.Cut(fields[1], "=")
			e := event.Event{Key: []byte(key), Value: event.Value{Kind: event.String, Bytes: []byte(value)}}
			if n, err := strconv.ParseInt(value, 10, 64); err == nil {
				e.Value = event.Value{Kind: event.Word, Word: n}
			}
			g.Events = []event.Event{e}
		default:
			t.Fatalf("line %q of the script is neither new ID PARENT nor ID KEY=VALUE", line)
		}
		groups = append(groups, g)
	}
	return groups
}

func id(name string) (c event.ContextID) {
	copy(c[:], name)
	return c
}

func TestContextsBecomeTrees(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"a reused id opens a new span": {`
			new a -
			a name=tls::handshake_client
			a tls::protocol_version=771
			new a -
			a name=tls::handshake_client
			a tls::protocol_version=772`, `
tls::handshake_client tls::protocol_version=771
tls::handshake_client tls::protocol_version=772
`},
		"a parent is the latest span of its id": {`
			new a -
			a name=tls::handshake_client
			new b a
			b name=tls::verify
			new a -
			a name=tls::handshake_client
			new b a
			b name=tls::sign`, `
tls::handshake_client
  tls::verify
tls::handshake_client
  tls::sign
`},
		"one id for an operation and its parts": {`
			new a a
			a name=tls::handshake
			a tls::role=client
			a tls::protocol_version=772
			a tls::ciphersuite=4866
			new a a
			a name=tls::key_exchange
			a tls::group=29
			new b a
			new b b
			b name=pk::derive
			b pk::group=X25519
			new a a
			a name=tls::verify_cert_chain
			new a a
			a name=tls::verify
			a tls::signature_algorithm=1027
			new a a
			a name=tls::handshake
			a tls::role=client`, `
tls::handshake tls::role="client" tls::protocol_version=772 tls::ciphersuite=4866
  tls::key_exchange tls::group=29
    pk::derive pk::group="X25519"
  tls::verify_cert_chain
  tls::verify tls::signature_algorithm=1027
tls::handshake tls::role="client"
`},
		"late data belongs to the nearest open span that has its key": {`
			new a a
			a name=tls::handshake
			new a a
			a name=tls::key_exchange
			a tls::group=29
			a tls::ciphersuite=4866
			a tls::extended_master_secret=1
			a tls::unheard_of=5`, `
tls::handshake tls::ciphersuite=4866 tls::extended_master_secret=1
  tls::key_exchange tls::group=29 tls::unheard_of=5
`},
		"a part with its own id becomes a child where allowed": {`
			new a a
			a name=tls::handshake
			new a a
			a name=tls::verify
			new b a
			new b b
			b name=pk::derive
			new c a
			c name=pk::verify`, `
tls::handshake
  tls::verify
    pk::verify
  pk::derive
`},
		"the place is found when the parent's name comes later": {`
			new a a
			a name=tls::handshake
			new a a
			new b a
			b name=pk::derive
			a name=tls::verify`, `
tls::handshake
  tls::verify
  pk::derive
`},
		"a name may come after data": {`
			new a a
			a tls::role=server
			a name=tls::handshake
			new a a
			a tls::group=23
			a name=tls::key_exchange
			new b a
			b pk::algorithm=ECDH
			b name=pk::derive`, `
tls::handshake tls::role="server"
  tls::key_exchange tls::group=23
    pk::derive pk::algorithm="ECDH"
`},
		"a name may never come": {`
			new a -
			a tls::protocol_version=772
			new b a
			b pk::algorithm=RSA
			new c b`, `
(no name) tls::protocol_version=772
  (no name) pk::algorithm="RSA"
    (no name)
`},
		"a context without its opening is a root": {`
			a tls::protocol_version=772
			new b a
			b name=pk::verify
			new c d
			c name=pk::sign`, `
(no name) tls::protocol_version=772 (headless)
  pk::verify
pk::sign
`},
		"a re-entered handshake continues as another root": {`
			new a -
			a name=tls::handshake_server
			a tls::protocol_version=771
			new a -
			a name=tls::handshake_server
			new b a
			b name=pk::derive`, `
tls::handshake_server tls::protocol_version=771
tls::handshake_server
  pk::derive
`},
		"an unregistered context is part of the operation": {`
			new a a
			a name=tls::handshake
			new a a
			a name=tls::key_exchange
			new a a
			a name=quic::retry
			a quic::token=5
			new a a
			a name=quic::retry
			a tls::ciphersuite=4866`, `
tls::handshake tls::ciphersuite=4866
  tls::key_exchange
  quic::retry quic::token=5
  quic::retry
`},
		"an unregistered operation repeats as a root": {`
			new a a
			a name=ike::exchange
			new a a
			a name=ike::exchange`, `
ike::exchange
ike::exchange
`},
		"the last value of a key counts": {`
			new a -
			a name=tls::handshake
			a tls::ciphersuite=1
			a tls::role=client
			a tls::ciphersuite=2`, `
tls::handshake tls::ciphersuite=2 tls::role="client"
`},
		"ids that are each other's parents do not form a cycle": {`
			new a b
			new b a
			new a b
			new b a
			b name=x`, `
(no name)
  (no name)
    (no name)
      x
`},
		"a name that is not text is ignored": {`
			new a -
			a name=7
			a tls::role=client`, `
(no name) tls::role="client"
`},
	} {
		t.Run(name, func(t *testing.T) {
			groups := script(t, c.script)
			got := "\n" + sketch(roots(t, groups, schema.Options{Ordered: true}))
			want := c.want
			if got != want {
				t.Errorf("got:%s\nwant:%s", got, want)
			}
			if merged := "\n" + sketch(roots(t, tracetest.Merge(groups), schema.Options{Ordered: true})); merged != want {
				t.Errorf("merged groups make:%s\nwant:%s", merged, want)
			}
		})
	}
}

func TestAGroupWithoutItsOpeningIsMarked(t *testing.T) {
	g := event.Group{
		Context: id("a"), Start: 5, End: 9,
		Name: []byte("tls::handshake"), Executable: []byte("curl"), Origin: []byte{1, 2},
		Events: []event.Event{{Key: []byte("tls::ciphersuite"), Value: event.Value{Word: 4866}}},
	}
	s := roots(t, []event.Group{g}, schema.Options{})[0]
	if s.Name != "tls::handshake" || s.Executable != "curl" || s.Origin != "\x01\x02" || !s.Headless {
		t.Errorf("the span is %+v, want name, executable and origin of the group", s)
	}
	if v, ok := s.Value(schema.KeyName); !ok || string(v.Bytes) != "tls::handshake" {
		t.Errorf("its data has name %q (%v), want the name of the group", v.Bytes, ok)
	}
}

func TestASpanHasTheTimesOfItsOpeningGroup(t *testing.T) {
	groups := []event.Group{
		{Context: id("a"), Start: 10, End: 12, Events: []event.Event{
			{Kind: event.NewContext, Parent: id("-")},
			{Key: []byte("name"), Value: event.Value{Kind: event.String, Bytes: []byte("tls::handshake")}},
		}},
		{Context: id("a"), Start: 20, End: 25, Events: []event.Event{
			{Key: []byte("tls::ciphersuite"), Value: event.Value{Word: 1}},
		}},
	}
	var got *schema.Span
	b := schema.NewBuilder(registry(t), schema.Options{}, func(s *schema.Span) { got = s })
	for i := range groups {
		b.Add(&groups[i], 1000)
	}
	b.Close()
	if got.Start != 1010 || got.End != 1012 || got.Last != 1025 {
		t.Errorf("start, end, last are %d, %d, %d, want 1010, 1012, 1025", got.Start, got.End, got.Last)
	}
}

// randomHits makes hits of a few contexts with names and keys that affect nesting.
func randomHits(random *rand.Rand, n int) []event.Group {
	ids := []string{"a", "b", "c", "d", "-"}
	names := []string{"tls::handshake", "tls::key_exchange", "tls::sign", "tls::verify", "pk::derive", "pk::verify", "x::y", "tls::handshake_client"}
	keys := []string{"tls::group", "tls::ciphersuite", "tls::signature_algorithm", "pk::bits", "x::z"}
	var groups []event.Group
	for i := range n {
		g := event.Group{Context: id(ids[random.IntN(4)]), Start: uint64(i + 1), End: uint64(i + 1)}
		if random.IntN(2) == 0 {
			parent := g.Context
			if random.IntN(2) == 0 {
				parent = id(ids[random.IntN(5)])
			}
			g.Events = append(g.Events, event.Event{Kind: event.NewContext, Parent: parent})
		}
		for range random.IntN(3) {
			e := event.Event{Key: []byte(keys[random.IntN(len(keys))]), Value: event.Value{Word: int64(random.IntN(9))}}
			if random.IntN(2) == 0 {
				e = event.Event{Key: []byte("name"), Value: event.Value{Kind: event.String, Bytes: []byte(names[random.IntN(len(names))])}}
			}
			g.Events = append(g.Events, e)
		}
		if len(g.Events) > 0 {
			groups = append(groups, g)
		}
	}
	return groups
}

func TestTreesDoNotDependOnTheGroupingOfEvents(t *testing.T) {
	for seed := range uint64(3000) {
		random := rand.New(rand.NewPCG(seed, 1))
		hits := randomHits(random, 4+random.IntN(40))
		want := sketch(roots(t, hits, schema.Options{Ordered: true}))
		if got := sketch(roots(t, tracetest.Split(hits), schema.Options{Ordered: true})); got != want {
			t.Fatalf("seed %d: one event per group makes:\n%s\nwant:\n%s", seed, got, want)
		}
		var merged []event.Group
		for rest := hits; len(rest) > 0; {
			window := min(1+random.IntN(20), len(rest))
			merged = append(merged, tracetest.Merge(rest[:window])...)
			rest = rest[window:]
		}
		if got := sketch(roots(t, merged, schema.Options{Ordered: true})); got != want {
			t.Fatalf("seed %d: merged groups make:\n%s\nwant:\n%s", seed, got, want)
		}
	}
}

func TestQuietTreesAreCompleteWhenFlushed(t *testing.T) {
	groups := script(t, `
		new a -
		a name=tls::handshake
		new b -
		b name=pk::sign
		a tls::ciphersuite=1
		new c -
		c name=pk::verify`)
	for name, c := range map[string]struct {
		ordered bool
		want    []string
	}{
		"as they are complete":      {false, []string{"pk::sign", "tls::handshake"}},
		"in the order of beginning": {true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			b := schema.NewBuilder(registry(t), schema.Options{Ordered: c.ordered}, func(s *schema.Span) { got = append(got, s.Name) })
			for i := range groups {
				b.Add(&groups[i], 0)
			}
			b.Flush(5) // a had its last event at 5, b at 4
			if c.ordered {
				if len(got) != 0 {
					t.Fatalf("%v came before the older tls::handshake", got)
				}
				b.Flush(6)
				if fmt.Sprint(got) != "[tls::handshake pk::sign]" {
					t.Fatalf("got %v, want both in the order of their beginning", got)
				}
				return
			}
			b.Flush(6)
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Fatalf("got %v, want %v", got, c.want)
			}
			if pending, oldest, ok := b.Pending(); pending != 1 || oldest != 6 || !ok {
				t.Errorf("%d trees are pending, from %d, want 1 from 6", pending, oldest)
			}
		})
	}
}

func TestASpanGetsUnitAndFurtherSourcesFromLaterGroups(t *testing.T) {
	r, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	var got []*schema.Span
	b := schema.NewBuilder(r, schema.Options{}, func(s *schema.Span) { got = append(got, s) })
	id := event.ContextID{1}
	b.Add(&event.Group{Context: id, Events: []event.Event{{Kind: event.NewContext, Parent: event.ContextID{2}}}}, 0)
	b.Add(&event.Group{Context: id, Unit: []byte("a.service"), Source: []byte(event.Wire), Events: []event.Event{
		{Key: []byte("tls::group"), Value: event.Value{Word: 29}},
	}}, 0)
	b.Close()
	if len(got) != 1 || got[0].Unit != "a.service" || got[0].Source != "" || !got[0].CapturedBy(event.Wire) || !got[0].CapturedBy(event.USDT) || got[0].CapturedBy(event.Function) {
		t.Fatalf("%+v", got)
	}
	if v, ok := got[0].Value(event.KeyUnit); !ok || string(v.Bytes) != "a.service" {
		t.Errorf("data %+v", got[0].Data)
	}
	if _, ok := got[0].Value(event.KeySource); ok {
		t.Errorf("a span of probes has a source: %+v", got[0].Data)
	}
}
