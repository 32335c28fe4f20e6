// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"cmp"
	"debug/elf"
	"io"
	"slices"
)

// Segment is a loadable segment (PT_LOAD).
type Segment struct {
	// Vaddr is the address the segment was linked for.
	Vaddr uint64
	// Off is where its bytes begin in the file, Filesz how many there are;
	// the segment's Memsz bytes in memory continue with zeros.
	Off, Filesz, Memsz uint64
	Flags              elf.ProgFlag
}

// FileOffset returns the place of addr, which is in the segment, in the file.
func (s *Segment) FileOffset(addr uint64) uint64 { return addr - s.Vaddr + s.Off }

// Image is what processes that load a file have at its link-time addresses.
type Image struct {
	// Segments are the loadable segments of the file.
	Segments []Segment
	// added are the strings of AddString, each followed by a NUL.
	added []byte
}

// addedStrings is the link-time address of the first string of AddString. No
// process has an address there, whatever its file is loaded at.
const addedStrings = 1 << 62

// AddString gives a string that is not in the file a link-time address, for
// arguments that are always the same, such as keys where the code has none. A
// string has at most 127 bytes as a key, 511 as a value, and no NUL.
func (i *Image) AddString(text string) (addr uint64) {
	if at := bytes.Index(i.added, append([]byte(text), 0)); at >= 0 {
		return addedStrings + uint64(at)
	}
	addr = addedStrings + uint64(len(i.added))
	i.added = append(append(i.added, text...), 0)
	return addr
}

// Added returns the range of the link-time addresses of AddString, size bytes
// from addr on.
func (i *Image) Added() (addr, size uint64) { return addedStrings, uint64(len(i.added)) }

// Segment returns the segment whose bytes in the file hold the n bytes at
// addr, nil when there is none.
func (i *Image) Segment(addr, n uint64) *Segment {
	for k := range i.Segments {
		s := &i.Segments[k]
		if addr >= s.Vaddr && addr-s.Vaddr < s.Filesz && n <= s.Filesz-(addr-s.Vaddr) {
			return s
		}
	}
	return nil
}

// constant returns the segment of the n bytes at the link-time address addr,
// where the file alone decides what they are: nil where a writable segment or
// none holds them.
func (i *Image) constant(addr, n uint64) *Segment {
	for k := range i.Segments {
		s := &i.Segments[k]
		if s.Flags&elf.PF_W != 0 && addr < s.Vaddr+s.Memsz && addr+n > s.Vaddr {
			return nil
		}
	}
	return i.Segment(addr, n)
}

// Constants returns the longest range of link-time addresses, size bytes from
// addr on, over segments that are not writable and follow one another: in a
// library, where the literals are. What of it can be read, BytesAt and StringAt
// say. A size of zero means that there is none.
func (i *Image) Constants() (addr, size uint64) {
	segments := slices.Clone(i.Segments)
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
// the image is of, has at the link-time address addr, as far as the file alone
// decides that: the bytes have to be in one segment that is read from the file
// and not writable. It returns false otherwise, and when r cannot be read.
func (i *Image) BytesAt(r io.ReaderAt, addr uint64, n int) ([]byte, bool) {
	if n < 0 {
		return nil, false
	}
	segment := i.constant(addr, uint64(n))
	if segment == nil {
		return nil, false
	}
	b := make([]byte, n)
	if got, _ := r.ReadAt(b, int64(segment.FileOffset(addr))); got < n {
		return nil, false
	}
	return b, true
}

// StringAt returns the bytes at the link-time address addr up to the first
// NUL, without it, under the conditions of BytesAt, or a string of AddString.
// It looks at limit bytes at most: a result that long was cut or ends there.
func (i *Image) StringAt(r io.ReaderAt, addr uint64, limit int) ([]byte, bool) {
	if limit <= 0 {
		return nil, false
	}
	if at := addr - addedStrings; at < uint64(len(i.added)) {
		text, _, _ := bytes.Cut(i.added[at:], []byte{0})
		return text[:min(len(text), limit)], true
	}
	segment := i.constant(addr, 1)
	if segment == nil {
		return nil, false
	}
	// Most strings are keys and short names.
	const first = 64
	at, left := segment.FileOffset(addr), segment.Filesz-(addr-segment.Vaddr)
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
