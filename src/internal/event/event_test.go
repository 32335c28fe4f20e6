// SPDX-License-Identifier: Apache-2.0

package event_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"reflect"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"crypto-auditing/src/internal/event"
)

func sample() *event.Group {
	return &event.Group{
		Context: event.ContextID{1, 2, 3}, Start: 5, End: math.MaxUint64,
		Name: []byte("tls::handshake"), Executable: []byte("curl\xff"), Origin: bytes.Repeat([]byte{7}, 20),
		Unit: []byte("nginx.service"), Source: []byte(event.Wire),
		Events: []event.Event{
			{Kind: event.NewContext, Parent: event.ContextID{9}, Origin: []byte{1, 2}, Executable: []byte("curl")},
			{Key: []byte("name"), Value: event.Value{Kind: event.String, Bytes: []byte("tls::handshake")}},
			{Key: []byte("tls::protocol_version"), Value: event.Value{Word: 772}},
			{Key: []byte("least"), Value: event.Value{Word: math.MinInt64}},
			{Key: []byte("blob"), Value: event.Value{Kind: event.Blob, Bytes: bytes.Repeat([]byte{0xfe}, 300), Truncated: true}},
			{Key: []byte("gone"), Value: event.Value{Kind: event.Blob, Bytes: []byte{}, Unreadable: true}},
		},
	}
}

func TestAGroupDecodesToWhatWasEncoded(t *testing.T) {
	want := sample()
	b := event.Append(nil, want)
	var got event.Group
	n, err := event.Decode(append(b, 0xff), &got)
	if err != nil || n != len(b) {
		t.Fatalf("Decode = %d, %v; want %d", n, err, len(b))
	}
	if !reflect.DeepEqual(&got, want) {
		t.Errorf("got %+v\nwant %+v", got, *want)
	}
	if n, err := event.Len(b); n != len(b) || err != nil {
		t.Errorf("Len = %d, %v; want %d", n, err, len(b))
	}
}

// oracleGroup is an entry as decoded by the CBOR library, which shares no code with the
// encoder.
type oracleGroup struct {
	Context    []byte           `cbor:"context"`
	Start      uint64           `cbor:"start"`
	End        uint64           `cbor:"end"`
	Name       string           `cbor:"name"`
	Executable []byte           `cbor:"executable"`
	Unit       string           `cbor:"unit"`
	Source     string           `cbor:"source"`
	Events     []map[string]any `cbor:"events"`
}

func TestAnIndependentDecoderReadsTheSame(t *testing.T) {
	var got oracleGroup
	if err := cbor.Unmarshal(event.Append(nil, sample()), &got); err != nil {
		t.Fatal(err)
	}
	if got.Start != 5 || got.End != math.MaxUint64 || string(got.Executable) != "curl\xff" || got.Name != "tls::handshake" ||
		got.Unit != "nginx.service" || got.Source != "wire" {
		t.Errorf("head: %+v", got)
	}
	data := got.Events[3]["Data"].(map[any]any)
	if data["value"] != int64(math.MinInt64) || data["key"] != "least" {
		t.Errorf("word: %v", data)
	}
	data = got.Events[4]["Data"].(map[any]any)
	if len(data["value"].([]byte)) != 300 || data["truncated"] != true {
		t.Errorf("blob: %v", data)
	}
}

func TestThePublicProjectsLogIsReadAndWrittenByteForByte(t *testing.T) {
	log, err := os.ReadFile("testdata/audit.cborseq")
	if err != nil {
		t.Fatal(err)
	}
	var g event.Group
	entries := 0
	for rest := log; len(rest) > 0; entries++ {
		n, err := event.Decode(rest, &g)
		if err != nil {
			t.Fatalf("entry %d: %v", entries, err)
		}
		// The sample predates the executable, which Append always writes for new contexts.
		if g.Events[0].Kind == event.Data {
			if again := event.Append(nil, &g); !bytes.Equal(again, rest[:n]) {
				t.Fatalf("entry %d:\n got %x\nwant %x", entries, again, rest[:n])
			}
		}
		rest = rest[n:]
	}
	if entries != 132 {
		t.Errorf("%d entries, want 132", entries)
	}
}

func TestUnknownKeysAreSkipped(t *testing.T) {
	b, err := cbor.Marshal(map[string]any{
		"context": make([]byte, 16), "start": 1, "end": 2, "later": map[string]any{"a": []any{1.5, nil, "x", cbor.Tag{Number: 9, Content: 1}}},
		"events": []any{map[string]any{"Data": map[string]any{"key": "k", "value": "v", "unit": []int{1, 2}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var g event.Group
	if n, err := event.Decode(b, &g); err != nil || n != len(b) || string(g.Events[0].Value.Bytes) != "v" {
		t.Errorf("Decode = %d, %v, %+v", n, err, g)
	}
}

func TestBadEntriesAreRefused(t *testing.T) {
	good := event.Append(nil, sample())
	nested := append([]byte("\xa1\x61x"), bytes.Repeat([]byte{0x81}, 100)...)
	cases := map[string][]byte{
		"not a map":              {0x80},
		"indefinite map":         {0xbf, 0xff},
		"missing keys":           {0xa0},
		"short context":          []byte("\xa1\x67context\x41\x00"),
		"huge array":             append([]byte("\xa1\x66events"), 0x9b, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0),
		"huge string":            append([]byte("\xa1\x64name"), 0x7b, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0),
		"nested without end":     nested,
		"key that is not UTF-8":  []byte("\xa1\x61\xff\x00"),
		"event of unknown kind":  []byte("\xa1\x66events\x81\xa1\x61x\x00"),
		"value of a wrong type":  []byte("\xa1\x66events\x81\xa1\x64Data\xa1\x65value\xf6"),
		"word beyond 64 bit":     []byte("\xa1\x66events\x81\xa1\x64Data\xa1\x65value\x1b\xff\xff\xff\xff\xff\xff\xff\xff"),
		"truncated not boolean":  []byte("\xa1\x66events\x81\xa1\x64Data\xa1\x69truncated\x01"),
		"entry beyond the limit": append([]byte("\xa1\x64name\x7a\x00\x20\x00\x00"), make([]byte, 2<<20)...),
	}
	for name, b := range cases {
		t.Run(name, func(t *testing.T) {
			var g event.Group
			var syntax *event.SyntaxError
			if _, err := event.Decode(b, &g); !errors.As(err, &syntax) {
				t.Errorf("Decode: %v, want a SyntaxError", err)
			}
		})
	}
	for cut := range good {
		var g event.Group
		want := io.ErrUnexpectedEOF
		if cut == 0 {
			want = io.EOF
		}
		if _, err := event.Decode(good[:cut], &g); err != want {
			t.Fatalf("cut at %d: %v, want %v", cut, err, want)
		}
		if _, err := event.Len(good[:cut]); err != want {
			t.Fatalf("Len cut at %d: %v, want %v", cut, err, want)
		}
	}
}

func TestBytesThatAreNotUTF8AreEncodedAsBytes(t *testing.T) {
	b := event.Append(nil, &event.Group{Events: []event.Event{
		{Key: []byte("k\xffé\n\\"), Value: event.Value{Kind: event.String, Bytes: []byte("v\xff")}},
	}})
	var g event.Group
	if _, err := event.Decode(b, &g); err != nil {
		t.Fatal(err)
	}
	if e := g.Events[0]; string(e.Key) != `k\xffé\x0a\x5c` || e.Value.Kind != event.Blob || string(e.Value.Bytes) != "v\xff" {
		t.Errorf("got %q %+v", e.Key, e.Value)
	}
}

func TestMetadataRoundTrips(t *testing.T) {
	var g event.Group
	if _, err := event.Decode(event.AppendMetadata(nil, 1771970837, 42), &g); err != nil {
		t.Fatal(err)
	}
	if s, ok := g.BootTime(); !ok || s != 1771970837 || !g.IsMetadata() {
		t.Errorf("BootTime = %d, %v", s, ok)
	}
	want := event.Loss{Events: 7, Hits: 3, Reason: "ring-full", Place: "kernel", Start: 10, End: 20}
	if _, err := event.Decode(event.AppendLoss(nil, &want), &g); err != nil {
		t.Fatal(err)
	}
	if got, ok := g.Loss(); !ok || got != want {
		t.Errorf("Loss = %+v, %v", got, ok)
	}
	if _, ok := sample().Loss(); ok {
		t.Error("a group of data counts as a loss")
	}
}

func TestContextIDsDifferByTaskContextAndKey(t *testing.T) {
	a, err := event.NewCipher(make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	b, err := event.NewCipher(bytes.Repeat([]byte{1}, 16))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[event.ContextID]bool{}
	for _, id := range []event.ContextID{
		a.ContextID(1, 1), a.ContextID(1, 2), a.ContextID(2, 1), a.ContextID(1, event.NoParent), b.ContextID(1, 1),
	} {
		if seen[id] || id.IsZero() {
			t.Errorf("id %v is not unique or is zero", id)
		}
		seen[id] = true
	}
	// The vector of FIPS 197, appendix C.1: the block is the task, then the
	// context, both little-endian.
	c, err := event.NewCipher([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.ContextID(0x7766554433221100, 0xffeeddccbbaa9988).String(); got != "69c4e0d86a7b0430d8cdb78070b4c55a" {
		t.Errorf("id %s", got)
	}
	if _, err := event.NewCipher(make([]byte, 15)); err == nil {
		t.Error("a short key is accepted")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(event.Append(nil, sample()))
	f.Add(event.AppendMetadata(nil, 1, 2))
	f.Fuzz(func(t *testing.T, b []byte) {
		var g event.Group
		n, err := event.Decode(b, &g)
		if err != nil {
			return
		}
		if m, err := event.Len(b); m != n || err != nil {
			t.Fatalf("Len = %d, %v; Decode = %d", m, err, n)
		}
		var again event.Group
		c := event.Append(nil, &g)
		if m, err := event.Decode(c, &again); err != nil || m != len(c) {
			t.Fatalf("decoding the encoded group: %v", err)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	g := sample()
	buf := event.Append(nil, g)
	b.ReportAllocs()
	for b.Loop() {
		buf = event.Append(buf[:0], g)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(g.Events)), "ns/event")
}

func BenchmarkDecode(b *testing.B) {
	usual := sample()
	usual.Events = usual.Events[:4] // without cut values
	buf := event.Append(nil, usual)
	var g event.Group
	b.ReportAllocs()
	for b.Loop() {
		if _, err := event.Decode(buf, &g); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(g.Events)), "ns/event")
}

func BenchmarkLen(b *testing.B) {
	g := sample()
	buf := event.Append(nil, g)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := event.Len(buf); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(g.Events)), "ns/event")
}
