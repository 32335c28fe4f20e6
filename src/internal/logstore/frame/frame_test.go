// SPDX-License-Identifier: Apache-2.0

package frame

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func testHeader() Header {
	h := Header{
		Flags: Start | Notice, StoreID: [16]byte{1, 2, 3}, BootID: [16]byte{4, 5},
		Sequence: 7, SequenceBefore: 5, First: 100, Last: 200, Offset: -3, Lost: 9, Entries: 2, Events: 11,
		Hash: Hash{6}, HashBefore: Hash{8},
	}
	h.Filter.Reset(KindsOf(Name, Executable), []uint64{TermHash(Name, "tls::handshake"), TermHash(Executable, "curl")})
	return h
}

func testChunk(t testing.TB) (chunk []byte, h Header, entries []byte) {
	t.Helper()
	e, err := NewEncoder(Fast, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	h = testHeader()
	entries = bytes.Repeat([]byte("entry"), 50)
	return e.AppendChunk([]byte("before"), &h, entries)[6:], h, entries
}

func TestHeaderIsReadAsWritten(t *testing.T) {
	chunk, want, entries := testChunk(t)
	var got Header
	if err := got.Parse(chunk); err != nil {
		t.Fatal(err)
	}
	want.size = got.size
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read  %+v\nwrote %+v", got, want)
	}
	if got.ChunkSize() != int64(len(chunk)) || got.Size() != fixedSize+startSize+sumSize+len(want.Filter.Bits) {
		t.Errorf("header of %d bytes, chunk of %d, want %d", got.Size(), got.ChunkSize(), len(chunk))
	}
	d, err := NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	back, err := d.Entries(nil, &got, chunk[got.Size():])
	if err != nil || !bytes.Equal(back, entries) {
		t.Errorf("%d bytes of entries, want %d (%v)", len(back), len(entries), err)
	}
}

// The bytes are specified and must not change.
func TestHeaderLayout(t *testing.T) {
	h := testHeader()
	h.Compressed, h.Uncompressed, h.PayloadSum = 0x01020304, 0x05060708, 0x090a0b0c
	b := make([]byte, h.Size())
	h.Put(b)
	want := "5c2a4d18" + "bb000000" + "43524155" + "0100" + "0500" + "0000" + "0300" + "05" + "07" + "0000" +
		"01020300000000000000000000000000" + "04050000000000000000000000000000" +
		"0700000000000000" + "6400000000000000" + "c800000000000000" + "fdffffffffffffff" + "0900000000000000" +
		"02000000" + "0b000000" + "04030201" + "08070605" + "0c0b0a09" +
		"06" + fmt.Sprintf("%062d", 0) +
		hex.EncodeToString(h.Filter.Bits) +
		"0500000000000000" + "08" + fmt.Sprintf("%062d", 0)
	if got := hex.EncodeToString(b[:len(b)-4]); got != want {
		t.Errorf("header is\n%s, want\n%s", got, want)
	}
}

func TestTermHashMatchesTheSpecification(t *testing.T) {
	// Computed by an implementation of docs/log-format.md in another language.
	for name, c := range map[string]struct {
		kind TermKind
		text string
		want uint64
	}{
		"empty":      {Name, "", 0xd7cea42b5057e4c},
		"name":       {Name, "tls::handshake_client", 0x5cfc4d095b8f3d79},
		"executable": {Executable, "curl", 0x7f01e475ba140867},
	} {
		if got := TermHash(c.kind, c.text); got != c.want {
			t.Errorf("%s: %#x, want %#x", name, got, c.want)
		}
		if TermHash(c.kind, c.text) != TermHash(c.kind, []byte(c.text)) {
			t.Errorf("%s: the hashes of bytes and string differ", name)
		}
	}
}

func TestTermsOfValuesMatchTheSpecification(t *testing.T) {
	key := NewValueSeed("tls::group")
	for word, text := range map[int64]string{0: "\x00\x00\x00", 0x1d: "\x00\x1d\x00", 0x11ec: "\x00\xec\x11", 0x2011ec: "\x00\xec\x11", -1: "\x00\xff\xff"} {
		if got, want := key.Word(word), TermHash(Value, "tls::group"+text); got != want {
			t.Errorf("word %d: %#x, want %#x", word, got, want)
		}
	}
	for _, text := range []string{"", "x25519", strings.Repeat("x", MaxValue)} {
		if got, ok := key.Bytes([]byte(text)); !ok || got != TermHash(Value, "tls::group\x01"+text) {
			t.Errorf("%q: %#x, %v", text, got, ok)
		}
	}
	if _, ok := key.Bytes(make([]byte, MaxValue+1)); ok {
		t.Error("a long value has a term")
	}
}

func TestAFilterOmitsTooManyValues(t *testing.T) {
	for _, n := range []int{0, MaxValues, MaxValues + 1} {
		values := make([]uint64, n, n+1)
		for i := range values {
			values[i] = NewValueSeed("k").Word(int64(i))
		}
		var f Filter
		f.ResetWith(KindsOf(Key), []uint64{TermHash(Key, "k")}, append(values, values...), nil)
		if got, want := f.Kinds.Has(Value), n <= MaxValues; got != want {
			t.Errorf("%d values: kept %v, want %v", n, got, want)
		}
		for i := range values {
			if !f.MayHold(Term{Kind: Value, Hash: NewValueSeed("k").Word(int64(i))}) {
				t.Fatalf("%d values: %d does not match", n, i)
			}
		}
		if !f.MayHold(NewTerm(Key, "k")) {
			t.Errorf("%d values: the key does not match", n)
		}
	}
	var f Filter
	f.ResetWith(KindsOf(Key), nil, nil, nil)
	if f.Kinds.Has(Value) {
		t.Error("a filter without values has their kind")
	}
}

func TestFilterContainsItsTermsAndFewOthers(t *testing.T) {
	for _, n := range []int{0, 1, 2, 10, 100, 1000, 5000} {
		var terms []uint64
		for i := range n {
			// An agent may add a term twice.
			terms = append(terms, TermHash(Key, fmt.Sprint(i)), TermHash(Key, fmt.Sprint(i)))
		}
		var f Filter
		f.Reset(KindsOf(Key), terms)
		if len(f.Bits) > (n*bitsPerTerm+7)/8 {
			t.Errorf("%d terms take %d bytes", n, len(f.Bits))
		}
		for i := range n {
			if !f.MayHold(NewTerm(Key, fmt.Sprint(i))) {
				t.Fatalf("%d terms: %d does not match", n, i)
			}
		}
		const others = 10_000
		wrong := 0
		for i := range others {
			if f.MayHold(NewTerm(Key, fmt.Sprint("other", i))) {
				wrong++
			}
		}
		// About 1 % of false positives, more in small filters.
		if limit := map[bool]int{true: others / 50, false: others / 8}[n >= 100]; wrong > limit {
			t.Errorf("%d terms: %d of %d other terms match, more than %d", n, wrong, others, limit)
		}
		if !f.MayHold(NewTerm(Name, "x")) {
			t.Errorf("%d terms: a kind outside of the filter is excluded", n)
		}
	}
}

func TestFilterMatchesOneTermOfEachSet(t *testing.T) {
	var f Filter
	f.Reset(KindsOf(Name, Key), []uint64{TermHash(Name, "a"), TermHash(Key, "k")})
	a, b, k := NewTerm(Name, "a"), NewTerm(Name, "b"), NewTerm(Key, "k")
	for name, c := range map[string]struct {
		all  [][]Term
		want bool
	}{
		"no sets":              {nil, true},
		"an empty set":         {[][]Term{{}}, false},
		"a term in the filter": {[][]Term{{a}}, true},
		"a term not in it":     {[][]Term{{b}}, false},
		"one of two terms":     {[][]Term{{b, a}}, true},
		"both sets":            {[][]Term{{b, a}, {k}}, true},
		"only one of two sets": {[][]Term{{a}, {b}}, false},
		"an unknown kind":      {[][]Term{{NewTerm(Origin, "x")}, {a}}, true},
	} {
		if got := f.Matches(c.all); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func testIndex() *Index {
	x := &Index{
		Flags: Notice, StoreID: [16]byte{1}, BootID: [16]byte{2}, Sequence: 5, LastSequence: 20, First: 3, Last: 9, Offset: -1,
		Events: 4, Lost: 5, Uncompressed: 6, Hash: Hash{7},
		Records: []Record{{0, 5, 3, 4}, {100, 10, 4, 9}},
	}
	x.Filter.Reset(KindsOf(Name), []uint64{1, 2, 3})
	return x
}

func TestIndexIsReadAsWritten(t *testing.T) {
	want := testIndex()
	b := want.Append(nil)
	n, ok := IndexSize(b[len(b)-FooterSize:])
	if !ok || n != len(b) {
		t.Fatalf("the footer has %d bytes of %d", n, len(b))
	}
	var got Index
	if err := got.Parse(b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(&got, want) {
		t.Errorf("read  %+v\nwrote %+v", got, *want)
	}
	for i := range b[:len(b)-FooterSize+4] {
		b[i] ^= 1
		if err := got.Parse(b); err == nil {
			t.Errorf("a flipped bit at %d is not noticed", i)
		}
		b[i] ^= 1
	}
}

func TestIndexOutOfOrderIsRefused(t *testing.T) {
	for name, change := range map[string]func(x *Index){
		"offsets":             func(x *Index) { x.Records[1].Offset = 0 },
		"sequences":           func(x *Index) { x.Records[1].Sequence = 5 },
		"beyond the last":     func(x *Index) { x.Records[1].Sequence = 21 },
		"not from the first":  func(x *Index) { x.Records[0].Sequence = 6 },
		"not from the start":  func(x *Index) { x.Records[0].Offset = 8 },
		"no records":          func(x *Index) { x.Records = nil },
		"times":               func(x *Index) { x.First = 10 },
		"last before first":   func(x *Index) { x.LastSequence = 4 },
		"offset out of range": func(x *Index) { x.Records[1].Offset = MaxSegment + 1 },
	} {
		x := testIndex()
		change(x)
		var corrupt *Error
		if err := new(Index).Parse(x.Append(nil)); !errors.As(err, &corrupt) || corrupt.Kind != KindIndex {
			t.Errorf("%s: got %v, want a corrupt index", name, err)
		}
	}
}

func TestChainDoesNotDependOnChunks(t *testing.T) {
	entries := []byte("aaaaabbbbbccccc")
	ends, err := AppendEnds(nil, entries, func([]byte) (int, error) { return 5, nil })
	if err != nil || !slices.Equal(ends, []uint32{5, 10, 15}) {
		t.Fatalf("ends %d, %v", ends, err)
	}
	whole, parts := NewChain(), NewChain()
	whole.Set(Genesis([16]byte{1}))
	parts.Set(Genesis([16]byte{1}))
	if err := whole.Add(entries, ends); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(entries); i += 5 {
		if err := parts.Add(entries[i:i+5], []uint32{5}); err != nil {
			t.Fatal(err)
		}
	}
	if whole.Sum() != parts.Sum() {
		t.Error("the hash depends on chunks")
	}
	before := whole.Sum()
	for name, ends := range map[string][]uint32{
		"none": nil, "before the end": {5, 10}, "beyond it": {5, 16}, "an empty entry": {5, 5, 15}, "out of order": {10, 5, 15},
	} {
		if err := whole.Add(entries, ends); err == nil || whole.Sum() != before {
			t.Errorf("ends are %s: %v, chain changed: %v", name, err, whole.Sum() != before)
		}
	}
}

func TestEndsAreParsedWithinTheEntries(t *testing.T) {
	for name, length := range map[string]LenFunc{
		"an error":    func([]byte) (int, error) { return 0, errors.New("no") },
		"too long":    func([]byte) (int, error) { return 16, nil },
		"nothing":     func([]byte) (int, error) { return 0, nil },
		"below zero":  func([]byte) (int, error) { return -1, nil },
		"late errors": func(b []byte) (int, error) { return map[bool]int{true: 5, false: 0}[len(b) == 15], nil },
	} {
		if ends, err := AppendEnds(nil, []byte("aaaaabbbbbccccc"), length); err == nil {
			t.Errorf("length is %s: ends %d", name, ends)
		}
	}
}

func TestAppendingAChunkAllocatesNothing(t *testing.T) {
	e, err := NewEncoder(Fast, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	chain := NewChain()
	entries := bytes.Repeat([]byte("entry"), 5000)
	ends, err := AppendEnds(nil, entries, func([]byte) (int, error) { return 5, nil })
	if err != nil {
		t.Fatal(err)
	}
	terms := []uint64{1, 2, 3}
	var h Header
	var buffer []byte
	work := func() {
		filter := h.Filter
		h = testHeader()
		h.Filter = filter
		h.Filter.Reset(1, terms)
		if err := chain.Add(entries, ends); err != nil {
			t.Error(err)
		}
		buffer = e.AppendChunk(buffer[:0], &h, entries)
	}
	work()
	// testHeader makes a filter: one allocation.
	if n := testing.AllocsPerRun(10, work); n > 2 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzHeader(f *testing.F) {
	chunk, _, _ := testChunk(f)
	f.Add(chunk)
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, err := HeaderSize(b); err == nil && n <= len(b) {
			// The part after the checksum is tested.
			binary.LittleEndian.PutUint32(b[n-sumSize:], crc32.Checksum(b[:n-sumSize], castagnoli))
		}
		var h Header
		if err := h.Parse(b); err != nil {
			return
		}
		if h.Uncompressed > MaxUncompressed || h.Compressed > MaxCompressed || len(h.Filter.Bits) > MaxFilter || h.Size() > len(b) {
			t.Errorf("limits do not hold: %+v", h)
		}
		h.Filter.MayHold(NewTerm(Name, "x"))
		out := make([]byte, h.Size())
		h.Put(out)
	})
}

func FuzzIndex(f *testing.F) {
	f.Add(testIndex().Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := len(b) - FooterSize; n >= 0 {
			binary.LittleEndian.PutUint32(b[n:], crc32.Checksum(b[:n], castagnoli))
		}
		var x Index
		if len(b) >= FooterSize {
			IndexSize(b[len(b)-FooterSize:])
		}
		if err := x.Parse(b); err == nil && len(x.Records) > len(b)/recordSize {
			t.Errorf("%d records from %d bytes", len(x.Records), len(b))
		}
	})
}

func FuzzPayload(f *testing.F) {
	chunk, h, _ := testChunk(f)
	f.Add(chunk[h.Size():])
	d, err := NewDecoder()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		h := h
		h.Compressed = uint32(len(payload))
		h.PayloadSum = crc32.Checksum(payload, castagnoli)
		entries, err := d.Entries(nil, &h, payload)
		if err == nil && len(entries) != int(h.Uncompressed) {
			t.Errorf("%d bytes, but the header has %d", len(entries), h.Uncompressed)
		}
	})
}
