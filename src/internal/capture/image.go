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
	// Vaddr is the link-time address of the segment.
	Vaddr uint64
	// Off is the file offset of its bytes and Filesz their number. The segment's
	// Memsz bytes in memory continue with zeros.
	Off, Filesz, Memsz uint64
	Flags              elf.ProgFlag
}

// FileOffset returns the file offset of addr, which must be in the segment.
func (s *Segment) FileOffset(addr uint64) uint64 { return addr - s.Vaddr + s.Off }

// Image is the contents of a file at its link-time addresses, as processes load it.
type Image struct {
	// Segments are the loadable segments of the file.
	Segments []Segment
	// added holds the strings of AddString, each followed by a NUL.
	added []byte
}

// addedStrings is the link-time address of the first string of AddString. No process
// has an address there, wherever its file is loaded.
const addedStrings = 1 << 62

// AddString assigns a link-time address to a string that is not in the file, for
// constant arguments such as keys for which the code has no string. A string has at
// most 127 bytes as a key, 511 as a value, and no NUL.
func (i *Image) AddString(text string) (addr uint64) {
	if at := bytes.Index(i.added, append([]byte(text), 0)); at >= 0 {
		return addedStrings + uint64(at)
	}
	addr = addedStrings + uint64(len(i.added))
	i.added = append(append(i.added, text...), 0)
	return addr
}

// Added returns the range of the link-time addresses of AddString: size bytes from
// addr.
func (i *Image) Added() (addr, size uint64) { return addedStrings, uint64(len(i.added)) }

// Segment returns the segment whose bytes in the file include the n bytes at addr,
// nil if there is none.
func (i *Image) Segment(addr, n uint64) *Segment {
	for k := range i.Segments {
		s := &i.Segments[k]
		if addr >= s.Vaddr && addr-s.Vaddr < s.Filesz && n <= s.Filesz-(addr-s.Vaddr) {
			return s
		}
	}
	return nil
}

// constant returns the segment of the n bytes at the link-time address addr if the
// file alone determines them: nil if they are in a writable segment or in none.
func (i *Image) constant(addr, n uint64) *Segment {
	for k := range i.Segments {
		s := &i.Segments[k]
		if s.Flags&elf.PF_W != 0 && addr < s.Vaddr+s.Memsz && addr+n > s.Vaddr {
			return nil
		}
	}
	return i.Segment(addr, n)
}

// Constants returns the longest range of link-time addresses, size bytes from addr,
// over consecutive segments that are not writable: in a library, the range that
// contains the literals. BytesAt and StringAt report which of it can be read. size is
// zero if there is none.
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

// BytesAt returns the n bytes at the link-time address addr in a process that loaded
// the image's file r, if the file alone determines them: they must be in one segment
// that is read from the file and not writable. Otherwise, and if r cannot be read,
// it returns false.
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

// StringAt returns the bytes at the link-time address addr up to the first NUL,
// without it, under the conditions of BytesAt, or a string of AddString. It reads at
// most limit bytes: a result of that length may be truncated.
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
	// Long enough for keys and short names, which most strings are.
	const first = 64
	at, left := segment.FileOffset(addr), segment.Filesz-(addr-segment.Vaddr)
	var b []byte
	for step := uint64(first); ; step *= 2 {
		n := min(step, left, uint64(limit-len(b)))
		if n == 0 {
			if len(b) < limit {
				// The segment ends within the string.
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
