// SPDX-License-Identifier: Apache-2.0

package usdt

import (
	"bytes"
	"cmp"
	"debug/elf"
	"io"
	"slices"
)

// constant returns the place in the file of the n bytes at the link-time
// address addr, where the file alone decides what they are: false where a
// writable segment or none holds them.
func (f *File) constant(addr, n uint64) (segment *Segment, ok bool) {
	for i := range f.Segments {
		s := &f.Segments[i]
		if s.Flags&elf.PF_W != 0 && addr < s.Vaddr+s.Memsz && addr+n > s.Vaddr {
			return nil, false
		}
	}
	segment = findSegment(f.Segments, addr, n)
	return segment, segment != nil
}

// Constants returns the longest range of link-time addresses, size bytes from
// addr on, over segments that are not writable and follow one another: in a
// library, where the literals are. What of it can be read, BytesAt and StringAt
// say. A size of zero means that there is none.
func (f *File) Constants() (addr, size uint64) {
	segments := slices.Clone(f.Segments)
	slices.SortFunc(segments, func(a, b Segment) int { return cmp.Compare(a.Vaddr, b.Vaddr) })
	var start, end uint64
	for i := range segments {
		s := &segments[i]
		if s.Flags&elf.PF_W != 0 {
			start, end = 0, 0
			continue
		}
		if end == 0 {
			start = s.Vaddr
		}
		end = max(end, s.Vaddr+s.Memsz)
		if end-start > size {
			addr, size = start, end-start
		}
	}
	return addr, size
}

// BytesAt returns the n bytes that a process which loaded the file r, the one
// f was read from, has at the link-time address addr, as far as the file alone
// decides that: the bytes have to be in one segment that is read from the file
// and not writable. It returns false otherwise, and when r cannot be read.
func (f *File) BytesAt(r io.ReaderAt, addr uint64, n int) ([]byte, bool) {
	if n < 0 {
		return nil, false
	}
	segment, ok := f.constant(addr, uint64(n))
	if !ok {
		return nil, false
	}
	b := make([]byte, n)
	if got, _ := r.ReadAt(b, int64(segment.offset(addr))); got < n {
		return nil, false
	}
	return b, true
}

// StringAt returns the bytes at the link-time address addr up to the first
// NUL, without it, under the conditions of BytesAt. It looks at limit bytes at
// most: a result that long was cut or ends there.
func (f *File) StringAt(r io.ReaderAt, addr uint64, limit int) ([]byte, bool) {
	segment, ok := f.constant(addr, 1)
	if !ok || limit <= 0 {
		return nil, false
	}
	// Most strings are keys and short names.
	const first = 64
	at, left := segment.offset(addr), segment.Filesz-(addr-segment.Vaddr)
	var b []byte
	for step := uint64(first); ; step *= 2 {
		n := min(step, left, uint64(limit-len(b)))
		if n == 0 {
			if len(b) < limit {
				// The segment ends before the string.
				return nil, false
			}
			return b, true
		}
		old := len(b)
		b = append(b, make([]byte, n)...)
		if got, _ := r.ReadAt(b[old:], int64(at)); uint64(got) < n {
			return nil, false
		}
		if end := bytes.IndexByte(b[old:], 0); end >= 0 {
			return b[:old+end], true
		}
		at, left = at+n, left-n
	}
}
