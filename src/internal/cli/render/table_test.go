// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
)

func word(key string, n int64) schema.Datum {
	return schema.Datum{Key: key, Value: event.Value{Kind: event.Word, Word: n}}
}

func text(key, s string) schema.Datum {
	return schema.Datum{Key: key, Value: event.Value{Kind: event.String, Bytes: []byte(s)}}
}

// span returns a span of the program p\x1bq; second is its start.
func span(name string, second int64, data []schema.Datum, inner ...*schema.Span) *schema.Span {
	return &schema.Span{Name: name, Executable: "p\x1bq", Start: second * int64(time.Second), Data: data, Spans: inner}
}

// handshake returns a handshake that offers one group and agrees on another.
func handshake(second int64) *schema.Span {
	return span("tls::handshake_client", second, []schema.Datum{word("tls::protocol_version", 0x304), text("crau::source", "usdt")},
		span("tls::key_exchange", second, []schema.Datum{word("tls::group", 23)}, span("pk::generate", second, nil)),
		span("tls::key_exchange", second, []schema.Datum{word("tls::group", 29)}, span("pk::derive", second, []schema.Datum{text("pk::algorithm", "ECDH")})),
		span("unknown", second, []schema.Datum{text("a", "b"), text("crau::source", "usdt")}))
}

func tableOf(t *testing.T, asJSON bool) string {
	t.Helper()
	registry, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	p := render.Table(asJSON).New(&out, render.Options{Registry: registry, Location: time.UTC})
	for _, second := range []int64{7, 5} {
		if err := p.Root(handshake(second), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestATableCountsResultsAndNotOffers(t *testing.T) {
	want := `count  operation             algorithm       program  first         last
2      pk::derive            ECDH            p\x1bq   00:00:05.000  00:00:07.000
2      pk::generate          -               p\x1bq   00:00:05.000  00:00:07.000
2      tls::handshake_client client TLS 1.3  p\x1bq   00:00:05.000  00:00:07.000
2      tls::key_exchange     x25519          p\x1bq   00:00:05.000  00:00:07.000
2      unknown               b               p\x1bq   00:00:05.000  00:00:07.000
`
	got := tableOf(t, false)
	if strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}
}

func TestARowOfATableIsAnObjectOfJSON(t *testing.T) {
	want := `{"operation":"tls::key_exchange","algorithm":"x25519","program":"p\\x1bq","count":2,"first":"1970-01-01T00:00:05Z","last":"1970-01-01T00:00:07Z"}`
	if got := tableOf(t, true); !strings.Contains(got, want+"\n") || strings.Count(got, "\n") != 5 {
		t.Errorf("the table is\n%s\nwant a row\n%s", got, want)
	}
}
