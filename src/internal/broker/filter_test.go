// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
)

func builtin(t testing.TB) *schema.Registry {
	t.Helper()
	r, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sample is a group with something of everything. Its times are 10 and 20 s
// after a boot at the Unix epoch.
func sample() *event.Group {
	return &event.Group{
		Context: event.ContextID{1}, Start: 10e9, End: 20e9,
		Name: []byte("tls::handshake_client"), Executable: []byte("a\xffb"), Origin: []byte{0xca, 0xfe},
		Events: []event.Event{
			{Kind: event.NewContext, Parent: event.ContextID{2}},
			{Key: []byte("tls::protocol_version"), Value: event.Value{Word: 771}},
			{Key: []byte("tls::ciphersuite"), Value: event.Value{Word: 0x03001302}},
			{Key: []byte("x::text"), Value: event.Value{Kind: event.String, Bytes: []byte("yes")}},
		},
	}
}

func TestAFilterSelectsByEachOfItsKeys(t *testing.T) {
	cases := map[string]struct {
		filter Filter
		want   bool
	}{
		"nothing asked":               {Filter{}, true},
		"scope of the name":           {Filter{Scopes: []string{"tls"}}, true},
		"scope of a key":              {Filter{Scopes: []string{"x"}}, true},
		"other scope":                 {Filter{Scopes: []string{"ssh", "pk"}}, false},
		"one of several scopes":       {Filter{Scopes: []string{"ssh", "tls"}}, true},
		"context":                     {Filter{Contexts: []string{"tls::handshake_client"}}, true},
		"context by the shared name":  {Filter{Contexts: []string{"tls::handshake"}}, true},
		"other context":               {Filter{Contexts: []string{"tls::handshake_server"}}, false},
		"all contexts of a scope":     {Filter{Contexts: []string{"tls::*"}}, true},
		"all contexts of another":     {Filter{Contexts: []string{"pk::*"}}, false},
		"key":                         {Filter{Keys: []string{"x::text"}}, true},
		"all keys of a scope":         {Filter{Keys: []string{"x::*"}}, true},
		"other key":                   {Filter{Keys: []string{"x::tex"}}, false},
		"executable as it is shown":   {Filter{Executables: []string{`a\xffb`}}, true},
		"other executable":            {Filter{Executables: []string{"ab"}}, false},
		"origin":                      {Filter{Origins: []string{"CAfe"}}, true},
		"other origin":                {Filter{Origins: []string{"cafe00"}}, false},
		"number":                      {Filter{Matches: []string{"tls::protocol_version=771"}}, true},
		"number by name":              {Filter{Matches: []string{"tls::protocol_version=TLS 1.2"}}, true},
		"number with bits above":      {Filter{Matches: []string{"tls::ciphersuite=0x1302"}}, true},
		"other number":                {Filter{Matches: []string{"tls::protocol_version=772"}}, false},
		"text":                        {Filter{Matches: []string{"x::text=yes"}}, true},
		"other text":                  {Filter{Matches: []string{"x::text=no"}}, false},
		"what the name states":        {Filter{Matches: []string{"tls::role=client"}}, true},
		"what the name does not":      {Filter{Matches: []string{"tls::role=server"}}, false},
		"one of several matches":      {Filter{Matches: []string{"x::text=no", "x::text=yes"}}, true},
		"all keys must agree":         {Filter{Scopes: []string{"tls"}, Keys: []string{"none"}}, false},
		"all keys agree":              {Filter{Scopes: []string{"tls"}, Keys: []string{"x::text"}, Executables: []string{`a\xffb`}}, true},
		"since before":                {Filter{Since: 5e6}, true},
		"since inside":                {Filter{Since: 15e6}, true},
		"since at the end":            {Filter{Since: 20e6}, true},
		"since after":                 {Filter{Since: 20e6 + 1}, false},
		"until before":                {Filter{Until: 10e6 - 1}, false},
		"until at the start":          {Filter{Until: 10e6}, true},
		"until after":                 {Filter{Until: 30e6}, true},
		"executable that looks alike": {Filter{Executables: []string{`a\x5cxffb`}}, false},
	}
	r := builtin(t)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f, err := compile(r, c.filter)
			if err != nil {
				t.Fatal(err)
			}
			g := sample()
			if got := f.passes(g, nameOf(g), 0); got != c.want {
				t.Errorf("passes: %v, want %v", got, c.want)
			}
		})
	}
}

func TestNoticesAlwaysPass(t *testing.T) {
	var g event.Group
	for name, notice := range map[string][]byte{
		"a loss":                  event.AppendLoss(nil, &event.Loss{Events: 1, Reason: "ring-full"}),
		"a new key":               event.AppendNewKey(nil, 1),
		"a start":                 event.AppendRecording(nil, &event.Recording{State: event.Started, Since: 1, Reason: event.AgentKilled}),
		"a stop":                  event.AppendRecording(nil, &event.Recording{State: event.Stopped, StopReason: "requested"}),
		"a library":               event.AppendLibraryUnrecorded(nil, event.LibraryReplaced, "libssl.so.3", nil, 1, 2),
		"a removal":               event.AppendRemoval(nil, &event.Removal{First: 1, Last: 2}),
		"one of a future version": event.Append(nil, &event.Group{Events: []event.Event{{Key: []byte("crau::other")}}}),
	} {
		if _, err := event.Decode(notice, &g); err != nil {
			t.Fatal(err)
		}
		for _, f := range []Filter{{Scopes: []string{"tls"}}, {Since: 1e15}, {Matches: []string{"a=b"}}, {Executables: []string{"x"}}} {
			compiled, err := compile(builtin(t), f)
			if err != nil || !compiled.passes(&g, nil, 0) {
				t.Errorf("%s does not pass %+v (%v)", name, f, err)
			}
			classes := map[string]*class{compiled.key: {filter: compiled}}
			passed := false
			newIndex(classes).visit(&Entry{Sequence: 1, Group: &g}, func(*class) { passed = true })
			if !passed {
				t.Errorf("%s does not pass the index with %+v", name, f)
			}
		}
	}
	// The beginning of a segment is not a notice.
	if _, err := event.Decode(event.AppendMetadata(nil, 1, 1), &g); err != nil {
		t.Fatal(err)
	}
	compiled, err := compile(builtin(t), Filter{Scopes: []string{"tls"}})
	if err != nil || compiled.passes(&g, nil, 0) {
		t.Errorf("the beginning of a segment passes a filter (%v)", err)
	}
}

func TestFiltersThatCannotBeAreRefused(t *testing.T) {
	many := make([]string, maxFilterValues+1)
	for i := range many {
		many[i] = "a"
	}
	var wrong *FilterError
	var limit *LimitError
	cases := map[string]struct {
		filter Filter
		want   any
	}{
		"scope with colons":   {Filter{Scopes: []string{"tls::"}}, &wrong},
		"context with spaces": {Filter{Contexts: []string{"a b"}}, &wrong},
		"key with a star":     {Filter{Keys: []string{"tls*"}}, &wrong},
		"key of a deep scope": {Filter{Keys: []string{"a::b::*"}}, &wrong},
		"odd origin":          {Filter{Origins: []string{"abc"}}, &wrong},
		"match without =":     {Filter{Matches: []string{"tls::group"}}, &wrong},
		"match of no number":  {Filter{Matches: []string{"tls::protocol_version=SSL 9"}}, &wrong},
		"empty value":         {Filter{Executables: []string{""}}, &wrong},
		"bytes":               {Filter{Executables: []string{"\xff"}}, &wrong},
		"time too late":       {Filter{Since: 1 << 63}, &wrong},
		"too many values":     {Filter{Keys: many}, &limit},
		"too many bytes":      {Filter{Executables: []string{strings.Repeat("x", maxFilterBytes+1)}}, &limit},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := compile(builtin(t), c.filter); err == nil || !errors.As(err, c.want) {
				t.Errorf("error %v, want a %T", err, c.want)
			}
		})
	}
}

// random makes groups and filters of few words, so that they often meet.
type random struct{ *rand.Rand }

func (r random) of(words ...string) string { return words[r.IntN(len(words))] }

func (r random) group(sequence uint64) *event.Group {
	g := &event.Group{Context: event.ContextID{1}, Start: 1e9 * uint64(r.IntN(100)), Name: []byte(r.of("", "tls::handshake", "tls::handshake_client", "pk::sign", "odd"))}
	g.End = g.Start + uint64(r.IntN(10))*1e9
	g.Executable = []byte(r.of("", "a", "b", "c\xff"))
	g.Origin = []byte(r.of("", "\x01", "\x02\x03"))
	for range r.IntN(4) {
		e := event.Event{Key: []byte(r.of("tls::group", "pk::bits", "pk::hash", "x"))}
		switch r.IntN(3) {
		case 0:
			e.Value.Word = int64(r.IntN(3))
		case 1:
			e.Value = event.Value{Kind: event.String, Bytes: []byte(r.of("0", "1", "z"))}
		default:
			e.Value = event.Value{Kind: event.Blob, Bytes: []byte(r.of("\x00", "z"))}
		}
		g.Events = append(g.Events, e)
	}
	if r.IntN(50) == 0 {
		*g = event.Group{}
		if _, err := event.Decode(event.AppendLoss(nil, &event.Loss{Events: sequence, Reason: "x", Start: 1, End: 1}), g); err != nil {
			panic(err)
		}
	}
	return g
}

func (r random) some(words ...string) []string {
	var all []string
	for r.IntN(3) == 0 {
		all = append(all, r.of(words...))
	}
	return all
}

func (r random) filter() Filter {
	f := Filter{
		Scopes:      r.some("tls", "pk", "ssh"),
		Contexts:    r.some("tls::handshake", "tls::handshake_client", "pk::*", "odd", "ssh::handshake"),
		Keys:        r.some("tls::group", "pk::*", "x", "none"),
		Executables: r.some("a", "b", `c\xff`, "d"),
		Origins:     r.some("01", "0203", "ff"),
		Matches:     r.some("tls::group=1", "pk::bits=2", "pk::hash=z", "x=1", "tls::role=client"),
	}
	if r.IntN(4) == 0 {
		f.Since = uint64(r.IntN(100)) * 1e6
	}
	if r.IntN(4) == 0 {
		f.Until = uint64(1+r.IntN(100)) * 1e6
	}
	return f
}

// plainly is the meaning of a filter, word for word.
func plainly(f *Filter, g *event.Group) bool {
	if _, lost := g.Loss(); lost {
		return true
	}
	scope := func(s string) string { s, _, ok := strings.Cut(s, "::"); return map[bool]string{true: s}[ok] }
	name := string(g.Name)
	var scopes, keys []string
	if name != "" {
		scopes = append(scopes, scope(name))
	}
	matches := func(m string) bool {
		key, want, _ := strings.Cut(m, "=")
		for _, e := range g.Events {
			if string(e.Key) == key && (e.Value.Kind == event.Word && fmt.Sprint(e.Value.Word) == want ||
				e.Value.Kind != event.Word && (string(e.Value.Bytes) == want || string(event.AppendEscaped(nil, e.Value.Bytes)) == want)) {
				return true
			}
		}
		return m == "tls::role=client" && name == "tls::handshake_client"
	}
	for _, e := range g.Events {
		scopes = append(scopes, scope(string(e.Key)))
		keys = append(keys, string(e.Key))
	}
	any := func(list []string, passes func(string) bool) bool {
		return len(list) == 0 || slices.ContainsFunc(list, passes)
	}
	return any(f.Scopes, func(s string) bool { return slices.Contains(scopes, s) }) &&
		any(f.Contexts, func(s string) bool {
			if in, ok := strings.CutSuffix(s, "::*"); ok {
				return scope(name) == in
			}
			return name != "" && (name == s || s == "tls::handshake" && name == "tls::handshake_client")
		}) &&
		any(f.Keys, func(s string) bool {
			in, ok := strings.CutSuffix(s, "::*")
			return slices.ContainsFunc(keys, func(k string) bool { return k == s || ok && scope(k) == in })
		}) &&
		any(f.Executables, func(s string) bool { return string(event.AppendEscaped(nil, g.Executable)) == s }) &&
		any(f.Origins, func(s string) bool { return hex.EncodeToString(g.Origin) == s }) &&
		any(f.Matches, matches) &&
		(f.Since == 0 || g.End >= f.Since*1000) && (f.Until == 0 || g.Start <= f.Until*1000)
}

// The index finds for every group exactly those filters that it passes, and
// each filter alone agrees with what its words mean.
func TestTheIndexAndTheFiltersAgreeWithTheirMeaning(t *testing.T) {
	r := random{rand.New(rand.NewPCG(20, uint64(time.Now().UnixNano())))}
	registry := builtin(t)
	for range 30 {
		classes := map[string]*class{}
		for range r.IntN(40) {
			f, err := compile(registry, r.filter())
			if err != nil {
				t.Fatal(err)
			}
			classes[f.key] = &class{filter: f}
		}
		x := newIndex(classes)
		for sequence := uint64(1); sequence < 200; sequence++ {
			g := r.group(sequence)
			got := map[string]int{}
			x.visit(&Entry{Sequence: sequence, Group: g}, func(c *class) { got[c.filter.key]++ })
			for key, c := range classes {
				want := plainly(&c.filter.spec, g)
				if alone := c.filter.passes(g, nameOf(g), 0); alone != want {
					t.Fatalf("filter %+v, group %+v: passes %v, means %v", c.filter.spec, g, alone, want)
				}
				if got[key] != map[bool]int{true: 1}[want] {
					t.Fatalf("filter %+v, group %+v: found %d times, passes %v", c.filter.spec, g, got[key], want)
				}
			}
		}
	}
}

func TestFiltersThatSelectTheSameShareAClass(t *testing.T) {
	a, b := Filter{Keys: []string{"a", "b", "a"}, Since: 7}, Filter{Keys: []string{"b", "a"}, Since: 7}
	if a.canonical() != b.canonical() {
		t.Errorf("%q and %q", a.canonical(), b.canonical())
	}
	for _, other := range []Filter{{Keys: []string{"a"}, Since: 7}, {Scopes: []string{"a", "b"}, Since: 7}, {Keys: []string{"a", "b"}}, {Keys: []string{`a"keys"b`}, Since: 7}} {
		if a.canonical() == other.canonical() {
			t.Errorf("%+v and %+v have %q in common", a, other, a.canonical())
		}
	}
}

func FuzzUnescapeIsTheInverseOfEscaping(f *testing.F) {
	f.Add([]byte("a\xff\\x41\\"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := unescape(string(event.AppendEscaped(nil, b))); got != string(b) {
			t.Errorf("%q becomes %q", b, got)
		}
	})
}

func BenchmarkIndex(b *testing.B) {
	registry, err := schema.Builtin()
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("filters=%d", n), func(b *testing.B) {
			classes := map[string]*class{}
			for i := range n {
				f, err := compile(registry, Filter{Executables: []string{fmt.Sprintf("program%d", i)}})
				if err != nil {
					b.Fatal(err)
				}
				classes[f.key] = &class{filter: f}
			}
			x := newIndex(classes)
			e := Entry{Group: sample()}
			b.ReportAllocs()
			for b.Loop() {
				e.Sequence++
				x.visit(&e, func(*class) {})
			}
		})
	}
}
