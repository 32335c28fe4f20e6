// SPDX-License-Identifier: Apache-2.0

package usdt

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// What marks the notes looked for.
const (
	probeNoteSection = ".note.stapsdt"
	baseSection      = ".stapsdt.base"
	buildIDSection   = ".note.gnu.build-id"

	probeNoteOwner = "stapsdt"
	probeNoteType  = 3
	buildIDOwner   = "GNU"
	buildIDType    = 3

	// noteHeader is the size of the name length, the descriptor length and
	// the type that a note begins with.
	noteHeader = 12
)

// note is one ELF note. Desc aliases the bytes it was read from.
type note struct {
	// index counts the notes of the file, where somebody wants to know.
	index int
	owner string
	typ   uint32
	desc  []byte
}

var errNoteCut = errors.New("the note goes beyond the end of its section")

// nextNote reads the note b begins with and returns what follows it. Parts of
// a note are padded to align bytes, 4 or 8.
func nextNote(b []byte, align uint64) (n note, rest []byte, err error) {
	if len(b) < noteHeader {
		return n, nil, errNoteCut
	}
	le := binary.LittleEndian
	nameLen, descLen := uint64(le.Uint32(b)), uint64(le.Uint32(b[4:]))
	n.typ = le.Uint32(b[8:])

	// Sums of 32-bit numbers do not overflow 64 bits.
	size := uint64(len(b))
	descAt := (noteHeader + nameLen + align - 1) &^ (align - 1)
	if noteHeader+nameLen > size || descAt > size || descLen > size-descAt {
		return n, nil, errNoteCut
	}
	n.owner = string(bytes.TrimSuffix(b[noteHeader:noteHeader+min(nameLen, 32)], []byte{0}))
	n.desc = b[descAt : descAt+descLen]

	// The last note need not be padded.
	end := min((descAt+descLen+align-1)&^(align-1), size)
	return n, b[end:], nil
}

// probe is what a probe note says.
type probe struct {
	addr, base, semaphore uint64
	provider, name, args  string
}

// probe reads the descriptor of a probe note: the addresses of the site, of
// the section .stapsdt.base and of the semaphore, then provider, name and
// argument specification, each ended by a NUL. What could be read is returned
// with an error too, so that the error can name the probe.
func (n *note) probe() (p probe, err error) {
	if n.typ != probeNoteType {
		return p, fmt.Errorf("version %d of the note format is not known", n.typ)
	}
	const addresses = 3 * 8
	desc := n.desc
	if len(desc) < addresses {
		return p, fmt.Errorf("its descriptor has %d bytes, too few for three addresses", len(desc))
	}
	le := binary.LittleEndian
	p.addr, p.base, p.semaphore = le.Uint64(desc), le.Uint64(desc[8:]), le.Uint64(desc[16:])

	rest := desc[addresses:]
	for _, s := range []struct {
		to   *string
		what string
		most int
	}{
		{&p.provider, "provider", MaxName},
		{&p.name, "name", MaxName},
		{&p.args, "argument specification", MaxArgSpec},
	} {
		end := bytes.IndexByte(rest, 0)
		switch {
		case end < 0:
			return p, fmt.Errorf("its %s has no end", s.what)
		case end > s.most:
			return p, fmt.Errorf("its %s has %d bytes, more than %d", s.what, end, s.most)
		case s.to != &p.args && end == 0:
			return p, fmt.Errorf("its %s is empty", s.what)
		case !isText(rest[:end]) || s.to != &p.args && bytes.ContainsAny(rest[:end], " \t"):
			return p, fmt.Errorf("its %s is not text: %q", s.what, rest[:end])
		}
		*s.to, rest = string(rest[:end]), rest[end+1:]
	}
	if p.addr == 0 {
		// Address zero can be inside of the first segment.
		return p, errors.New("its address is zero: the linker discarded the code")
	}
	return p, nil
}

// isText reports whether b can be shown to people as it is.
func isText(b []byte) bool {
	if !utf8.Valid(b) {
		return false
	}
	for _, r := range string(b) {
		if !unicode.IsPrint(r) && r != '\t' {
			return false
		}
	}
	return true
}

// probeNotes returns the probe notes, of all versions. The error says why the
// notes could not be walked to their end, and comes with those before: a
// *NoteError or a *FormatError for what the file says, any other for a failed
// read.
func (e *reader) probeNotes() ([]note, error) {
	var notes []note
	index, left := 0, uint64(MaxNoteSection)
	for i := range e.sections {
		s := &e.sections[i]
		if s.name != probeNoteSection || s.typ != elf.SHT_NOTE {
			continue
		}
		if s.size > left {
			return notes, &FormatError{s.name, fmt.Sprintf("more than %d bytes of probe notes", MaxNoteSection)}
		}
		left -= s.size
		b, err := e.read(s.name, s.off, s.size)
		if err != nil {
			return notes, err
		}
		for len(b) > 0 {
			if index == MaxNotes {
				return notes, &FormatError{s.name, fmt.Sprintf("more than %d notes", MaxNotes)}
			}
			var n note
			// <sys/sdt.h> pads to 4 whatever the section's alignment.
			if n, b, err = nextNote(b, 4); err != nil {
				return notes, &NoteError{Index: index, Err: err}
			}
			if n.owner == probeNoteOwner {
				n.index = index
				notes = append(notes, n)
			}
			index++
		}
	}
	return notes, nil
}

// buildID returns the GNU build-id, nil without one. It is looked for in the
// note segments, which no tool strips, then in the section named after it. A
// note that cannot be read counts as none: probes work without it.
func (e *reader) buildID() []byte {
	// Notes of a shared library take a few hundred bytes.
	left := uint64(64 << 10)
	find := func(off, size, align uint64) []byte {
		if size > left {
			return nil
		}
		left -= size
		b, err := e.read("notes", off, size)
		if err != nil {
			return nil
		}
		if align != 8 {
			align = 4
		}
		for len(b) > 0 {
			var n note
			if n, b, err = nextNote(b, align); err != nil {
				return nil
			}
			if n.owner == buildIDOwner && n.typ == buildIDType && len(n.desc) > 0 && len(n.desc) <= MaxBuildID {
				return bytes.Clone(n.desc)
			}
		}
		return nil
	}
	for i := range e.progs {
		if p := &e.progs[i]; p.Type == elf.PT_NOTE {
			if id := find(p.Off, p.Filesz, p.Align); id != nil {
				return id
			}
		}
	}
	if s := e.section(buildIDSection); s != nil && s.typ == elf.SHT_NOTE {
		return find(s.off, s.size, s.align)
	}
	return nil
}
