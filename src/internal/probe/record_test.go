// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"crypto-auditing/bpf"
	"crypto-auditing/src/internal/capture"
)

// The layout of bpf/audit.bpf.h, written independently of the decoder.
type rawRecord struct {
	time, task, context, parent uint64
	site                        uint32
	kind, flags                 uint8
	dropped                     uint16
	executable                  string
	elements                    []rawElement
}

type rawElement struct {
	flags      uint8
	key, value string
}

func (r rawRecord) bytes() []byte {
	le := binary.LittleEndian
	var b []byte
	for _, v := range []uint64{r.time, r.task, r.context, r.parent} {
		b = le.AppendUint64(b, v)
	}
	b = le.AppendUint32(b, r.site)
	b = le.AppendUint16(b, 0) // length: below
	b = append(b, r.kind, uint8(len(r.elements)))
	b = le.AppendUint16(b, r.dropped)
	b = append(b, uint8(len(r.executable)), r.flags)
	b = append(b, r.executable...)
	for _, e := range r.elements {
		b = append(b, e.flags, uint8(len(e.key)))
		b = le.AppendUint16(b, uint16(len(e.value)))
		b = append(append(b, e.key...), e.value...)
	}
	le.PutUint16(b[36:], uint16(len(b)))
	// The ring returns the reserved size, which is larger than the used size.
	return append(b, make([]byte, 64)...)
}

func word(v uint64) string { return string(binary.LittleEndian.AppendUint64(nil, v)) }

// Addresses in the library file of the tests.
const (
	constants   = 0x1000
	keyAt       = constants + 0x10
	valueAt     = constants + 0x40
	longAt      = constants + 0x100
	writableAt  = 0x8000
	unknownAt   = 0x9000
	siteInTable = 2
)

// testTracer returns a tracer whose only library has some constants.
func testTracer(t testing.TB) (*Tracer, *Library) {
	t.Helper()
	content := make([]byte, 4096)
	copy(content[keyAt-constants:], "tls::group\x00")
	copy(content[valueAt-constants:], "X25519\x00")
	copy(content[longAt-constants:], strings.Repeat("x", 1000)+"\x00")
	path := filepath.Join(t.TempDir(), "library")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	l := &Library{
		open: f, pages: pages{file: f}, strings: map[stringKey][]byte{},
		image: capture.Image{Segments: []capture.Segment{
			{Vaddr: constants, Filesz: 4096, Memsz: 4096, Flags: elf.PF_R},
			{Vaddr: writableAt, Filesz: 4096, Memsz: 4096, Flags: elf.PF_R | elf.PF_W},
		}},
	}
	tracer := &Tracer{}
	tracer.table.Store(&[]*Library{nil, nil, l})
	return tracer, l
}

func TestRecordsAreDecoded(t *testing.T) {
	const (
		keyAway, valueAway   = 4, 8
		keyCut, valueCut     = 16, 32
		null                 = 64
		str, blob            = 1, 2
		newContext, withData = 1, 6
	)
	tracer, library := testTracer(t)
	for name, c := range map[string]struct {
		raw  rawRecord
		want Record
	}{
		"a new context": {
			rawRecord{time: 1, task: 2, context: 3, parent: 4, site: siteInTable, kind: newContext, executable: "curl"},
			Record{Time: 1, PIDTGID: 2, Context: 3, Parent: 4, NewContext: true, Executable: []byte("curl"), Library: library},
		},
		"no library": {
			rawRecord{site: 7, kind: 2},
			Record{},
		},
		"no arguments": {
			rawRecord{flags: 1, kind: 5},
			Record{NoArguments: true},
		},
		"an unreadable array": {
			rawRecord{flags: 2, kind: 5, dropped: 3},
			Record{ArrayUnreadable: true, Dropped: 3},
		},
		"values of all types": {
			rawRecord{kind: withData, executable: "e", elements: []rawElement{
				{0, "w", word(^uint64(0))}, {str, "s", "text"}, {blob, "b", "\x00\xff"}, {str, "", ""},
			}},
			Record{NewContext: true, Executable: []byte("e"), Elements: []Element{
				{Key: []byte("w"), Word: -1},
				{Key: []byte("s"), Type: String, Bytes: []byte("text")},
				{Key: []byte("b"), Type: Blob, Bytes: []byte{0, 0xff}},
				{Key: []byte{}, Type: String, Bytes: []byte{}},
			}},
		},
		"marks": {
			rawRecord{elements: []rawElement{{str | keyCut, "k", "v"}, {str | valueCut, "k", "v"}, {str | null, "k", ""}}},
			Record{Elements: []Element{
				{Key: []byte("k"), Type: String, Bytes: []byte("v"), Truncated: true},
				{Key: []byte("k"), Type: String, Bytes: []byte("v"), Truncated: true},
				{Key: []byte("k"), Type: String, Bytes: []byte{}, Null: true},
			}},
		},
		"literals of the library": {
			rawRecord{site: siteInTable, elements: []rawElement{
				{keyAway, word(keyAt), word(29)},
				{str | keyAway | valueAway, word(keyAt), word(valueAt)},
			}},
			Record{Library: library, Elements: []Element{
				{Key: []byte("tls::group"), Word: 29},
				{Key: []byte("tls::group"), Type: String, Bytes: []byte("X25519")},
			}},
		},
		"a blob of the library": {
			rawRecord{site: siteInTable, elements: []rawElement{{blob | valueAway, "k", word(valueAt+1) + word(3)}}},
			Record{Library: library, Elements: []Element{{Key: []byte("k"), Type: Blob, Bytes: []byte("255")}}},
		},
		"long literals are cut": {
			rawRecord{site: siteInTable, elements: []rawElement{
				{str | keyAway | valueAway, word(longAt), word(longAt)},
				{blob | valueAway, "k", word(longAt) + word(900)},
			}},
			Record{Library: library, Elements: []Element{
				{Key: bytes.Repeat([]byte("x"), maxKey), Type: String, Bytes: bytes.Repeat([]byte("x"), maxString), Truncated: true},
				// The BPF program marks that the size is larger.
				{Key: []byte("k"), Type: Blob, Bytes: bytes.Repeat([]byte("x"), maxBlob)},
			}},
		},
		"an unknown kind": {
			rawRecord{site: siteInTable, elements: []rawElement{
				{keyAway, word(0), word(1)},
				{keyAway, word(writableAt), word(1)},
				{str | valueAway, "k", word(unknownAt)},
			}},
			Record{Library: library, Elements: []Element{
				{Word: 1}, {Word: 1}, {Key: []byte("k"), Type: String, Unreadable: true},
			}},
		},
		"literals without a library": {
			rawRecord{elements: []rawElement{{str | keyAway | valueAway, word(keyAt), word(valueAt)}, {blob | valueAway, "k", word(valueAt) + word(1)}}},
			Record{Elements: []Element{{Type: String, Unreadable: true}, {Key: []byte("k"), Type: Blob, Unreadable: true}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			raw := c.raw.bytes()
			for range 2 { // the second time from the cache
				var got Record
				if err := tracer.Decode(raw, &got); err != nil {
					t.Fatal(err)
				}
				if len(got.Executable) == 0 {
					got.Executable = nil
				}
				if !reflect.DeepEqual(got, c.want) {
					t.Errorf("got  %+v\nwant %+v", got, c.want)
				}
			}
		})
	}
}

func TestAnInvalidRecordIsRejected(t *testing.T) {
	tracer, _ := testTracer(t)
	for name, raw := range map[string][]byte{
		"nothing":               nil,
		"half a head":           make([]byte, 40),
		"longer than the ring":  func() []byte { b := rawRecord{}.bytes(); b[37] = 0xff; return b }(),
		"executable too long":   func() []byte { b := rawRecord{}.bytes(); b[42] = 1; return b }(),
		"missing elements":      func() []byte { b := rawRecord{}.bytes(); b[39] = 1; return b }(),
		"key too long":          func() []byte { b := rawRecord{elements: []rawElement{{1, "k", "v"}}}.bytes(); b[45] = 9; return b }(),
		"a short word":          rawRecord{elements: []rawElement{{0, "k", "1234"}}}.bytes(),
		"a short key address":   rawRecord{elements: []rawElement{{4, "1234", word(1)}}}.bytes(),
		"a short blob address":  rawRecord{elements: []rawElement{{2 | 8, "k", word(1)}}}.bytes(),
		"a long string address": rawRecord{elements: []rawElement{{1 | 8, "k", word(1) + word(1)}}}.bytes(),
		"a word far away":       rawRecord{elements: []rawElement{{8, "k", word(1)}}}.bytes(),
	} {
		t.Run(name, func(t *testing.T) {
			if err := tracer.Decode(raw, &Record{}); err != errRecord {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestCachedStringsAreBounded(t *testing.T) {
	_, l := testTracer(t)
	for i := range uint64(3 * maxStrings) {
		if text, ok := l.literal(longAt + i%900); !ok || len(text) != int(min(1000-i%900, maxString+1)) {
			t.Fatalf("%d bytes, %v", len(text), ok)
		}
		l.text(unknownAt+i, -1)
		if len(l.strings) > maxStrings {
			t.Fatalf("%d strings are cached", len(l.strings))
		}
	}
}

// Generated types make sizes and offsets of the programs and this package agree, except the
// length of the packed head.
func TestTheHeadOfARecordMatchesThePrograms(t *testing.T) {
	spec, err := bpf.LoadAudit()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"record": recordHead, "element": elementHead} {
		types, err := spec.Types.AnyTypesByName(name)
		if err != nil || len(types) != 1 {
			t.Fatalf("type %s: %v, %v", name, types, err)
		}
		if got, err := btf.Sizeof(types[0]); err != nil || got != want {
			t.Errorf("%s has %d bytes (%v) in the programs, %d in the agent", name, got, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	tracer, _ := testTracer(f)
	f.Add(rawRecord{site: siteInTable, kind: 6, executable: "curl", elements: []rawElement{
		{4, word(keyAt), word(29)}, {1 | 4 | 8, word(keyAt), word(valueAt)}, {2, "k", "blob"},
	}}.bytes())
	f.Fuzz(func(t *testing.T, raw []byte) {
		// The ring aligns records.
		raw = append(make([]byte, 0, len(raw)+8), raw...)
		var r Record
		if tracer.Decode(raw, &r) != nil {
			return
		}
		size := len(r.Executable)
		for i := range r.Elements {
			e := &r.Elements[i]
			size += len(e.Key) + len(e.Bytes)
			if e.Unreadable && len(e.Bytes) != 0 {
				t.Errorf("an unreadable element has the value %q", e.Bytes)
			}
		}
		if size > len(raw)+len(r.Elements)*(maxKey+maxBlob) {
			t.Errorf("%d bytes were decoded from %d", size, len(raw))
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	tracer, _ := testTracer(b)
	for name, raw := range map[string][]byte{
		"literals": rawRecord{site: siteInTable, kind: 6, executable: "curl", elements: []rawElement{
			{1 | 4 | 8, word(keyAt), word(valueAt)}, {4, word(keyAt), word(29)},
		}}.bytes(),
		"copies": rawRecord{site: siteInTable, kind: 6, executable: "curl", elements: []rawElement{
			{1, "tls::group", "X25519"}, {0, "tls::group", word(29)},
		}}.bytes(),
	} {
		b.Run(name, func(b *testing.B) {
			var r Record
			b.ReportAllocs()
			for b.Loop() {
				if err := tracer.Decode(raw, &r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
