// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"fmt"
	"strconv"
	"strings"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/mistake"
)

// Match is a condition KEY=VALUE on elements.
type Match struct {
	// Key is the key of the elements.
	Key string

	text     string
	number   int64
	isNumber bool
	key      *Key // nil if the registry does not have it
	// spellings are other texts for the same.
	spellings []string
}

// MatchError reports an invalid condition.
type MatchError struct{ Match, Problem string }

func (e *MatchError) Error() string { return fmt.Sprintf("bad match %q: %s", e.Match, e.Problem) }

// ParseMatch parses a condition KEY=VALUE, such as tls::protocol_version=771. A number may be
// written in decimal, as 0x303, or by its name in the registry, "TLS 1.2". A name of which the
// registry has several spellings stands for all of them: pk::hash=sha-1 for SHA1, too. The
// error is a *MatchError.
func (r *Registry) ParseMatch(s string) (Match, error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		return Match{}, &MatchError{s, "it must be of the form KEY=VALUE"}
	}
	if !ValidName(key) {
		return Match{}, &MatchError{s, strconv.Quote(key) + " is not a valid key: a key is [SCOPE::]NAME of letters, digits and _"}
	}
	m := Match{Key: key, text: value, key: r.Key(key)}
	m.number, m.isNumber = m.key.Parse(value)
	if m.key != nil && m.key.isWord() && !m.isNumber {
		problem := fmt.Sprintf("%q is not a number", value)
		if names := m.key.Names(); len(names) > 0 {
			problem += " and no name that is known for one"
			if near := mistake.Nearest(value, names); near != "" {
				problem += fmt.Sprintf("; did you mean %q?", near)
			}
		}
		return Match{}, &MatchError{s, problem}
	}
	m.number = m.key.Number(m.number)
	if m.key != nil {
		m.spellings = m.key.spellings.Lookup(value)
	}
	return m, nil
}

// is reports whether a text satisfies the condition.
func (m *Match) is(text []byte) bool {
	if string(text) == m.text {
		return true
	}
	for _, s := range m.spellings {
		if string(text) == s {
			return true
		}
	}
	return false
}

func (k *Key) isWord() bool {
	switch k.Type {
	case "", "string", "blob":
		return false
	}
	return true
}

// Matches reports whether a value of the key satisfies the condition. Bytes that are not text
// are compared in their escaped form.
func (m *Match) Matches(v *event.Value) bool {
	switch v.Kind {
	case event.Word:
		return m.isNumber && m.key.Number(v.Word) == m.number
	case event.String:
		return m.is(v.Bytes)
	}
	return m.is(v.Bytes) || string(event.AppendEscaped(nil, v.Bytes)) == m.text
}

// Values returns the values that satisfy the condition; of words, only the lower 16 bits are
// significant. ok is false if other values may satisfy it, too.
func (m *Match) Values() (values []event.Value, ok bool) {
	if m.isNumber {
		if m.key != nil && m.key.Type == "uint8" {
			return nil, false // of larger words, the lower 8 bits are significant
		}
		values = append(values, event.Value{Kind: event.Word, Word: m.number})
	}
	values = append(values, event.Value{Kind: event.String, Bytes: []byte(m.text)})
	for _, s := range m.spellings {
		if s != m.text {
			values = append(values, event.Value{Kind: event.String, Bytes: []byte(s)})
		}
	}
	if bytes := event.Unescape(m.text); bytes != m.text {
		values = append(values, event.Value{Kind: event.Blob, Bytes: []byte(bytes)})
	}
	return values, true
}

// In reports whether an element of the span, or a value implied by its name, satisfies the
// condition.
func (m *Match) In(r *Registry, s *Span) bool {
	if m.Key == event.KeySource {
		return s.CapturedBy(event.Source(m.text))
	}
	if v, ok := s.Value(m.Key); ok {
		return m.Matches(&v)
	}
	if c := r.Context(s.Name); c != nil {
		if text, ok := c.Implied[m.Key]; ok {
			return m.is([]byte(text))
		}
	}
	return false
}

// ContextPattern is a condition on context names: a name, or "scope::*".
type ContextPattern struct{ name, scope string }

// ParseContextPattern parses a pattern of context names. The error is a *MatchError.
func ParseContextPattern(s string) (ContextPattern, error) {
	if scope, ok := strings.CutSuffix(s, "::*"); ok && validWord(scope) {
		return ContextPattern{scope: scope}, nil
	}
	if !ValidName(s) {
		return ContextPattern{}, &MatchError{s, "a context is named as tls::handshake, all of a scope as tls::*"}
	}
	return ContextPattern{name: s}, nil
}

// Matches reports whether a context name matches the pattern, by itself or by the name whose
// definition it shares: tls::handshake matches tls::handshake_client, too.
func (p ContextPattern) Matches(r *Registry, name string) bool {
	if p.scope != "" {
		return Scope(name) == p.scope
	}
	if name == p.name {
		return true
	}
	c := r.Context(name)
	return c != nil && c.Kind == p.name
}
