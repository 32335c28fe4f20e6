// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"slices"

	"crypto-auditing/src/internal/elffile"
)

// Sizes of table entries.
const (
	symbolSize     = 24
	relocationSize = 24
	relativeSize   = 8

	// maxFunction bounds the size of a function, in bytes.
	maxFunction = 16 << 20

	// sectionRelative is SHT_RELR, the packed relative relocations.
	sectionRelative elf.SectionType = 19
)

// symbol is an entry of a symbol table.
type symbol struct {
	typ     elf.SymType
	section elf.SectionIndex
	name    uint32
	value   uint64
	size    uint64
}

func parseSymbol(b []byte) symbol {
	le := binary.LittleEndian
	return symbol{
		typ: elf.ST_TYPE(b[4]), section: elf.SectionIndex(le.Uint16(b[6:])),
		name: le.Uint32(b), value: le.Uint64(b[8:]), size: le.Uint64(b[16:]),
	}
}

// nameAt returns the name at off of a string table, nil if it is not terminated.
func nameAt(table []byte, off uint32) []byte {
	if uint64(off) >= uint64(len(table)) {
		return nil
	}
	rest := table[off:]
	end := bytes.IndexByte(rest, 0)
	if end < 0 {
		return nil
	}
	return rest[:end]
}

// tables reads the first symbol table of a type and its names.
func (m *Image) tables(typ elf.SectionType) (symbols, names []byte, err error) {
	for i := range m.file.Sections {
		t := &m.file.Sections[i]
		if t.Type != typ || t.Entry != symbolSize || uint64(t.Link) >= uint64(len(m.file.Sections)) {
			continue
		}
		n := &m.file.Sections[t.Link]
		if t.Size > elffile.MaxTable || n.Size > elffile.MaxTable {
			return nil, nil, errTables("symbols and names in bytes", int(max(t.Size, n.Size)), elffile.MaxTable)
		}
		if symbols, err = m.file.Read("symbol table", t.Off, t.Size); err != nil {
			return nil, nil, err
		}
		names, err = m.file.Read("symbol names", n.Off, n.Size)
		return symbols, names, err
	}
	return nil, nil, nil
}

// readSymbols finds the wanted symbols in the dynamic symbol table, and in the full table
// if the dynamic one has few of them. A name that occurs several times in the full table
// is not used: it may be a static function of another source file.
func (m *Image) readSymbols(wanted map[string]bool) error {
	var err error
	if m.dynsym, m.dynstr, err = m.tables(elf.SHT_DYNSYM); err != nil {
		return err
	}
	m.addSymbols(m.dynsym, m.dynstr, wanted)
	// The full table of a library repeats the dynamic one. The full table of a program
	// includes what was statically linked.
	if len(m.symbols) < len(wanted)/4 {
		symbols, names, err := m.tables(elf.SHT_SYMTAB)
		if err != nil {
			return err
		}
		m.addSymbols(symbols, names, wanted)
	}
	slices.Sort(m.starts)
	m.starts = slices.Compact(m.starts)
	return nil
}

func (m *Image) addSymbols(symbols, names []byte, wanted map[string]bool) {
	found := map[string]Symbol{}
	twice := map[string]bool{}
	for b := symbols; len(b) >= symbolSize; b = b[symbolSize:] {
		y := parseSymbol(b)
		if y.section == elf.SHN_UNDEF || y.value == 0 || y.typ != elf.STT_FUNC && y.typ != elf.STT_OBJECT {
			continue
		}
		if y.typ == elf.STT_FUNC {
			m.starts = append(m.starts, y.value)
			if m.unwind == nil {
				m.sizes[y.value] = max(m.sizes[y.value], min(y.size, maxFunction))
			}
		}
		name := nameAt(names, y.name)
		if !wanted[string(name)] {
			continue
		}
		s := Symbol{y.value, y.size, y.typ == elf.STT_FUNC}
		if old, ok := found[string(name)]; ok && old.Addr != s.Addr {
			twice[string(name)] = true
		}
		found[string(name)] = s
	}
	for name, s := range found {
		if _, ok := m.symbols[name]; ok || twice[name] {
			continue
		}
		m.symbols[name] = s
		if s.Function {
			if old, ok := m.names[s.Addr]; !ok || name < old {
				m.names[s.Addr] = name
			}
		}
	}
}

// dynamic returns a symbol of the dynamic table and its name.
func (m *Image) dynamic(index uint32) (symbol, string, bool) {
	at := uint64(index) * symbolSize
	if index == 0 || at+symbolSize > uint64(len(m.dynsym)) {
		return symbol{}, "", false
	}
	y := parseSymbol(m.dynsym[at:])
	return y, string(nameAt(m.dynstr, y.name)), true
}

// Function returns the address of the function called name.
func (m *Image) Function(name string) (uint64, bool) {
	s, ok := m.symbols[name]
	return s.Addr, ok && s.Function
}

// Aliases returns the wanted names at addr: a linker may fold functions with identical
// code.
func (m *Image) Aliases(addr uint64) []string {
	var all []string
	for name, s := range m.symbols {
		if s.Addr == addr && s.Function {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// IsStart reports whether a function symbol has the address addr.
func (m *Image) IsStart(addr uint64) bool {
	_, ok := slices.BinarySearch(m.starts, addr)
	return ok
}

// Name returns the wanted name of the function at addr, or "".
func (m *Image) Name(addr uint64) string { return m.names[addr] }

// readRelocations reads the relocations that the dynamic linker applies.
func (m *Image) readRelocations() error {
	want := map[elf.Machine]uint32{elf.EM_X86_64: uint32(elf.R_X86_64_RELATIVE), elf.EM_AARCH64: uint32(elf.R_AARCH64_RELATIVE)}[m.Machine]
	for i := range m.file.Sections {
		s := &m.file.Sections[i]
		if s.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		var err error
		switch s.Type {
		case elf.SHT_RELA: //nolint:misspell // that of the System V ABI
			err = m.file.Entries("relocations", s, relocationSize, func(i uint32, b []byte) error {
				le := binary.LittleEndian
				r := relocation{addr: le.Uint64(b), value: le.Uint64(b[16:])}
				info := le.Uint64(b[8:])
				if r.index = uint32(info >> 32); r.index == 0 && uint32(info) == want {
					return m.addRelative(r, s.Size/relocationSize-uint64(i))
				}
				if len(m.imports) >= maxRelocations {
					return errTables("relocations", len(m.imports)+1, maxRelocations)
				}
				m.imports = append(m.imports, r)
				return nil
			})
		case sectionRelative:
			err = m.readRelative(s)
		}
		if err != nil {
			return err
		}
	}
	for _, list := range [][]relocation{m.relative, m.imports} {
		byAddr := func(a, b relocation) int { return cmp.Compare(a.addr, b.addr) }
		if !slices.IsSortedFunc(list, byAddr) {
			slices.SortFunc(list, byAddr)
		}
	}
	return nil
}

// addRelative adds a relocation. left is how many the section may still have, with this one.
func (m *Image) addRelative(r relocation, left uint64) error {
	if len(m.relative) >= maxRelocations {
		return errTables("relocations", len(m.relative)+1, maxRelocations)
	}
	if len(m.relative) == cap(m.relative) {
		m.relative = slices.Grow(m.relative, int(min(left, maxRelocations)))
	}
	m.relative = append(m.relative, r)
	return nil
}

// readRelative reads packed relative relocations: even words are addresses, odd words are
// bitmaps of the 63 words after the last address (System V ABI, DT_RELR).
func (m *Image) readRelative(s *elffile.Section) error {
	var next uint64
	add := func(addr uint64) error {
		value, ok := m.word(addr, 8)
		if !ok {
			return nil
		}
		return m.addRelative(relocation{addr: addr, value: value}, 1)
	}
	return m.file.Entries("relocations", s, relativeSize, func(_ uint32, b []byte) error {
		w := binary.LittleEndian.Uint64(b)
		if w&1 == 0 {
			next = w + 8
			return add(w)
		}
		for at := next; w > 1; at += 8 {
			if w >>= 1; w&1 != 0 {
				if err := add(at); err != nil {
					return err
				}
			}
		}
		next += 63 * 8
		return nil
	})
}
