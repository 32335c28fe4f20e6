// SPDX-License-Identifier: Apache-2.0

package octet_test

import (
	"testing"

	"crypto-auditing/src/internal/wire/octet"
)

func TestReaderReadsNumbersAndVectors(t *testing.T) {
	r := octet.From([]byte{1, 2, 3, 4, 5, 6, 0, 0, 0, 7, 1, 'a', 0, 1, 'b', 0, 0, 1, 'c', 0, 0, 0, 1, 'd', 'e'})
	if r.Uint8() != 1 || r.Uint16() != 0x0203 || r.Uint24() != 0x040506 || r.Uint32() != 7 {
		t.Fatal("numbers differ")
	}
	for i, v := range []octet.Reader{r.Vector8(), r.Vector16(), r.Vector24(), r.Vector32()} {
		if string(v.Rest()) != string(rune('a'+i)) {
			t.Errorf("vector %d is %q", i, v.Rest())
		}
	}
	if r.Bad() || string(r.Rest()) != "e" {
		t.Errorf("%q is left", r.Rest())
	}
}

func TestReaderIsBadAndEmptyPastTheEnd(t *testing.T) {
	for name, read := range map[string]func(*octet.Reader){
		"number":    func(r *octet.Reader) { r.Uint32() },
		"vector":    func(r *octet.Reader) { r.Vector8() },
		"huge":      func(r *octet.Reader) { r.Uint8(); r.Bytes(1 << 30) },
		"negative":  func(r *octet.Reader) { r.Bytes(-1) },
		"in vector": func(r *octet.Reader) { v := r.Vector16(); *r = v },
	} {
		r := octet.From([]byte{255, 255, 1})
		read(&r)
		if !r.Bad() || r.Len() != 0 || r.Uint8() != 0 || !r.Bad() {
			t.Errorf("%s: bad %v, %d bytes left", name, r.Bad(), r.Len())
		}
	}
}

func TestBitLength(t *testing.T) {
	for want, number := range map[int][]byte{0: {0, 0}, 1: {0, 1}, 8: {0x80}, 15: {0x40, 0}, 16: {0, 0xff, 0xff}} {
		if got := octet.BitLength(number); got != want {
			t.Errorf("%x: %d bits", number, got)
		}
	}
}
