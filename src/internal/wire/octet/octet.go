// SPDX-License-Identifier: Apache-2.0

// Package octet reads the big-endian numbers and length-prefixed vectors of network
// protocols (RFC 8446, section 3; RFC 4251, section 5).
package octet

import "encoding/binary"

// A Reader reads from the front of an untrusted byte slice. A read beyond the end
// returns zero and makes the reader empty and Bad, so that a parser can read all
// fields and check once. Returned slices alias the byte slice.
type Reader struct {
	b   []byte
	bad bool
}

// From returns a reader for b.
func From(b []byte) Reader { return Reader{b: b} }

// Len returns the number of remaining bytes.
func (r *Reader) Len() int { return len(r.b) }

// Rest returns the remaining bytes.
func (r *Reader) Rest() []byte { return r.b }

// Bad reports whether a read went beyond the end.
func (r *Reader) Bad() bool { return r.bad }

// Bytes reads n bytes.
func (r *Reader) Bytes(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.b, r.bad = nil, true
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

// Uint8 reads a byte.
func (r *Reader) Uint8() uint8 {
	if b := r.Bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// Uint16 reads a two-byte number.
func (r *Reader) Uint16() uint16 {
	if b := r.Bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// Uint24 reads a three-byte number.
func (r *Reader) Uint24() int {
	if b := r.Bytes(3); b != nil {
		return int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	}
	return 0
}

// Uint32 reads a four-byte number.
func (r *Reader) Uint32() uint32 {
	if b := r.Bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// Vector8 reads a vector with a one-byte length.
func (r *Reader) Vector8() Reader { return r.vector(int(r.Uint8())) }

// Vector16 reads a vector with a two-byte length.
func (r *Reader) Vector16() Reader { return r.vector(int(r.Uint16())) }

// Vector24 reads a vector with a three-byte length.
func (r *Reader) Vector24() Reader { return r.vector(r.Uint24()) }

// Vector32 reads a vector with a four-byte length, the string and mpint of SSH.
func (r *Reader) Vector32() Reader {
	n := r.Uint32()
	if n > 1<<30 {
		n = 1 << 30 // longer than any slice here, and fits an int of 32 bits
	}
	return r.vector(int(n))
}

func (r *Reader) vector(n int) Reader {
	b := r.Bytes(n)
	return Reader{b: b, bad: r.bad}
}

// BitLength returns the number of bits of an unsigned number without leading zeros.
func BitLength(number []byte) int {
	for len(number) > 0 && number[0] == 0 {
		number = number[1:]
	}
	if len(number) == 0 {
		return 0
	}
	n := len(number) * 8
	for first := number[0]; first&0x80 == 0; first <<= 1 {
		n--
	}
	return n
}
