// SPDX-License-Identifier: Apache-2.0

package elffile

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
)

// Section, owner and type of the build-id note.
const (
	buildIDSection = ".note.gnu.build-id"
	buildIDOwner   = "GNU"
	buildIDType    = 3

	// noteHeader is the size of a note's header: name length, descriptor length and
	// type.
	noteHeader = 12
)

// Note is an ELF note. Desc aliases the bytes that it was parsed from.
type Note struct {
	Owner string
	Type  uint32
	Desc  []byte
}

// ErrNoteCut is returned for a note that extends beyond its section.
var ErrNoteCut = errors.New("the note goes beyond the end of its section")

// NextNote parses the note at the beginning of b and returns the rest. The parts of a
// note are padded to align bytes, 4 or 8.
func NextNote(b []byte, align uint64) (n Note, rest []byte, err error) {
	if len(b) < noteHeader {
		return n, nil, ErrNoteCut
	}
	le := binary.LittleEndian
	nameLen, descLen := uint64(le.Uint32(b)), uint64(le.Uint32(b[4:]))
	n.Type = le.Uint32(b[8:])

	// Sums of 32-bit numbers do not overflow 64 bits.
	size := uint64(len(b))
	descAt := (noteHeader + nameLen + align - 1) &^ (align - 1)
	if noteHeader+nameLen > size || descAt > size || descLen > size-descAt {
		return n, nil, ErrNoteCut
	}
	n.Owner = string(bytes.TrimSuffix(b[noteHeader:noteHeader+min(nameLen, 32)], []byte{0}))
	n.Desc = b[descAt : descAt+descLen]

	// The last note need not be padded.
	end := min((descAt+descLen+align-1)&^(align-1), size)
	return n, b[end:], nil
}

// BuildID returns the GNU build-id, nil without one. It searches the note segments,
// which no tool strips, then the section .note.gnu.build-id. A note that cannot be read
// is ignored.
func (e *File) BuildID() []byte {
	// The notes of a shared library take a few hundred bytes.
	left := uint64(64 << 10)
	find := func(off, size, align uint64) []byte {
		if size > left {
			return nil
		}
		left -= size
		b, err := e.Read("notes", off, size)
		if err != nil {
			return nil
		}
		if align != 8 {
			align = 4
		}
		for len(b) > 0 {
			var n Note
			if n, b, err = NextNote(b, align); err != nil {
				return nil
			}
			if n.Owner == buildIDOwner && n.Type == buildIDType && len(n.Desc) > 0 && len(n.Desc) <= MaxBuildID {
				return bytes.Clone(n.Desc)
			}
		}
		return nil
	}
	for i := range e.Progs {
		if p := &e.Progs[i]; p.Type == elf.PT_NOTE {
			if id := find(p.Off, p.Filesz, p.Align); id != nil {
				return id
			}
		}
	}
	if s := e.Section(buildIDSection); s != nil && s.Type == elf.SHT_NOTE {
		return find(s.Off, s.Size, s.Align)
	}
	return nil
}
