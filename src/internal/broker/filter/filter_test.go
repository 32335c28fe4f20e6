// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/entry"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore/frame"
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

// sample returns a group with all attributes. Its times are 10 and 20 s
// after a boot at the Unix epoch.
func sample() *event.Group {
	return &event.Group{
		Context: event.ContextID{1}, Start: 10e9, End: 20e9,
		Name: []byte("tls::handshake_client"), Executable: []byte("a\xffb"), Origin: []byte{0xca, 0xfe},
		Unit: []byte(`a\x2db.service`), Source: []byte(event.Wire),
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
		filter Spec
		want   bool
	}{
		"empty filter":                {Spec{}, true},
		"scope of the name":           {Spec{Scopes: []string{"tls"}}, true},
		"scope of a key":              {Spec{Scopes: []string{"x"}}, true},
		"other scope":                 {Spec{Scopes: []string{"ssh", "pk"}}, false},
		"one of several scopes":       {Spec{Scopes: []string{"ssh", "tls"}}, true},
		"context":                     {Spec{Contexts: []string{"tls::handshake_client"}}, true},
		"context by the shared name":  {Spec{Contexts: []string{"tls::handshake"}}, true},
		"other context":               {Spec{Contexts: []string{"tls::handshake_server"}}, false},
		"all contexts of a scope":     {Spec{Contexts: []string{"tls::*"}}, true},
		"all contexts of another":     {Spec{Contexts: []string{"pk::*"}}, false},
		"key":                         {Spec{Keys: []string{"x::text"}}, true},
		"all keys of a scope":         {Spec{Keys: []string{"x::*"}}, true},
		"other key":                   {Spec{Keys: []string{"x::tex"}}, false},
		"executable as it is shown":   {Spec{Executables: []string{`a\xffb`}}, true},
		"other executable":            {Spec{Executables: []string{"ab"}}, false},
		"origin":                      {Spec{Origins: []string{"CAfe"}}, true},
		"other origin":                {Spec{Origins: []string{"cafe00"}}, false},
		"number":                      {Spec{Matches: []string{"tls::protocol_version=771"}}, true},
		"number by name":              {Spec{Matches: []string{"tls::protocol_version=TLS 1.2"}}, true},
		"number with bits above":      {Spec{Matches: []string{"tls::ciphersuite=0x1302"}}, true},
		"other number":                {Spec{Matches: []string{"tls::protocol_version=772"}}, false},
		"text":                        {Spec{Matches: []string{"x::text=yes"}}, true},
		"other text":                  {Spec{Matches: []string{"x::text=no"}}, false},
		"value stated by the name":    {Spec{Matches: []string{"tls::role=client"}}, true},
		"value not stated by it":      {Spec{Matches: []string{"tls::role=server"}}, false},
		"one of several matches":      {Spec{Matches: []string{"x::text=no", "x::text=yes"}}, true},
		"all keys must agree":         {Spec{Scopes: []string{"tls"}, Keys: []string{"none"}}, false},
		"all keys agree":              {Spec{Scopes: []string{"tls"}, Keys: []string{"x::text"}, Executables: []string{`a\xffb`}}, true},
		"since before":                {Spec{Since: 5e6}, true},
		"since inside":                {Spec{Since: 15e6}, true},
		"since at the end":            {Spec{Since: 20e6}, true},
		"since after":                 {Spec{Since: 20e6 + 1}, false},
		"until before":                {Spec{Until: 10e6 - 1}, false},
		"until at the start":          {Spec{Until: 10e6}, true},
		"until after":                 {Spec{Until: 30e6}, true},
		"unit":                        {Spec{Units: []string{"other.service", `a\x2db.service`}}, true},
		"other unit":                  {Spec{Units: []string{"a-b.service"}}, false},
		"source":                      {Spec{Sources: []string{"wire"}}, true},
		"one of several sources":      {Spec{Sources: []string{"usdt", "wire"}}, true},
		"other source":                {Spec{Sources: []string{"usdt", "function"}}, false},
		"unit and another source":     {Spec{Units: []string{`a\x2db.service`}, Sources: []string{"usdt"}}, false},
		"unit as data":                {Spec{Matches: []string{`crau::unit=a\x2db.service`}}, true},
		"source as data":              {Spec{Matches: []string{"crau::source=wire", "x::text=no"}}, true},
		"other source as data":        {Spec{Matches: []string{"crau::source=usdt"}}, false},
		"executable that looks alike": {Spec{Executables: []string{`a\x5cxffb`}}, false},
	}
	r := builtin(t)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f, err := Compile(r, c.filter)
			if err != nil {
				t.Fatal(err)
			}
			g := sample()
			if got := f.Passes(g, Name(g), 0); got != c.want {
				t.Errorf("passes: %v, want %v", got, c.want)
			}
			found := false
			NewIndex([]*Filter{f}).Visit(g, 1, 0, func(int) { found = true })
			if found != c.want {
				t.Errorf("passes the index: %v, want %v", found, c.want)
			}
		})
	}
}

func TestGroupsWithoutASourceHaveSourceUSDT(t *testing.T) {
	for source, want := range map[string]bool{"usdt": true, "wire": false} {
		f, err := Compile(builtin(t), Spec{Sources: []string{source}})
		if err != nil {
			t.Fatal(err)
		}
		g := sample()
		g.Source = nil
		if got := f.Passes(g, Name(g), 0); got != want {
			t.Errorf("a group without a source passes %s: %v", source, got)
		}
	}
}

func TestNoticesPassEveryFilter(t *testing.T) {
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
		for _, f := range []Spec{{Scopes: []string{"tls"}}, {Since: 1e15}, {Matches: []string{"a=b"}}, {Executables: []string{"x"}}} {
			compiled, err := Compile(builtin(t), f)
			if err != nil || !compiled.Passes(&g, nil, 0) {
				t.Errorf("%s does not pass %+v (%v)", name, f, err)
			}
			passed := false
			NewIndex([]*Filter{compiled}).Visit(&g, 1, 0, func(int) { passed = true })
			if !passed {
				t.Errorf("%s does not pass the index with %+v", name, f)
			}
		}
	}
	// The beginning of a segment is not a notice.
	if _, err := event.Decode(event.AppendMetadata(nil, 1, 1), &g); err != nil {
		t.Fatal(err)
	}
	compiled, err := Compile(builtin(t), Spec{Scopes: []string{"tls"}})
	if err != nil || compiled.Passes(&g, nil, 0) {
		t.Errorf("the beginning of a segment passes a filter (%v)", err)
	}
}

func TestInvalidFiltersAreRefused(t *testing.T) {
	many := make([]string, maxFilterValues+1)
	for i := range many {
		many[i] = "a"
	}
	var wrong *fault.FilterError
	var limit *fault.LimitError
	cases := map[string]struct {
		filter Spec
		want   any
	}{
		"scope with colons":          {Spec{Scopes: []string{"tls::"}}, &wrong},
		"context with spaces":        {Spec{Contexts: []string{"a b"}}, &wrong},
		"key with a star":            {Spec{Keys: []string{"tls*"}}, &wrong},
		"key of a deep scope":        {Spec{Keys: []string{"a::b::*"}}, &wrong},
		"unknown source":             {Spec{Sources: []string{"ebpf"}}, &wrong},
		"odd origin":                 {Spec{Origins: []string{"abc"}}, &wrong},
		"match without =":            {Spec{Matches: []string{"tls::group"}}, &wrong},
		"match of an invalid number": {Spec{Matches: []string{"tls::protocol_version=SSL 9"}}, &wrong},
		"empty value":                {Spec{Executables: []string{""}}, &wrong},
		"bytes":                      {Spec{Executables: []string{"\xff"}}, &wrong},
		"time too late":              {Spec{Since: 1 << 63}, &wrong},
		"too many values":            {Spec{Keys: many}, &limit},
		"too many bytes":             {Spec{Executables: []string{strings.Repeat("x", maxFilterBytes+1)}}, &limit},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := Compile(builtin(t), c.filter); err == nil || !errors.As(err, c.want) {
				t.Errorf("error %v, want a %T", err, c.want)
			}
		})
	}
}

// random makes groups and filters from few words, so that they often match.
type random struct{ *rand.Rand }

func (r random) of(words ...string) string { return words[r.IntN(len(words))] }

func (r random) group(sequence uint64) *event.Group {
	g := &event.Group{Context: event.ContextID{1}, Start: 1e9 * uint64(r.IntN(100)), Name: []byte(r.of("", "tls::handshake", "tls::handshake_client", "pk::sign", "odd"))}
	g.End = g.Start + uint64(r.IntN(10))*1e9
	g.Executable = []byte(r.of("", "a", "b", "c\xff"))
	g.Origin = []byte(r.of("", "\x01", "\x02\x03"))
	g.Unit, g.Source = []byte(r.of("", "a.service", "b.scope")), []byte(r.of("", "wire", "function"))
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

func (r random) filter() Spec {
	f := Spec{
		Scopes:      r.some("tls", "pk", "ssh"),
		Contexts:    r.some("tls::handshake", "tls::handshake_client", "pk::*", "odd", "ssh::handshake"),
		Keys:        r.some("tls::group", "pk::*", "x", "none"),
		Executables: r.some("a", "b", `c\xff`, "d"),
		Origins:     r.some("01", "0203", "ff"),
		Units:       r.some("a.service", "b.scope", "c.service"),
		Sources:     r.some("usdt", "wire", "function"),
		Matches:     r.some("crau::source=usdt", "crau::unit=a.service", "tls::group=1", "pk::bits=2", "pk::hash=z", "x=1", "tls::role=client"),
	}
	if r.IntN(4) == 0 {
		f.Since = uint64(r.IntN(100)) * 1e6
	}
	if r.IntN(4) == 0 {
		f.Until = uint64(1+r.IntN(100)) * 1e6
	}
	return f
}

// matches evaluates a filter in the most literal way.
func matches(f *Spec, g *event.Group) bool {
	if _, lost := g.Loss(); lost {
		return true
	}
	scope := func(s string) string { s, _, ok := strings.Cut(s, "::"); return map[bool]string{true: s}[ok] }
	name := string(g.Name)
	var scopes, keys []string
	if name != "" {
		scopes = append(scopes, scope(name))
	}
	source := string(g.Source)
	if source == "" {
		source = "usdt"
	}
	matches := func(m string) bool {
		key, want, _ := strings.Cut(m, "=")
		if key == "crau::unit" && want == string(g.Unit) || key == "crau::source" && want == source {
			return true
		}
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
		any(f.Units, func(s string) bool { return string(g.Unit) == s }) &&
		any(f.Sources, func(s string) bool { return source == s }) &&
		any(f.Matches, matches) &&
		(f.Since == 0 || g.End >= f.Since*1000) && (f.Until == 0 || g.Start <= f.Until*1000)
}

// chunkFilters are filters of a chunk with one group: with the terms of values, and
// without them as in logs of version 0.1.0.
func chunkFilters(g *event.Group) (filters [2]frame.Filter) {
	kinds := frame.KindsOf(frame.Name, frame.Key, frame.Executable, frame.Unit, frame.Source)
	for i, values := range [2][]uint64{entry.AppendValues([]uint64{}, g), nil} {
		filters[i].ResetWith(kinds, entry.AppendTerms(nil, g), values, nil)
	}
	return filters
}

// For each group, the index finds exactly the filters that it passes, and each filter
// agrees with its literal evaluation.
func TestIndexAndFiltersSelectTheSame(t *testing.T) {
	r := random{rand.New(rand.NewPCG(20, uint64(time.Now().UnixNano())))}
	registry := builtin(t)
	for range 30 {
		var filters []*Filter
		for range r.IntN(40) {
			f, err := Compile(registry, r.filter())
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(filters, func(other *Filter) bool { return other.Key == f.Key }) {
				filters = append(filters, f)
			}
		}
		x := NewIndex(filters)
		for sequence := uint64(1); sequence < 200; sequence++ {
			g := r.group(sequence)
			got := make([]int, len(filters))
			chunks := chunkFilters(g)
			x.Visit(g, sequence, 0, func(place int) { got[place]++ })
			for place, f := range filters {
				want := matches(&f.Spec, g)
				if passes := f.Passes(g, Name(g), 0); passes != want {
					t.Fatalf("filter %+v, group %+v: passes %v, want %v", f.Spec, g, passes, want)
				}
				if got[place] != map[bool]int{true: 1}[want] {
					t.Fatalf("filter %+v, group %+v: found %d times, passes %v", f.Spec, g, got[place], want)
				}
				for i := range chunks {
					if want && !g.IsNotice() && !(chunks[i].Matches(f.Chunks.Terms) && chunks[i].Matches(x.Chunks.Terms)) {
						t.Fatalf("filter %+v, group %+v: its chunk is skipped (%d)", f.Spec, g, i)
					}
				}
			}
		}
	}
}

func TestAMatchSkipsChunksWithOtherValuesOfItsKey(t *testing.T) {
	group := func(v event.Value) *event.Group {
		return &event.Group{Context: event.ContextID{1}, Events: []event.Event{{Key: []byte("tls::group"), Value: v}}}
	}
	wanted := []event.Value{
		{Word: 0x11ec}, {Word: 0x2011ec}, {Kind: event.String, Bytes: []byte("x25519mlkem768")}, {Kind: event.Blob, Bytes: []byte("x25519mlkem768")},
	}
	f, err := Compile(builtin(t), Spec{Matches: []string{"tls::group=x25519mlkem768"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range wanted {
		for i, chunk := range chunkFilters(group(v)) {
			if !chunk.Matches(f.Chunks.Terms) {
				t.Errorf("the chunk with %+v is skipped (%d)", v, i)
			}
		}
	}
	left := 0
	for word := range int64(200) {
		chunks := chunkFilters(group(event.Value{Word: word}))
		if !chunks[0].Matches(f.Chunks.Terms) {
			left++
		}
		if !chunks[1].Matches(f.Chunks.Terms) {
			t.Errorf("a chunk without terms of values is skipped")
		}
	}
	if left < 100 { // a filter of so few terms has many false positives
		t.Errorf("%d of 200 chunks with other values are skipped", left)
	}
}

func TestFiltersThatSelectTheSameHaveOneKey(t *testing.T) {
	a, b := Spec{Keys: []string{"a", "b", "a"}, Since: 7}, Spec{Keys: []string{"b", "a"}, Since: 7}
	if a.canonical() != b.canonical() {
		t.Errorf("%q and %q", a.canonical(), b.canonical())
	}
	for _, other := range []Spec{{Keys: []string{"a"}, Since: 7}, {Scopes: []string{"a", "b"}, Since: 7}, {Keys: []string{"a", "b"}}, {Keys: []string{`a"keys"b`}, Since: 7}} {
		if a.canonical() == other.canonical() {
			t.Errorf("%+v and %+v have the same key %q", a, other, a.canonical())
		}
	}
}

func FuzzUnescapeIsTheInverseOfEscaping(f *testing.F) {
	f.Add([]byte("a\xff\\x41\\"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := event.Unescape(string(event.AppendEscaped(nil, b))); got != string(b) {
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
			var filters []*Filter
			for i := range n {
				f, err := Compile(registry, Spec{Executables: []string{fmt.Sprintf("program%d", i)}})
				if err != nil {
					b.Fatal(err)
				}
				filters = append(filters, f)
			}
			x := NewIndex(filters)
			g, sequence := sample(), uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				sequence++
				x.Visit(g, sequence, 0, func(int) {})
			}
		})
	}
}
