// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"errors"
	"fmt"
	"strings"

	"crypto-auditing/src/internal/mistake"
	"crypto-auditing/src/internal/schema"
)

// match is a match KEY=VALUE or KEY!=VALUE. A key without a scope matches all keys of
// that name.
type match struct {
	key      string
	not      bool
	oneOf    []schema.Match
	unknown  bool // the key is not in the registry
	argument string
	// derived is the condition of a key that is derived from the data of a tree; oneOf is empty
	// then.
	derived func(root *schema.Span) bool
}

func parseMatch(r *schema.Registry, argument string) (match, error) {
	key, value, _ := strings.Cut(argument, "=")
	m := match{argument: argument}
	m.key, m.not = strings.CutSuffix(key, "!")
	if m.key == keyQuantum && scoped(r, m.key) == nil {
		var err error
		m.derived, err = resists(r, argument, value)
		return m, err
	}
	keys := Keys(r, m.key)
	m.unknown = scoped(r, m.key) == nil
	var errs []error
	for _, key := range keys {
		parsed, err := r.ParseMatch(key + "=" + value)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		m.oneOf = append(m.oneOf, parsed)
	}
	if m.oneOf == nil {
		var bad *schema.MatchError
		if errors.As(errs[0], &bad) {
			bad.Match = argument
		}
		return m, errs[0]
	}
	return m, nil
}

// Keys returns the keys that a key stands for: the key itself if none is known.
func Keys(r *schema.Registry, key string) []string {
	if keys := scoped(r, key); keys != nil {
		return keys
	}
	return []string{key}
}

// scoped returns the known keys that a key stands for: the key itself, or, without a
// scope, the keys of that name in any scope.
func scoped(r *schema.Registry, key string) []string {
	if r.Key(key) != nil || key == schema.KeyName {
		return []string{key}
	}
	var keys []string
	for _, known := range r.Keys() {
		if schema.Scope(key) == "" && strings.HasSuffix(known, "::"+key) {
			keys = append(keys, known)
		}
	}
	return keys
}

// in reports whether data of a tree, except offers, fulfil one of the conditions. It
// ignores whether the match is negated.
func (m *match) in(r *schema.Registry, root *schema.Span) bool {
	if m.derived != nil {
		return m.derived(root)
	}
	for i := range m.oneOf {
		if !r.WalkResults(root, m.oneOf[i].Key, func(s *schema.Span) bool { return !m.oneOf[i].In(r, s) }) {
			return true
		}
	}
	return false
}

// warning returns the warning for a name that is not in the registry.
func warning(noun, name string, known []string) string {
	text := fmt.Sprintf("no %s %q is known", noun, name)
	if near := mistake.Nearest(name, known); near != "" {
		text += fmt.Sprintf("; did you mean %q?", near)
	}
	return text
}

// keyNames returns the names of all keys, with and without their scope.
func keyNames(r *schema.Registry) []string {
	names := append(r.Keys(), keyQuantum)
	for _, key := range names {
		if _, name, ok := strings.Cut(key, "::"); ok {
			names = append(names, name)
		}
	}
	return names
}
