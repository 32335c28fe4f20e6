// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestQuantiles(t *testing.T) {
	for name, c := range map[string]struct {
		of   sample
		q    float64
		want float64
	}{
		"the only one":      {sample{7}, 0.99, 7},
		"the middle":        {sample{3, 1, 2}, 0.5, 2},
		"between the two":   {sample{4, 2}, 0.5, 3},
		"the least":         {sample{3, 1, 2}, 0, 1},
		"the most":          {sample{3, 1, 2}, 1, 3},
		"a part of the way": {sample{0, 10}, 0.99, 9.9},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.of.quantile(c.q); math.Abs(got-c.want) > 1e-9 {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestAFigureIsHeldAgainstItsTarget(t *testing.T) {
	for name, c := range map[string]struct {
		figure          figure
		target, verdict string
	}{
		"none":             {figure{value: 5}, "", ""},
		"below what may":   {figure{value: 1, target: 2, kind: atMost}, "≤ 2", "ok"},
		"above what may":   {figure{value: 2.01, target: 2, kind: atMost}, "≤ 2", "MISSED"},
		"above what must":  {figure{value: 3, target: 2, kind: atLeast}, "≥ 2", "ok"},
		"below what must":  {figure{value: 1.06, target: 1.5, kind: atLeast}, "≥ 1.500", "MISSED"},
		"just what it may": {figure{value: 1.06, target: 1.06, kind: atMost}, "≤ 1.060", "ok"},
	} {
		t.Run(name, func(t *testing.T) {
			if target, verdict := c.figure.verdict(); target != c.target || verdict != c.verdict {
				t.Errorf("got %q %q, want %q %q", target, verdict, c.target, c.verdict)
			}
		})
	}
}

func TestFiguresOfOthersStayInTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "build", "bench.json")
	for _, f := range []figures{{{name: "theirs", value: 1}, {name: "both", value: 2}}, {{name: "ours", value: 0.5}, {name: "both", value: 3}}} {
		if err := f.merge(path); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "{\n  \"both\": 3,\n  \"ours\": 0.5,\n  \"theirs\": 1\n}\n"; string(text) != want {
		t.Errorf("got %s, want %s", text, want)
	}
	if err := os.WriteFile(path, []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (figures{}).merge(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a file of something else gave %v", err)
	}
}

// testChunk is a chunk as docs/log-format.md has it, as far as it is looked at.
func testChunk(events uint32, lost uint64, payload int) []byte {
	const header = 160
	b := make([]byte, header+payload)
	le := binary.LittleEndian
	le.PutUint32(b, 0x184D2A5C)
	le.PutUint32(b[4:], header-8)
	copy(b[8:], "CRAU")
	le.PutUint64(b[88:], lost)
	le.PutUint32(b[100:], events)
	le.PutUint32(b[104:], uint32(payload))
	return b
}

func TestALogIsAddedUpFromItsHeaders(t *testing.T) {
	dir := t.TempDir()
	index := append([]byte{0x5d, 0x2a, 0x4d, 0x18}, make([]byte, 200)...)
	for name, content := range map[string][]byte{
		"audit-0000000000000001.cborseq.zst": bytes.Join([][]byte{testChunk(0, 0, 10), testChunk(5, 0, 77), index}, nil),
		"audit-0000000000000007.cborseq.zst": testChunk(6, 3, 1),
		".lock":                              []byte("no segment"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := readLog(dir)
	if want := (recorded{events: 11, lost: 3, chunks: 3}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestWhatIsNoChunkIsSaid(t *testing.T) {
	whole := testChunk(1, 0, 10)
	huge := testChunk(1, 0, 0)
	binary.LittleEndian.PutUint32(huge[104:], 1<<31)
	for name, c := range map[string]struct {
		file []byte
		want error // nil: any other
	}{
		"the end":         {nil, io.EOF},
		"half a header":   {whole[:100], errPartial},
		"half a payload":  {whole[:len(whole)-1], errPartial},
		"something else":  {bytes.Repeat([]byte("x"), 200), nil},
		"a length beyond": {huge, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := chunkAt(bytes.NewReader(c.file), int64(len(c.file)), 0)
			if err == nil || c.want != nil && err != c.want || c.want == nil && (err == io.EOF || errors.Is(err, errPartial)) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}
