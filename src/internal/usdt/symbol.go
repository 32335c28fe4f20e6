// SPDX-License-Identifier: Apache-2.0

package usdt

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"

	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/elffile"
)

// Sizes of table entries in bytes.
const (
	symbolSize     = 24
	relocationSize = 24
	dynamicSize    = 16

	// maxDynamic bounds the dynamic section; linkers write less than 1 KiB.
	maxDynamic = 64 << 10
	// maxNamePlaces bounds the occurrences of one name in a string table. A name
	// occurs once, or twice if it is also the end of a longer one.
	maxNamePlaces = 1024
)

var (
	errNoSymbol = errors.New("the file has neither the symbol nor a slot for it: it was stripped; copy the value to a local variable before the probe")
	errNotOwn   = errors.New("the symbol may be another library's, and the file has no slot for it: copy the value to a local variable before the probe")
	errTwice    = errors.New("the file has several symbols of this name: copy the value to a local variable before the probe")
	errNoPlace  = errors.New("the symbol is not the address of a variable or a function: copy the value to a local variable before the probe")
)

// symbols resolves the symbols named in argument specifications. The compiler writes
// such a specification for the address of a variable or function that another
// library may define. The address is in the slot of the global offset table that the
// dynamic linker fills (System V ABI, AMD64 supplement, R_X86_64_GLOB_DAT). A symbol
// that the linker bound to the library itself, for example because of a version
// script, has no slot: its address is known.
type symbols struct {
	*elffile.File
	segments []capture.Segment
	known    map[string]symbolValue
}

// symbolValue is the replacement of an ArgSymbol.
type symbolValue struct {
	kind capture.ArgKind
	off  uint64
	err  error
}

// resolve replaces each ArgSymbol. The error is a *SpecError.
func (s *symbols) resolve(args []capture.Arg) error {
	for i := range args {
		a := &args[i]
		if a.Kind != capture.ArgSymbol {
			continue
		}
		v, ok := s.known[a.Symbol]
		if !ok {
			if len(s.known) == MaxSymbols {
				return &SpecError{shorten(a.Symbol), fmt.Sprintf("the file names more than %d symbols", MaxSymbols)}
			}
			v = s.value(a.Symbol)
			if s.known == nil {
				s.known = map[string]symbolValue{}
			}
			s.known[a.Symbol] = v
		}
		if v.err != nil {
			return &SpecError{shorten(a.Symbol), v.err.Error()}
		}
		a.Kind, a.Off, a.Symbol = v.kind, int64(v.off), ""
	}
	return nil
}

// symbol is an entry of a symbol table.
type symbol struct {
	index   uint32
	typ     elf.SymType
	bind    elf.SymBind
	visible elf.SymVis
	section elf.SectionIndex
	value   uint64
}

func (s *symbols) value(name string) symbolValue {
	slots, err := s.slots(name)
	if err != nil {
		return symbolValue{err: err}
	}
	if len(slots) == 1 {
		return symbolValue{kind: capture.ArgImageMem, off: slots[0]}
	}
	if len(slots) > 1 {
		// One slot for each version of the symbol.
		return symbolValue{err: errTwice}
	}
	var address uint64
	found := false
	for _, typ := range []elf.SectionType{elf.SHT_DYNSYM, elf.SHT_SYMTAB} {
		all, err := s.named(typ, name)
		if err != nil {
			return symbolValue{err: err}
		}
		for _, y := range all {
			switch {
			case y.section == elf.SHN_UNDEF:
				return symbolValue{err: errNotOwn}
			case y.section >= elf.SHN_LORESERVE && y.section != elf.SHN_XINDEX,
				y.typ != elf.STT_NOTYPE && y.typ != elf.STT_OBJECT && y.typ != elf.STT_FUNC,
				!s.inMemory(y.value):
				return symbolValue{err: errNoPlace}
			case found && y.value != address:
				return symbolValue{err: errTwice}
			case typ == elf.SHT_DYNSYM && y.bind != elf.STB_LOCAL && y.visible == elf.STV_DEFAULT && !s.bindsItself():
				return symbolValue{err: errNotOwn}
			}
			address, found = y.value, true
		}
	}
	if !found {
		return symbolValue{err: errNoSymbol}
	}
	return symbolValue{kind: capture.ArgImageAddr, off: address}
}

func (s *symbols) inMemory(addr uint64) bool {
	for i := range s.segments {
		if p := &s.segments[i]; addr >= p.Vaddr && addr-p.Vaddr < p.Memsz {
			return true
		}
	}
	return false
}

// slots returns the addresses of the symbol's slots in the global offset table, at
// most one for each symbol of that name.
func (s *symbols) slots(name string) ([]uint64, error) {
	all, err := s.named(elf.SHT_DYNSYM, name)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	indices, found := map[uint32]bool{}, map[uint32]bool{}
	for _, y := range all {
		indices[y.index] = true
	}
	var slots []uint64
	for i := range s.Sections {
		r := &s.Sections[i]
		if r.Type != elf.SHT_RELA || uint64(r.Link) >= uint64(len(s.Sections)) || s.Sections[r.Link].Type != elf.SHT_DYNSYM { //nolint:misspell // that of the System V ABI
			continue
		}
		err := s.Entries("relocations", r, relocationSize, func(_ uint32, b []byte) error {
			le := binary.LittleEndian
			place, info, addend := le.Uint64(b), le.Uint64(b[8:]), le.Uint64(b[16:])
			if elf.R_X86_64(uint32(info)) != elf.R_X86_64_GLOB_DAT || !indices[uint32(info>>32)] || found[uint32(info>>32)] {
				return nil
			}
			if addend != 0 || place%8 != 0 || !s.inMemory(place) {
				return errNoPlace
			}
			found[uint32(info>>32)] = true
			slots = append(slots, place)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return slots, nil
}

// bindsItself reports whether the file always uses its own definition of a symbol:
// it is a program, or was linked with -Bsymbolic.
func (s *symbols) bindsItself() bool {
	if s.Type == elf.ET_EXEC {
		return true
	}
	for i := range s.Progs {
		p := &s.Progs[i]
		if p.Type != elf.PT_DYNAMIC || p.Filesz > maxDynamic {
			continue
		}
		b, err := s.Read("dynamic section", p.Off, p.Filesz)
		if err != nil {
			return false
		}
		for ; len(b) >= dynamicSize; b = b[dynamicSize:] {
			value := binary.LittleEndian.Uint64(b[8:])
			switch elf.DynTag(binary.LittleEndian.Uint64(b)) {
			case elf.DT_NULL:
				return false
			case elf.DT_SYMBOLIC:
				return true
			case elf.DT_FLAGS:
				if elf.DynFlag(value)&elf.DF_SYMBOLIC != 0 {
					return true
				}
			case elf.DT_FLAGS_1:
				if elf.DynFlag1(value)&elf.DF_1_PIE != 0 {
					return true
				}
			}
		}
	}
	return false
}

// named returns the symbols of a name in the first symbol table of the type.
func (s *symbols) named(typ elf.SectionType, name string) ([]symbol, error) {
	for i := range s.Sections {
		t := &s.Sections[i]
		if t.Type != typ {
			continue
		}
		if uint64(t.Link) >= uint64(len(s.Sections)) {
			return nil, &FormatError{Part: "symbol table", Reason: "it has no names"}
		}
		places, err := s.places(&s.Sections[t.Link], name)
		if err != nil || len(places) == 0 {
			return nil, err
		}
		var all []symbol
		err = s.Entries("symbol table", t, symbolSize, func(index uint32, b []byte) error {
			le := binary.LittleEndian
			if !places[le.Uint32(b)] {
				return nil
			}
			if len(all) == maxNamePlaces {
				return errTwice
			}
			all = append(all, symbol{
				index: index, typ: elf.ST_TYPE(b[4]), bind: elf.ST_BIND(b[4]), visible: elf.ST_VISIBILITY(b[5]),
				section: elf.SectionIndex(le.Uint16(b[6:])), value: le.Uint64(b[8:]),
			})
			return nil
		})
		return all, err
	}
	return nil, nil
}

// places returns the offsets of a name in a string table. It may be the end of a
// longer name.
func (s *symbols) places(table *elffile.Section, name string) (map[uint32]bool, error) {
	if table.Size > elffile.MaxTable {
		return nil, &FormatError{Part: "symbol names", Reason: fmt.Sprintf("%d bytes, more than %d", table.Size, elffile.MaxTable)}
	}
	want := append([]byte(name), 0)
	places := map[uint32]bool{}
	const step = 64 << 10
	for at := uint64(0); at < table.Size; at += step {
		// The parts overlap, so that no name is split between two.
		b, err := s.Read("symbol names", table.Off+at, min(step+uint64(len(want))-1, table.Size-at))
		if err != nil {
			return nil, err
		}
		for from := 0; ; {
			next := bytes.Index(b[from:], want)
			if next < 0 {
				break
			}
			places[uint32(at)+uint32(from+next)] = true
			from += next + 1
		}
		if len(places) > maxNamePlaces {
			return nil, &FormatError{Part: "symbol names", Reason: fmt.Sprintf("one occurs more than %d times", maxNamePlaces)}
		}
	}
	return places, nil
}
