// SPDX-License-Identifier: Apache-2.0

package event

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
)

// both compares the fast and the general decoder, if the entry has the form that the fast
// one supports.
func both(t *testing.T, b []byte) (fast bool) {
	t.Helper()
	var of, want Group
	d := newDecoder(b)
	if len(b) == 0 || !d.canonical(&of) {
		return false
	}
	general := newDecoder(b)
	general.group(&want)
	if general.err != nil || d.pos != general.pos || !reflect.DeepEqual(of, want) {
		t.Errorf("fast: %d bytes, %+v\ngeneral: %d bytes, %+v, %v", d.pos, of, general.pos, want, general.err)
	}
	return true
}

func randomText(r *rand.Rand, length int) []byte {
	b := make([]byte, length)
	for i := range b {
		b[i] = 'a' + byte(r.IntN(26))
	}
	if length > 2 && r.IntN(3) == 0 {
		copy(b[r.IntN(length-1):], "é")
	}
	return b
}

// randomEntry returns an entry of Append; whole reports whether no value is cut or
// unreadable.
func randomEntry(r *rand.Rand) (entry []byte, whole bool) {
	lengths := []int{0, 1, 7, 8, 9, 23, 24, 255, 256, 70000}
	length := func() int { return lengths[r.IntN(len(lengths))] }
	g := Group{Start: r.Uint64(), End: r.Uint64()}
	whole = true
	for i := range g.Context {
		g.Context[i] = byte(r.Uint32())
	}
	for _, field := range []*[]byte{&g.Name, &g.Executable, &g.Origin, &g.Unit, &g.Source} {
		if r.IntN(2) == 0 {
			*field = randomText(r, length())
		}
	}
	words := []int64{0, 23, 24, 255, -1, -24, -25, math.MaxInt64, math.MinInt64, math.MaxUint32}
	for i := range r.IntN(40) {
		e := Event{Key: randomText(r, 1+r.IntN(30))}
		switch r.IntN(4) {
		case 0:
			if i == 0 {
				e = Event{Kind: NewContext, Parent: g.Context, Origin: g.Origin, Executable: randomText(r, length())}
			}
		case 1:
			e.Value = Value{Word: words[r.IntN(len(words))]}
		case 2:
			e.Value = Value{Kind: String, Bytes: randomText(r, length())}
		case 3:
			e.Value = Value{Kind: Blob, Bytes: randomText(r, length()), Truncated: r.IntN(20) == 0, Unreadable: r.IntN(20) == 0}
			whole = whole && !e.Value.Truncated && !e.Value.Unreadable
		}
		g.Events = append(g.Events, e)
	}
	return Append(nil, &g), whole
}

func TestEntriesOfTheAgentUseTheFastDecoder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 5))
	fast := 0
	for range 600 {
		entry, whole := randomEntry(r)
		if len(entry) > MaxEntry {
			continue
		}
		if both(t, entry) {
			fast++
		} else if whole {
			t.Fatalf("not decoded by the fast decoder: %x", entry[:min(len(entry), 200)])
		}
		both(t, append(entry, entry...))
		if cut := entry[:r.IntN(len(entry))]; both(t, cut) {
			t.Fatal("a cut entry is decoded")
		}
		entry[r.IntN(min(len(entry), 300))] ^= 1 << r.IntN(8)
		both(t, entry)
	}
	if fast == 0 {
		t.Error("no entry is decoded by the fast decoder")
	}
}

func FuzzCanonical(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 6))
	for range 20 {
		entry, _ := randomEntry(r)
		f.Add(entry[:min(len(entry), 2000)])
	}
	f.Fuzz(func(t *testing.T, b []byte) { both(t, b) })
}

// The memory of the group is reused: the next entry must not contain data of the previous one.
func TestDecodingOverwritesThePreviousEntry(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 7))
	var reused Group
	for range 150 {
		entry, _ := randomEntry(r)
		var fresh Group
		if n, err := Decode(entry, &fresh); err != nil || n != len(entry) {
			t.Fatal(err)
		}
		if _, err := Decode(entry, &reused); err != nil {
			t.Fatal(err)
		}
		if x, y := fmt.Sprintf("%+v", fresh), fmt.Sprintf("%+v", reused); x != y {
			t.Fatalf("%s\nin reused memory: %s", x, y)
		}
		if !bytes.Equal(Append(nil, &reused), entry) {
			t.Fatal("the reencoded entry differs")
		}
	}
}
