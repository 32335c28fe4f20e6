// SPDX-License-Identifier: Apache-2.0

// Package schema interprets the events of a log with the registry of contexts, keys and
// numbers, and builds trees of contexts from a stream of event groups.
package schema

import (
	"sort"
	"strconv"
	"strings"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema/spelling"
)

// KeyName is the key whose value is the name of the context.
const KeyName = event.KeyName

// A Registry defines the elements of a context, the contexts that it may contain, and the
// names of numbers. All of it is optional: a context or key that is not in the registry is
// handled as data like any other. A Registry does not change after loading and is safe for
// concurrent use.
type Registry struct {
	contexts map[string]*Context
	keys     map[string]*Key
	names    map[string]*names
}

// Context is the definition of a context name.
type Context struct {
	// Name is the requested name, Kind the name whose definition it shares: "tls::handshake"
	// for "tls::handshake_client".
	Name, Kind  string
	Description string
	// Summary lists the keys whose values summarise the context, in display order.
	Summary []string
	// Implied has the values implied by the name, by key.
	Implied map[string]string

	keys   map[string]bool
	holds  map[string]bool // context kinds
	scopes map[string]bool // scopes of which it may contain all contexts
	// The conditions that make its elements results: context kinds inside it, keys around it.
	// If settledBy is empty, they always are results.
	settledBy, settledWith map[string]bool
}

// Key is the definition of a key.
type Key struct {
	Name        string
	Description string
	// Type is string, blob, bool or an integer type such as uint16.
	Type string

	names     *names
	spellings *spelling.Table // nil: one spelling each
}

// names maps numbers of a width to names.
type names struct {
	byNumber map[int64]string
	byName   map[string]int64 // folded
}

// Context returns the definition of a context name, nil if there is none.
func (r *Registry) Context(name string) *Context { return r.contexts[name] }

// Key returns the definition of a key, nil if there is none.
func (r *Registry) Key(name string) *Key { return r.keys[name] }

// Contexts returns the names of all contexts, sorted.
func (r *Registry) Contexts() []string { return sortedKeys(r.contexts) }

// Keys returns the names of all keys, sorted.
func (r *Registry) Keys() []string { return sortedKeys(r.keys) }

func sortedKeys[V any](m map[string]V) []string {
	list := make([]string, 0, len(m))
	for name := range m {
		list = append(list, name)
	}
	sort.Strings(list)
	return list
}

// Has reports whether an element with the key belongs to the context.
func (c *Context) Has(key string) bool { return c != nil && c.keys[key] }

// MayHold reports whether a context named child may be a direct child of one named parent. It
// is false if either is unknown.
func (r *Registry) MayHold(parent, child string) bool {
	return r.contexts[parent].mayHold(r.contexts[child])
}

func (c *Context) mayHold(child *Context) bool {
	return c != nil && child != nil && (c.holds[child.Kind] || c.scopes[Scope(child.Kind)])
}

// StandsAlone reports whether a context of the name is never inside another one in the
// registry.
func (r *Registry) StandsAlone(name string) bool {
	c := r.contexts[name]
	if c == nil {
		return false
	}
	for _, other := range r.contexts {
		if other.holds[c.Kind] || other.scopes[Scope(c.Kind)] {
			return false
		}
	}
	return true
}

// Scope returns the scope of a key or context name, "tls" for "tls::group",
// and "" for a name without one.
func Scope(name string) string {
	scope, _, ok := strings.Cut(name, "::")
	if !ok {
		return ""
	}
	return scope
}

// Number returns the significant bits of a value of the key: OpenSSL sets bits above 16-bit
// numbers that are not part of the number.
func (k *Key) Number(n int64) int64 {
	if k == nil {
		return n
	}
	switch k.Type {
	case "uint8":
		return n & 0xff
	case "uint16":
		return n & 0xffff
	case "uint32":
		return n & 0xffffffff
	}
	return n
}

// Text returns the name of a number; ok is false if it has none.
func (k *Key) Text(n int64) (name string, ok bool) {
	switch {
	case k == nil:
		return "", false
	case k.names != nil:
		name, ok = k.names.byNumber[k.Number(n)]
		return name, ok
	case k.Type == "bool" && n == 0:
		return "no", true
	case k.Type == "bool" && n == 1:
		return "yes", true
	}
	return "", false
}

// Parse returns the number for a text: a decimal or 0x number, or one of the key's names,
// ignoring case and spaces.
func (k *Key) Parse(text string) (n int64, ok bool) {
	if n, err := strconv.ParseInt(text, 0, 64); err == nil {
		return n, true
	}
	if k == nil {
		return 0, false
	}
	lower := folded(text)
	if k.names != nil {
		n, ok = k.names.byName[lower]
		return n, ok
	}
	if k.Type == "bool" {
		switch lower {
		case "yes", "true":
			return 1, true
		case "no", "false":
			return 0, true
		}
	}
	return 0, false
}

// folded returns the form of a name for comparison.
func folded(name string) string {
	return strings.ToLower(strings.ReplaceAll(name, " ", ""))
}

// HasNames reports whether numbers of the key have names.
func (k *Key) HasNames() bool { return k != nil && k.names != nil }

// Canonical returns the first spelling of a name; ok is false if the registry does not have
// the name.
func (k *Key) Canonical(text string) (name string, ok bool) {
	if k == nil {
		return "", false
	}
	if all := k.spellings.Lookup(text); len(all) > 0 {
		return all[0], true
	}
	return "", false
}

// Names returns the names of the key's numbers, in the order of the numbers, or the names of
// which different spellings are known.
func (k *Key) Names() []string {
	if !k.HasNames() {
		if k == nil {
			return nil
		}
		return k.spellings.Names()
	}
	numbers := make([]int64, 0, len(k.names.byNumber))
	for n := range k.names.byNumber {
		numbers = append(numbers, n)
	}
	sort.Slice(numbers, func(i, j int) bool { return numbers[i] < numbers[j] })
	list := make([]string, len(numbers))
	for i, n := range numbers {
		list[i] = k.names.byNumber[n]
	}
	return list
}

// ValidName reports whether s is a key or context name:
// [scope "::"] name, each ALPHA *(ALPHA / DIGIT / "_").
func ValidName(s string) bool {
	scope, name, scoped := strings.Cut(s, "::")
	if !scoped {
		return validWord(s)
	}
	return validWord(scope) && validWord(name)
}

func validWord(s string) bool {
	for i := range len(s) {
		c := s[i]
		alpha := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !alpha && (i == 0 || (c != '_' && (c < '0' || c > '9'))) {
			return false
		}
	}
	return s != ""
}
