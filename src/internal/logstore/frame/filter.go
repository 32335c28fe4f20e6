// SPDX-License-Identifier: Apache-2.0

package frame

import (
	"encoding/binary"
	"slices"
)

// TermKind is a kind of term in a filter.
type TermKind byte

// The kinds of terms.
const (
	Name TermKind = iota + 1
	Key
	Executable
	Origin
	Scope
	Unit
	Source
	// Value is a key with a value; see ValueSeed.
	Value
)

// Kinds is a set of term kinds.
type Kinds byte

// KindsOf returns the set of the given kinds.
func KindsOf(kinds ...TermKind) Kinds {
	var set Kinds
	for _, kind := range kinds {
		set |= 1 << (kind - 1)
	}
	return set
}

// Has reports whether the set contains kind.
func (k Kinds) Has(kind TermKind) bool { return kind >= 1 && kind <= 8 && k&(1<<(kind-1)) != 0 }

// TermHash returns the 64-bit hash of a term in a filter: FNV-1a over kind and text, then
// the finaliser of MurmurHash3.
func TermHash[T []byte | string](kind TermKind, text T) uint64 {
	return finish(hashed(begin(kind), text))
}

const fnvPrime = 0x100000001b3

func begin(kind TermKind) uint64 { return (uint64(0xcbf29ce484222325) ^ uint64(kind)) * fnvPrime }

func hashed[T []byte | string](h uint64, text T) uint64 {
	for i := 0; i < len(text); i++ {
		h = (h ^ uint64(text[i])) * fnvPrime
	}
	return h
}

func finish(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// MaxValue is the maximum length, in bytes, of a value that has a term of the kind Value.
const MaxValue = 64

// ValueSeed is the common initial hash of the terms of a key's values.
type ValueSeed uint64

// NewValueSeed returns the seed of a key.
func NewValueSeed[T []byte | string](key T) ValueSeed {
	return ValueSeed(hashed(begin(Value), key))
}

// Word returns the hash of a word as the value. It uses only the lower 16 bits, because
// libraries set bits above the numbers that they report.
func (s ValueSeed) Word(word int64) uint64 {
	h := uint64(s) * fnvPrime // a zero byte
	h = (h ^ uint64(word&0xff)) * fnvPrime
	return finish((h ^ uint64(word>>8&0xff)) * fnvPrime)
}

// Bytes returns the hash of text or bytes as the value; ok is false if they are longer than
// MaxValue and so have no term.
func (s ValueSeed) Bytes(value []byte) (hash uint64, ok bool) {
	if len(value) > MaxValue {
		return 0, false
	}
	return finish(hashed((uint64(s)^1)*fnvPrime, value)), true
}

// Term is a term to look up in a filter.
type Term struct {
	Kind TermKind
	Hash uint64
}

// NewTerm returns the term of the given kind and text.
func NewTerm[T []byte | string](kind TermKind, text T) Term {
	return Term{Kind: kind, Hash: TermHash(kind, text)}
}

// TermsFunc appends the hashes of the terms of an entry: those of the kind Value to values,
// all others to terms.
type TermsFunc func(terms, values []uint64, entry []byte) (allTerms, allValues []uint64)

// Filter is the Bloom filter of a chunk.
type Filter struct {
	// Kinds are the kinds of which the filter has every term.
	Kinds Kinds
	// Hashes is the number of bits set per term.
	Hashes byte
	Bits   []byte
}

const (
	bitsPerTerm = 10
	// hashesPerTerm is the optimum for ten bits per term: ln 2 · 10.
	hashesPerTerm = 7
)

// Reset makes f a filter of the given kinds with the given terms, reusing the memory of f.
// It sorts the terms in place and ignores duplicates.
func (f *Filter) Reset(kinds Kinds, terms []uint64) {
	slices.Sort(terms)
	terms = slices.Compact(terms)
	n := min((len(terms)*bitsPerTerm+7)/8, MaxFilter)
	if kinds == 0 {
		n = 0
	}
	bits := f.Bits[:0]
	if cap(bits) < n {
		bits = make([]byte, 0, n)
	}
	*f = Filter{Kinds: kinds, Hashes: hashesPerTerm, Bits: bits[:n]}
	if n == 0 {
		return
	}
	clear(f.Bits)
	for _, term := range terms {
		f.visit(term, func(at uint32) bool { f.Bits[at/8] |= 1 << (at % 8); return true })
	}
}

// MaxValues is the maximum number of terms of the kind Value in the filter of a chunk or an
// index. With more the filter has none, because its cost would exceed its benefit.
const MaxValues = 2048

// ResetWith is like Reset for terms and values, the terms of the kind Value, which it also
// sorts in place. The filter does not cover values if values is nil or has more than
// MaxValues elements. buffer is memory for both; pass the returned slice to the next call.
func (f *Filter) ResetWith(kinds Kinds, terms, values, buffer []uint64) []uint64 {
	slices.Sort(values)
	values = slices.Compact(values)
	if kinds == 0 || values == nil || len(values) > MaxValues {
		f.Reset(kinds, terms)
		return buffer
	}
	buffer = append(append(buffer[:0], terms...), values...)
	f.Reset(kinds|KindsOf(Value), buffer)
	return buffer
}

// visit calls fn with the bits of a term until fn returns false, and reports whether fn
// never did.
func (f *Filter) visit(term uint64, fn func(bit uint32) bool) bool {
	bit, step, size := uint32(term), uint32(term>>32)|1, uint32(8*len(f.Bits))
	for range f.Hashes {
		if !fn(bit % size) {
			return false
		}
		bit += step
	}
	return true
}

// MayHold reports whether the filter may contain the term.
func (f *Filter) MayHold(term Term) bool {
	if !f.Kinds.Has(term.Kind) {
		return true
	}
	if len(f.Bits) == 0 {
		return false
	}
	return f.visit(term.Hash, func(at uint32) bool { return f.Bits[at/8]&(1<<(at%8)) != 0 })
}

// Matches reports whether, for every set of terms, the filter may contain one of them. No
// sets match everything.
func (f *Filter) Matches(all [][]Term) bool {
	for _, some := range all {
		if !slices.ContainsFunc(some, f.MayHold) {
			return false
		}
	}
	return true
}

// parse reads the filter described by head (4 bytes) from the start of body, and returns the
// rest of body.
func (f *Filter) parse(head, body []byte) (rest []byte, err error) {
	n := int(binary.LittleEndian.Uint16(head))
	if n > MaxFilter {
		return nil, corrupt(KindLimit, "filter of %d bytes is longer than %d", n, MaxFilter)
	}
	if n > len(body) {
		return nil, corrupt(KindHeader, "filter of %d bytes in a frame with room for %d", n, len(body))
	}
	if head[3] > maxHashes {
		return nil, corrupt(KindLimit, "filter with %d hashes, more than %d", head[3], maxHashes)
	}
	*f = Filter{Kinds: Kinds(head[2]), Hashes: head[3], Bits: body[:n]}
	return body[n:], nil
}

// Clone returns a copy of f with its own memory.
func (f *Filter) Clone() Filter {
	return Filter{Kinds: f.Kinds, Hashes: f.Hashes, Bits: slices.Clone(f.Bits)}
}
