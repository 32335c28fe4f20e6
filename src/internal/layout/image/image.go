// SPDX-License-Identifier: Apache-2.0

// Package image presents an ELF file as it is mapped in memory, at link-time addresses:
// code, constants with relocations applied, symbols, extents of functions. It reads pages
// on demand, up to a limit.
package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/elffile"
)

// Limits for one file, in addition to the limits of package elffile.
const (
	pageSize = 16 << 10
	// maxPages bounds the pages in memory: 32 MiB.
	maxPages = 2048
	// maxRelocations bounds the relocations of a file.
	maxRelocations = 1 << 20
	// maxString bounds a constant string.
	maxString = 200
)

// Image is an ELF file in memory. It is not safe for concurrent use.
type Image struct {
	Machine  elf.Machine
	BuildID  []byte
	Segments []capture.Segment

	file  *elffile.File
	relro struct{ start, end uint64 }
	pages map[uint64][]byte
	// last is the page that was used last, lastNumber its number.
	last       []byte
	lastNumber uint64

	symbols map[string]Symbol
	names   map[uint64]string
	starts  []uint64
	// sizes are the sizes of the functions at starts, of a file without a search table.
	sizes map[uint64]uint64

	dynsym, dynstr []byte
	relative       []relocation
	imports        []relocation
	unwind         *elffile.Prog
	table          unwindTable
}

// Symbol is a function or an object of the file.
type Symbol struct {
	Addr, Size uint64
	// Function reports a function.
	Function bool
}

// relocation is a word that the dynamic linker writes: the load bias plus value, or, in
// Image.imports, the address of the symbol with index plus value.
type relocation struct {
	addr, value uint64
	index       uint32
}

// Open opens the ELF file of size bytes in r. It keeps only the symbol names in wanted;
// other symbols are known by address.
func Open(r io.ReaderAt, size int64, wanted map[string]bool) (*Image, error) {
	f, err := elffile.New(r, size)
	if err != nil {
		return nil, err
	}
	m := &Image{
		Machine: f.Machine, BuildID: f.BuildID(), file: f,
		pages: map[uint64][]byte{}, symbols: map[string]Symbol{}, names: map[uint64]string{}, sizes: map[uint64]uint64{},
	}
	if m.Segments, err = f.Loads(); err != nil {
		return nil, err
	}
	for i := range f.Progs {
		switch p := &f.Progs[i]; p.Type {
		case elf.PT_GNU_RELRO:
			m.relro.start, m.relro.end = p.Vaddr, p.Vaddr+p.Memsz
		case elf.PT_GNU_EH_FRAME:
			m.unwind = p
		}
	}
	if err := m.readSymbols(wanted); err != nil {
		return nil, err
	}
	return m, m.readRelocations()
}

// segment returns the segment whose file content covers addr.
func (m *Image) segment(addr uint64) *capture.Segment {
	for i := range m.Segments {
		if s := &m.Segments[i]; addr >= s.Vaddr && addr-s.Vaddr < s.Filesz {
			return s
		}
	}
	return nil
}

// page returns the bytes of the file from off to the end of its page, nil beyond the end
// of the file or after maxPages pages.
func (m *Image) page(off uint64) []byte {
	number := off / pageSize
	if number != m.lastNumber || m.last == nil {
		b, ok := m.pages[number]
		if !ok {
			if len(m.pages) >= maxPages {
				return nil
			}
			start := number * pageSize
			n := min(pageSize, m.file.Size()-min(start, m.file.Size()))
			b, _ = m.file.Read("segment", start, n)
			m.pages[number] = b
		}
		m.last, m.lastNumber = b, number
	}
	return m.last[min(off%pageSize, uint64(len(m.last))):]
}

// bytes returns up to n bytes of the segment s at addr, fewer at the end of the segment
// or the file.
func (m *Image) bytes(s *capture.Segment, addr uint64, n int) []byte {
	n = int(min(uint64(n), s.Filesz-(addr-s.Vaddr)))
	b := m.page(s.FileOffset(addr))
	if len(b) >= n {
		return b[:n]
	}
	out := slices.Clone(b)
	for len(out) < n {
		b := m.page(s.FileOffset(addr) + uint64(len(out)))
		if len(b) == 0 {
			break
		}
		out = append(out, b[:min(len(b), n-len(out))]...)
	}
	return out
}

// maxCode bounds the bytes that Code returns: the longest instruction of x86-64 plus one
// byte.
const maxCode = 16

// Code returns the bytes at addr, at most 16, if addr is in executable memory
// that is not writable, else none.
func (m *Image) Code(addr uint64) []byte {
	s := m.segment(addr)
	if s == nil || s.Flags&elf.PF_X == 0 || s.Flags&elf.PF_W != 0 {
		return nil
	}
	return m.bytes(s, addr, maxCode)
}

// word returns the n bytes at addr in the file, n at most 8, as a number.
func (m *Image) word(addr uint64, n int) (uint64, bool) {
	s := m.segment(addr)
	if s == nil {
		return 0, false
	}
	var w [8]byte
	if copy(w[:n], m.bytes(s, addr, n)) < n {
		return 0, false
	}
	return binary.LittleEndian.Uint64(w[:]), true
}

// Constant returns the n bytes at addr, n at most 8, as a number, if they are constant
// once the file is loaded. Addresses are link-time addresses.
func (m *Image) Constant(addr uint64, n int) (uint64, bool) {
	if n == 8 {
		if v, _, ok := m.Slot(addr); ok {
			return v, v != 0
		}
	}
	s := m.segment(addr)
	if s == nil || s.Flags&elf.PF_W != 0 && (addr < m.relro.start || addr >= m.relro.end) {
		return 0, false
	}
	return m.word(addr, n)
}

// Slot returns the value that the dynamic linker writes to addr: a link-time address in
// this file, or zero and the name of a symbol of another file. ok is false if the linker
// does not write there.
func (m *Image) Slot(addr uint64) (value uint64, name string, ok bool) {
	if r, ok := find(m.relative, addr); ok {
		return r.value, "", true
	}
	r, ok := find(m.imports, addr)
	if !ok {
		return 0, "", false
	}
	s, name, ok := m.dynamic(r.index)
	if !ok {
		return 0, "", false
	}
	if s.section != elf.SHN_UNDEF && s.value != 0 {
		return s.value + r.value, name, true
	}
	return 0, name, true
}

// SlotsWith returns the addresses to which the dynamic linker writes the link-time address
// value of this file, in order.
func (m *Image) SlotsWith(value uint64) []uint64 {
	var out []uint64
	for _, r := range m.relative {
		if r.value == value {
			out = append(out, r.addr)
		}
	}
	return out
}

func find(list []relocation, addr uint64) (relocation, bool) {
	i, ok := slices.BinarySearchFunc(list, addr, func(r relocation, a uint64) int {
		switch {
		case r.addr < a:
			return -1
		case r.addr > a:
			return 1
		}
		return 0
	})
	if !ok {
		return relocation{}, false
	}
	return list[i], true
}

// Text returns the constant string at addr, false if there is no printable ASCII string.
func (m *Image) Text(addr uint64) (string, bool) {
	s := m.segment(addr)
	if s == nil || s.Flags&elf.PF_W != 0 {
		return "", false
	}
	text, _, ended := bytes.Cut(m.bytes(s, addr, maxString), []byte{0})
	if !ended || slices.ContainsFunc(text, func(c byte) bool { return c < ' ' || c > '~' }) {
		return "", false
	}
	return string(text), true
}

// Offset returns the file offset of the instruction at addr.
func (m *Image) Offset(addr uint64) (uint64, bool) {
	s := m.segment(addr)
	if s == nil || s.Flags&elf.PF_X == 0 || s.Flags&elf.PF_W != 0 {
		return 0, false
	}
	return s.FileOffset(addr), true
}

// TextRange returns the link-time address range of the executable segments.
func (m *Image) TextRange() (start, end uint64) {
	for i := range m.Segments {
		s := &m.Segments[i]
		if s.Flags&elf.PF_X == 0 {
			continue
		}
		if end == 0 || s.Vaddr < start {
			start = s.Vaddr
		}
		end = max(end, s.Vaddr+s.Memsz)
	}
	return start, end
}

// errTables is returned for tables that are too large.
func errTables(part string, n, limit int) error {
	return &elffile.FormatError{Part: part, Reason: fmt.Sprintf("%d of them, more than %d", n, limit)}
}
