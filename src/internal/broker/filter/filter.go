// SPDX-License-Identifier: Apache-2.0

// Package filter selects groups: compiled filters of clients, and an index that finds
// the filters that a group passes.
package filter

import (
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/entry"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/schema"
)

// Limits of a filter. They bound the cost of storing and applying it.
const (
	// maxFilterValues is the maximum number of values of a key.
	maxFilterValues = 256
	// maxFilterBytes is the maximum total length of all values.
	maxFilterBytes = 16 << 10
)

// Spec selects groups: a group must pass every field that is not empty, by
// one of its values. Notices always pass.
type Spec struct {
	// Scopes are scopes of the group's name or of one of its keys.
	Scopes []string `cbor:"scopes,omitempty"`
	// Contexts are names, or tls::* for all of a scope.
	Contexts []string `cbor:"contexts,omitempty"`
	// Keys are keys of data, or tls::* for all of a scope.
	Keys []string `cbor:"keys,omitempty"`
	// Executables are base names of programs in their escaped form.
	Executables []string `cbor:"executables,omitempty"`
	// Origins are build-ids as hex digits.
	Origins []string `cbor:"origins,omitempty"`
	// Units are systemd units of processes.
	Units []string `cbor:"units,omitempty"`
	// Sources are values of event.Source; groups without a source have usdt.
	Sources []string `cbor:"sources,omitempty"`
	// Matches are conditions KEY=VALUE on data.
	Matches []string `cbor:"matches,omitempty"`
	// Since and Until are µs since the Unix epoch; 0 means no bound. A group
	// passes if some of its time is in between, the bounds included.
	Since uint64 `cbor:"since,omitempty"`
	Until uint64 `cbor:"until,omitempty"`
}

// List is a field of a Spec that is a list, under its name on all interfaces.
type List struct {
	Name   string
	Values *[]string
}

// Lists returns the fields that are lists.
func (f *Spec) Lists() []List {
	return []List{
		{"scopes", &f.Scopes}, {"contexts", &f.Contexts}, {"keys", &f.Keys},
		{"executables", &f.Executables}, {"origins", &f.Origins}, {"matches", &f.Matches},
		{"units", &f.Units}, {"sources", &f.Sources},
	}
}

// canonical returns a text that is the same for filters that select the same.
func (f *Spec) canonical() string {
	var b strings.Builder
	for _, list := range f.Lists() {
		values := slices.Clone(*list.Values)
		slices.Sort(values)
		for _, v := range slices.Compact(values) {
			b.WriteString(list.Name)
			b.WriteString(strconv.Quote(v))
		}
	}
	fmt.Fprintf(&b, "%d-%d", f.Since, f.Until)
	return b.String()
}

// patterns are names and scopes.
type patterns struct {
	names, scopes map[string]struct{}
}

func (p *patterns) empty() bool { return p.names == nil && p.scopes == nil }

func (p *patterns) has(name []byte) bool {
	if _, ok := p.names[string(name)]; ok {
		return true
	}
	if p.scopes == nil {
		return false
	}
	_, ok := p.scopes[string(scopeOf(name))]
	return ok
}

func insert(set *map[string]struct{}, value string) {
	if *set == nil {
		*set = map[string]struct{}{}
	}
	(*set)[value] = struct{}{}
}

// scopeOf returns the scope of a key or name, as schema.Scope does, without
// making a string.
func scopeOf(name []byte) []byte {
	for i := 0; i+1 < len(name); i++ {
		if name[i] == ':' && name[i+1] == ':' {
			return name[:i]
		}
	}
	return nil
}

// Filter is a compiled Spec. It is immutable and safe for concurrent use.
type Filter struct {
	Spec Spec
	// Key is the same for filters that select the same.
	Key string

	scopes      map[string]struct{}
	contexts    patterns
	keys        patterns
	executables map[string]struct{} // as bytes in the log
	origins     map[string]struct{}
	units       map[string]struct{}
	sources     map[string]struct{}
	matches     map[string][]schema.Match
	// attributes is set if a match is on the unit or the source, which count as
	// data.
	attributes bool
	// implied are the names of contexts that imply data of a match.
	implied map[string]struct{}
	// since and until are ns since the Unix epoch.
	since, until int64

	// Chunks excludes chunks that cannot contain a group that passes.
	Chunks logstore.Query
	// Everything is set if all groups pass.
	Everything bool
}

// Compile compiles a Spec. The error is a *fault.FilterError or a *fault.LimitError.
func Compile(r *schema.Registry, spec Spec) (*Filter, error) {
	if err := checkSize(&spec); err != nil {
		return nil, err
	}
	f := &Filter{Spec: spec, Key: spec.canonical(), until: math.MaxInt64}
	for _, step := range []func(*schema.Registry) error{
		f.compileScopes, f.compileContexts, f.compileKeys, f.compileExecutables, f.compileOrigins, f.compileUnits, f.compileSources, f.compileMatches, f.compileTimes,
	} {
		if err := step(r); err != nil {
			return nil, err
		}
	}
	f.Everything = f.scopes == nil && f.contexts.empty() && f.keys.empty() && f.executables == nil &&
		f.origins == nil && f.units == nil && f.sources == nil && f.matches == nil && spec.Since == 0 && spec.Until == 0
	return f, nil
}

func checkSize(spec *Spec) error {
	size := 0
	for _, list := range spec.Lists() {
		if len(*list.Values) > maxFilterValues {
			return &fault.LimitError{Resource: "values of the filter's " + list.Name, Max: maxFilterValues}
		}
		for _, v := range *list.Values {
			if size += len(v); size > maxFilterBytes {
				return &fault.LimitError{Resource: "bytes of a filter", Max: maxFilterBytes}
			}
			if v == "" {
				return &fault.FilterError{Key: list.Name, Problem: "a value is empty"}
			}
			if !utf8.ValidString(v) {
				return &fault.FilterError{Key: list.Name, Problem: "a value is not UTF-8"}
			}
		}
	}
	return nil
}

func (f *Filter) compileScopes(*schema.Registry) error {
	for _, v := range f.Spec.Scopes {
		if !schema.ValidName(v) || strings.Contains(v, ":") {
			return &fault.FilterError{Key: "scopes", Problem: fmt.Sprintf("%q is not a scope: write tls for all that begins with tls::", v)}
		}
		insert(&f.scopes, v)
	}
	return nil
}

func (f *Filter) compileContexts(r *schema.Registry) error {
	for _, v := range f.Spec.Contexts {
		pattern, err := schema.ParseContextPattern(v)
		if err != nil {
			return &fault.FilterError{Key: "contexts", Problem: err.Error()}
		}
		if scope, ok := strings.CutSuffix(v, "::*"); ok {
			insert(&f.contexts.scopes, scope)
			continue
		}
		insert(&f.contexts.names, v)
		// A name includes all names that share its definition.
		for _, name := range r.Contexts() {
			if pattern.Matches(r, name) {
				insert(&f.contexts.names, name)
			}
		}
	}
	if f.contexts.scopes == nil {
		f.addTerms(logstore.Name, f.contexts.names)
	}
	return nil
}

func (f *Filter) compileKeys(*schema.Registry) error {
	for _, v := range f.Spec.Keys {
		scope, all := strings.CutSuffix(v, "::*")
		switch {
		case all && schema.ValidName(scope) && !strings.Contains(scope, ":"):
			insert(&f.keys.scopes, scope)
		case schema.ValidName(v):
			insert(&f.keys.names, v)
		default:
			return &fault.FilterError{Key: "keys", Problem: fmt.Sprintf("%q is not a key: write as tls::group, or tls::* for all of a scope", v)}
		}
	}
	if f.keys.scopes == nil {
		f.addTerms(logstore.Key, f.keys.names)
	}
	return nil
}

func (f *Filter) compileExecutables(*schema.Registry) error {
	for _, v := range f.Spec.Executables {
		insert(&f.executables, event.Unescape(v))
	}
	f.addTerms(logstore.Executable, f.executables)
	return nil
}

func (f *Filter) compileOrigins(*schema.Registry) error {
	for _, v := range f.Spec.Origins {
		id, err := hex.DecodeString(v)
		if err != nil {
			return &fault.FilterError{Key: "origins", Problem: fmt.Sprintf("%q is not a build-id: it is an even number of hex digits", v)}
		}
		insert(&f.origins, string(id))
	}
	f.addTerms(logstore.Origin, f.origins)
	return nil
}

func (f *Filter) compileUnits(*schema.Registry) error {
	for _, v := range f.Spec.Units {
		insert(&f.units, v)
	}
	f.addTerms(logstore.Unit, f.units)
	return nil
}

func (f *Filter) compileSources(*schema.Registry) error {
	for _, v := range f.Spec.Sources {
		if !slices.Contains(event.Sources(), event.Source(v)) {
			return &fault.FilterError{Key: "sources", Problem: fmt.Sprintf("%q is not a source: there are %s", v, event.SourceNames())}
		}
		insert(&f.sources, v)
	}
	// The source usdt has no term.
	if _, any := f.sources[string(event.USDT)]; !any {
		f.addTerms(logstore.Source, f.sources)
	}
	return nil
}

func (f *Filter) compileMatches(r *schema.Registry) error {
	if len(f.Spec.Matches) == 0 {
		return nil
	}
	f.matches = map[string][]schema.Match{}
	keys := map[string]struct{}{}
	var values []logstore.Term
	everyValue := true // has a term
	for _, v := range f.Spec.Matches {
		match, err := r.ParseMatch(v)
		if err != nil {
			return &fault.FilterError{Key: "matches", Problem: err.Error()}
		}
		f.matches[match.Key] = append(f.matches[match.Key], match)
		keys[match.Key] = struct{}{}
		list, ok := match.Values()
		terms, allTerms := entry.ValueTerms(match.Key, list)
		values, everyValue = append(values, terms...), everyValue && ok && allTerms
		f.attributes = f.attributes || match.Key == event.KeyUnit || match.Key == event.KeySource
		for _, name := range r.Contexts() {
			text, ok := r.Context(name).Implied[match.Key]
			if ok && match.Matches(&event.Value{Kind: event.String, Bytes: []byte(text)}) {
				insert(&f.implied, name)
			}
		}
	}
	if !f.attributes {
		implied := termsOf(logstore.Name, f.implied)
		if everyValue {
			f.Chunks.Terms = append(f.Chunks.Terms, slices.Concat(values, implied))
		}
		// For chunks without terms of values.
		f.Chunks.Terms = append(f.Chunks.Terms, append(termsOf(logstore.Key, keys), implied...))
	}
	return nil
}

func (f *Filter) compileTimes(*schema.Registry) error {
	const most = math.MaxInt64 / uint64(time.Microsecond)
	for _, bound := range []struct {
		name string
		us   uint64
	}{{"since", f.Spec.Since}, {"until", f.Spec.Until}} {
		if bound.us > most {
			return &fault.FilterError{Key: bound.name, Problem: fmt.Sprintf("%d is not a time in microseconds since 1970", bound.us)}
		}
	}
	f.since = int64(f.Spec.Since) * int64(time.Microsecond)
	f.Chunks.Since = f.since
	if f.Spec.Until != 0 {
		// Times are shown in µs: groups that end within the last one are included.
		f.until = int64(f.Spec.Until)*int64(time.Microsecond) + int64(time.Microsecond) - 1
		f.Chunks.Until = f.until
	}
	return nil
}

func (f *Filter) addTerms(kind logstore.TermKind, values map[string]struct{}) {
	if len(values) > 0 {
		f.Chunks.Terms = append(f.Chunks.Terms, termsOf(kind, values))
	}
}

func termsOf(kind logstore.TermKind, values map[string]struct{}) []logstore.Term {
	terms := make([]logstore.Term, 0, len(values))
	for v := range values {
		terms = append(terms, logstore.NewTerm(kind, v))
	}
	return terms
}

// Name returns the name of a group's context, which may be in its data.
func Name(g *event.Group) []byte {
	if len(g.Name) > 0 {
		return g.Name
	}
	for i := range g.Events {
		if e := &g.Events[i]; e.Kind == event.Data && string(e.Key) == schema.KeyName && e.Value.Kind == event.String {
			return e.Value.Bytes
		}
	}
	return nil
}

// Passes reports whether a group passes. name is Name(g); boot is the
// time of boot to which its times are relative, in ns since the Unix epoch.
func (f *Filter) Passes(g *event.Group, name []byte, boot int64) bool {
	if f.Everything || g.IsNotice() {
		return true
	}
	return f.inTime(g, boot) && f.ofContext(g, name) && f.hasData(g, name)
}

func (f *Filter) inTime(g *event.Group, boot int64) bool {
	return event.WallTime(boot, g.End) >= f.since && event.WallTime(boot, g.Start) <= f.until
}

// ofContext applies the conditions on the context as a whole.
func (f *Filter) ofContext(g *event.Group, name []byte) bool {
	if f.executables != nil {
		if _, ok := f.executables[string(g.ContextExecutable())]; !ok {
			return false
		}
	}
	if f.origins != nil {
		if _, ok := f.origins[string(g.ContextOrigin())]; !ok {
			return false
		}
	}
	if f.units != nil {
		if _, ok := f.units[string(g.Unit)]; !ok {
			return false
		}
	}
	if f.sources != nil {
		if _, ok := f.sources[string(g.ContextSource())]; !ok {
			return false
		}
	}
	return f.contexts.empty() || len(name) > 0 && f.contexts.has(name)
}

// hasData applies the conditions on data and on scopes.
func (f *Filter) hasData(g *event.Group, name []byte) bool {
	scoped := f.scopes == nil
	keyed := f.keys.empty()
	matched := f.matches == nil
	if !scoped {
		_, scoped = f.scopes[string(scopeOf(name))]
	}
	if !matched && f.implied != nil {
		_, matched = f.implied[string(name)]
	}
	if !matched && f.attributes {
		matched = anyMatches(f.matches[event.KeyUnit], &event.Value{Kind: event.String, Bytes: g.Unit}) ||
			anyMatches(f.matches[event.KeySource], &event.Value{Kind: event.String, Bytes: g.ContextSource()})
	}
	for i := 0; i < len(g.Events) && !(scoped && keyed && matched); i++ {
		e := &g.Events[i]
		if e.Kind != event.Data {
			continue
		}
		if !scoped {
			_, scoped = f.scopes[string(scopeOf(e.Key))]
		}
		keyed = keyed || f.keys.has(e.Key)
		matched = matched || anyMatches(f.matches[string(e.Key)], &e.Value)
	}
	return scoped && keyed && matched
}

func anyMatches(matches []schema.Match, v *event.Value) bool {
	for i := range matches {
		if matches[i].Matches(v) {
			return true
		}
	}
	return false
}
