// SPDX-License-Identifier: Apache-2.0

package image

import (
	"encoding/binary"
	"errors"
	"slices"
)

// unwindTable is the search table of .eh_frame_hdr. Stripping preserves it.
type unwindTable struct {
	entries []byte
	read    bool
	err     error
}

// Encodings of .eh_frame_hdr that linkers write: the table is relative to the
// header, with entries of two signed 32-bit numbers.
const (
	unwindVersion = 1
	unwindCount   = 0x03
	unwindEntry   = 0x3b
	unwindHeader  = 12
	unwindSize    = 8
	// maxUnwind bounds the table in bytes.
	maxUnwind = 16 << 20
)

var (
	errNoUnwind = errors.New("it has no search table of functions (.eh_frame_hdr)")
	errNoExtent = errors.New("the search table of functions does not have it")
)

func (m *Image) readUnwind() ([]byte, error) {
	t := &m.table
	if t.read {
		return t.entries, t.err
	}
	t.read, t.err = true, errNoUnwind
	if m.unwind == nil || m.unwind.Filesz < unwindHeader || m.unwind.Filesz > maxUnwind {
		return nil, t.err
	}
	b, err := m.file.Read(".eh_frame_hdr", m.unwind.Off, m.unwind.Filesz)
	if err != nil {
		t.err = err
		return nil, err
	}
	if b[0] != unwindVersion || b[2] != unwindCount || b[3] != unwindEntry {
		return nil, t.err
	}
	n := uint64(binary.LittleEndian.Uint32(b[8:]))
	if n > uint64(len(b)-unwindHeader)/unwindSize {
		return nil, t.err
	}
	t.entries, t.err = b[unwindHeader:][:n*unwindSize], nil
	return t.entries, nil
}

// Extent returns the address range of the code that contains addr: a function, or a part
// of a function that the compiler moved elsewhere. A program that was linked statically may
// have no search table; then the sizes of its symbols are used.
func (m *Image) Extent(addr uint64) (start, end uint64, err error) {
	if m.unwind == nil {
		return m.symbolExtent(addr)
	}
	t, err := m.readUnwind()
	if err != nil {
		return 0, 0, err
	}
	relative := func(at int) uint64 {
		return m.unwind.Vaddr + uint64(int64(int32(binary.LittleEndian.Uint32(t[at:]))))
	}
	low, high := 0, len(t)/unwindSize
	for low < high {
		middle := (low + high) / 2
		if relative(middle*unwindSize) <= addr {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low == 0 {
		return 0, 0, errNoExtent
	}
	entry := (low - 1) * unwindSize
	start = relative(entry)
	// The frame description: length, pointer to the common part, then start and size, both
	// 32 bits wide in the output of linkers.
	size, ok := m.word(relative(entry+4)+12, 4)
	if !ok || addr-start >= size {
		return 0, 0, errNoExtent
	}
	return start, start + size, nil
}

// symbolExtent is Extent by the function symbols.
func (m *Image) symbolExtent(addr uint64) (start, end uint64, err error) {
	i, exact := slices.BinarySearch(m.starts, addr)
	if !exact {
		i--
	}
	if i < 0 || addr-m.starts[i] >= m.sizes[m.starts[i]] {
		return 0, 0, errNoUnwind
	}
	return m.starts[i], m.starts[i] + m.sizes[m.starts[i]], nil
}
