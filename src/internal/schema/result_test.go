// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"slices"
	"testing"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
)

// span makes a span with data of keys and words.
func span(name string, data map[string]int64, inner ...*schema.Span) *schema.Span {
	s := &schema.Span{Name: name, Spans: inner}
	for key, word := range data {
		s.Data = append(s.Data, schema.Datum{Key: key, Value: event.Value{Word: word}})
	}
	return s
}

func TestAnOfferIsNotAResult(t *testing.T) {
	const x25519, secp256r1, hybrid = 29, 23, 4588
	group := func(n int64) map[string]int64 { return map[string]int64{"tls::group": n} }
	exchange := func(n int64, inner ...*schema.Span) *schema.Span {
		return span("tls::key_exchange", group(n), inner...)
	}
	step := func(name string) *schema.Span { return span(name, nil) }
	version := map[string]int64{"tls::protocol_version": 0x304}
	for name, c := range map[string]struct {
		root *schema.Span
		want []int64 // groups that are results
	}{
		"a client that was refused": {
			span("tls::handshake_client", nil, exchange(secp256r1, step("pk::generate")), exchange(x25519, step("pk::generate"))), nil,
		},
		"a client that was refused after the version was agreed on": {
			span("tls::handshake_client", version, exchange(x25519, step("pk::generate"))), nil,
		},
		"a client that was sent back for another group": {
			span("tls::handshake_client", version, exchange(x25519, step("pk::generate")), exchange(secp256r1, step("pk::generate"), step("pk::derive"))),
			[]int64{secp256r1},
		},
		"a client whose server took the first of two": {
			span("tls::handshake_client", version, exchange(hybrid, step("pk::generate"), step("pk::generate")), exchange(x25519, step("pk::generate")),
				exchange(hybrid, step("pk::decapsulate"), step("pk::derive"))),
			[]int64{hybrid},
		},
		"a server of a hybrid group": {
			span("tls::handshake_server", nil, exchange(hybrid, step("pk::encapsulate"))), []int64{hybrid},
		},
		"a library that does not report the steps": {
			span("tls::handshake", version, exchange(x25519)), []int64{x25519},
		},
		"a library that does not report the steps, refused": {
			span("tls::handshake", nil, exchange(x25519)), nil,
		},
		"an unregistered inner context": {
			span("tls::handshake", version, exchange(x25519, step("x::y"))), []int64{x25519},
		},
		"a nested step": {
			span("tls::handshake", nil, exchange(x25519, span("x::y", nil, step("pk::derive")))), []int64{x25519},
		},
		"the version of another handshake": {
			span("x::proxy", nil, span("tls::handshake", version), span("tls::handshake", nil, exchange(x25519))), nil,
		},
		"the handshake's own value": {span("tls::handshake", group(x25519)), []int64{x25519}},
		"only a key exchange":       {exchange(x25519, step("pk::generate")), nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []int64
			registry(t).WalkResults(c.root, "tls::group", func(s *schema.Span) bool {
				if v, ok := s.Value("tls::group"); ok {
					got = append(got, v.Word)
				}
				return true
			})
			if !slices.Equal(got, c.want) {
				t.Errorf("the results are %v, want %v", got, c.want)
			}
		})
	}
}

func TestOnlyTheDataOfAnOfferIsSkipped(t *testing.T) {
	root := span("tls::handshake", nil, span("tls::key_exchange", nil, span("pk::generate", nil)))
	var names []string
	visit := func(s *schema.Span) bool {
		names = append(names, s.Name)
		return true
	}
	registry(t).WalkResults(root, "tls::group", visit)
	if want := []string{"tls::handshake", "pk::generate"}; !slices.Equal(names, want) {
		t.Errorf("for the group, visited %v, want %v", names, want)
	}
	names = nil
	registry(t).WalkResults(root, schema.KeyName, visit)
	if want := []string{"tls::handshake", "tls::key_exchange", "pk::generate"}; !slices.Equal(names, want) {
		t.Errorf("for the name, visited %v, want %v", names, want)
	}
}
