// SPDX-License-Identifier: Apache-2.0

// Package elffile reads headers, notes and tables of little-endian 64-bit ELF files
// that may be hostile: it checks every offset and length against the file and the
// limits below before use, and never reads a whole file. debug/elf is not designed for
// such files.
//
// Source: the System V ABI (ELF-64).
package elffile

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"crypto-auditing/src/internal/capture"
)

// Limits on what is read from one file. The largest libraries in use stay far below;
// a file beyond them is hostile or broken.
const (
	// MaxSections bounds the section headers of a file.
	MaxSections = 8192
	// MaxSegments bounds the program headers of a file.
	MaxSegments = 1024
	// MaxSectionNames bounds the section name table, in bytes.
	MaxSectionNames = 1 << 20
	// MaxBuildID bounds a build-id, in bytes; linkers write 8 to 32.
	MaxBuildID = 64
	// MaxTable bounds one table of symbols, of names or of relocations, in bytes.
	MaxTable = 16 << 20
)

// Sizes of the structures of a 64-bit ELF file.
const (
	identSize   = 16
	headerSize  = 64
	segmentSize = 56
	sectionSize = 64
)

// File is an open ELF file with its headers. It is safe for concurrent use if its
// reader is.
type File struct {
	r    io.ReaderAt
	size uint64

	// Machine is the architecture: EM_X86_64 or EM_AARCH64.
	Machine elf.Machine
	// Type is ET_EXEC or ET_DYN.
	Type elf.Type
	// Progs are the program headers, Sections the section headers, if any.
	Progs    []Prog
	Sections []Section
}

// Prog is a program header.
type Prog struct {
	capture.Segment
	Type  elf.ProgType
	Align uint64
}

// Section is a section header. Name is empty if the name is longer than any that is
// looked up.
type Section struct {
	Name            string
	Type            elf.SectionType
	Flags           elf.SectionFlag
	Addr, Off, Size uint64
	Align, Entry    uint64
	// Link is the index of an associated section.
	Link uint32
}

// Read returns the n bytes at off, or a *FormatError if the file is shorter. The caller
// bounds n.
func (e *File) Read(part string, off, n uint64) ([]byte, error) {
	if err := e.checkRange(part, off, n); err != nil {
		return nil, err
	}
	b := make([]byte, n)
	if err := e.readAt(b, part, off); err != nil {
		return nil, err
	}
	return b, nil
}

func (e *File) checkRange(part string, off, n uint64) error {
	if off > e.size || n > e.size-off {
		return &FormatError{part, fmt.Sprintf("goes beyond the end of the file (%d bytes at %d, the file has %d)", n, off, e.size)}
	}
	return nil
}

// readAt fills b with the bytes at off, which are in the file.
func (e *File) readAt(b []byte, part string, off uint64) error {
	if got, err := e.r.ReadAt(b, int64(off)); got < len(b) {
		if err == nil || errors.Is(err, io.EOF) {
			return &FormatError{part, "the file was cut off while it was read"}
		}
		return fmt.Errorf("cannot read %s: %w", part, err)
	}
	return nil
}

// New reads the headers of the ELF file of size bytes in r. The error is ErrNotELF, a
// *FormatError, an *UnsupportedError, or an error of r.
func New(r io.ReaderAt, size int64) (*File, error) {
	if size < identSize {
		return nil, ErrNotELF
	}
	e := &File{r: r, size: uint64(size)}
	ident, err := e.Read("ELF header", 0, identSize)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(ident, []byte(elf.ELFMAG)) {
		return nil, ErrNotELF
	}
	class, data := elf.Class(ident[elf.EI_CLASS]), elf.Data(ident[elf.EI_DATA])
	var order binary.ByteOrder
	switch data {
	case elf.ELFDATA2LSB:
		order = binary.LittleEndian
	case elf.ELFDATA2MSB:
		order = binary.BigEndian
	default:
		return nil, &FormatError{"ELF header", fmt.Sprintf("unknown byte order %d", data)}
	}
	if class != elf.ELFCLASS32 && class != elf.ELFCLASS64 {
		return nil, &FormatError{"ELF header", fmt.Sprintf("unknown class %d", class)}
	}

	// Type and machine have the same offsets in 32-bit files.
	kind, err := e.Read("ELF header", identSize, 4)
	if err != nil {
		return nil, err
	}
	typ := elf.Type(order.Uint16(kind))
	e.Machine = elf.Machine(order.Uint16(kind[2:]))
	if class != elf.ELFCLASS64 || data != elf.ELFDATA2LSB || e.Machine != elf.EM_X86_64 && e.Machine != elf.EM_AARCH64 {
		return nil, &UnsupportedError{Machine: e.Machine, Class: class, Data: data}
	}
	if typ != elf.ET_EXEC && typ != elf.ET_DYN {
		return nil, &UnsupportedError{Machine: e.Machine, Class: class, Data: data, Type: typ}
	}

	e.Type = typ
	h, err := e.Read("ELF header", 0, headerSize)
	if err != nil {
		return nil, err
	}
	return e, e.readTables(h)
}

// readTables reads the program and section headers that the ELF header h locates.
func (e *File) readTables(h []byte) error {
	le := binary.LittleEndian
	phoff, shoff := le.Uint64(h[32:]), le.Uint64(h[40:])
	phentsize, phnum := le.Uint16(h[54:]), uint64(le.Uint16(h[56:]))
	shentsize, shnum := le.Uint16(h[58:]), uint64(le.Uint16(h[60:]))
	names := uint64(le.Uint16(h[62:]))

	// The first section header holds numbers that are too large for the ELF header.
	if shoff != 0 && (shnum == 0 || phnum == 0xffff || names == uint64(elf.SHN_XINDEX)) {
		first, err := e.Read("section headers", shoff, sectionSize)
		if err != nil {
			return err
		}
		if shnum == 0 {
			shnum = le.Uint64(first[32:])
		}
		if phnum == 0xffff {
			phnum = uint64(le.Uint32(first[44:]))
		}
		if names == uint64(elf.SHN_XINDEX) {
			names = uint64(le.Uint32(first[40:]))
		}
	}
	if err := e.readSegments(phoff, phnum, phentsize); err != nil {
		return err
	}
	if shoff == 0 || shnum == 0 {
		return nil
	}
	return e.readSections(shoff, shnum, names, shentsize)
}

func (e *File) readSegments(off, num uint64, entry uint16) error {
	if num == 0 {
		return &FormatError{"program headers", "there are none"}
	}
	if entry != segmentSize {
		return &FormatError{"program headers", fmt.Sprintf("entries have %d bytes, not %d", entry, segmentSize)}
	}
	if num > MaxSegments {
		return &FormatError{"program headers", fmt.Sprintf("%d of them, more than %d", num, MaxSegments)}
	}
	b, err := e.Read("program headers", off, num*segmentSize)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	e.Progs = make([]Prog, num)
	for i := range e.Progs {
		p := b[i*segmentSize:]
		e.Progs[i] = Prog{
			Segment: capture.Segment{
				Vaddr: le.Uint64(p[16:]), Off: le.Uint64(p[8:]),
				Filesz: le.Uint64(p[32:]), Memsz: le.Uint64(p[40:]),
				Flags: elf.ProgFlag(le.Uint32(p[4:])),
			},
			Type:  elf.ProgType(le.Uint32(p)),
			Align: le.Uint64(p[48:]),
		}
	}
	return nil
}

func (e *File) readSections(off, num, names uint64, entry uint16) error {
	if entry != sectionSize {
		return &FormatError{"section headers", fmt.Sprintf("entries have %d bytes, not %d", entry, sectionSize)}
	}
	if num > MaxSections {
		return &FormatError{"section headers", fmt.Sprintf("%d of them, more than %d", num, MaxSections)}
	}
	b, err := e.Read("section headers", off, num*sectionSize)
	if err != nil {
		return err
	}
	if names >= num {
		return &FormatError{"section names", fmt.Sprintf("section %d of %d does not exist", names, num)}
	}
	le := binary.LittleEndian
	at := b[names*sectionSize:]
	tableOff, tableSize := le.Uint64(at[24:]), le.Uint64(at[32:])
	if tableSize > MaxSectionNames {
		return &FormatError{"section names", fmt.Sprintf("%d bytes, more than %d", tableSize, MaxSectionNames)}
	}
	table, err := e.Read("section names", tableOff, tableSize)
	if err != nil {
		return err
	}
	e.Sections = make([]Section, num)
	for i := range e.Sections {
		s := b[i*sectionSize:]
		e.Sections[i] = Section{
			Type: elf.SectionType(le.Uint32(s[4:])), Flags: elf.SectionFlag(le.Uint64(s[8:])),
			Addr: le.Uint64(s[16:]), Off: le.Uint64(s[24:]), Size: le.Uint64(s[32:]),
			Link: le.Uint32(s[40:]), Align: le.Uint64(s[48:]), Entry: le.Uint64(s[56:]),
			Name: sectionName(table, le.Uint32(s)),
		}
	}
	return nil
}

// longestSectionName is the length of the longest section name that is looked up.
const longestSectionName = len(".data.rel.ro.gopclntab")

// sectionName returns the name at off in the name table, or "" if it is longer than
// longestSectionName.
func sectionName(table []byte, off uint32) string {
	if uint64(off) >= uint64(len(table)) {
		return ""
	}
	rest := table[off:min(len(table), int(off)+longestSectionName+1)]
	end := bytes.IndexByte(rest, 0)
	if end < 0 {
		return ""
	}
	return string(rest[:end])
}

// Section returns the first section called name, or nil.
func (e *File) Section(name string) *Section {
	for i := range e.Sections {
		if e.Sections[i].Name == name {
			return &e.Sections[i]
		}
	}
	return nil
}

// Loads returns the loadable segments. A segment that is not completely in the file is
// an error: the headers do not match the content then.
func (e *File) Loads() ([]capture.Segment, error) {
	var segments []capture.Segment
	for i, p := range e.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		part := fmt.Sprintf("program header %d", i)
		switch {
		case p.Off > e.size || p.Filesz > e.size-p.Off:
			return nil, &FormatError{part, fmt.Sprintf("its segment goes beyond the end of the file (%d bytes at %d, the file has %d): "+
				"the file was cut off, or holds debugging information only", p.Filesz, p.Off, e.size)}
		case p.Filesz > p.Memsz:
			return nil, &FormatError{part, "its segment has more bytes in the file than in memory"}
		case p.Vaddr+p.Memsz < p.Vaddr:
			return nil, &FormatError{part, "its segment goes beyond the end of the address space"}
		}
		segments = append(segments, p.Segment)
	}
	return segments, nil
}

// Open opens the regular file at path for New and returns its size. It never blocks, as
// it would on a FIFO without a writer.
func Open(path string) (f *os.File, size int64, err error) {
	f, err = os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// Size returns the size of the file in bytes.
func (e *File) Size() uint64 { return e.size }
