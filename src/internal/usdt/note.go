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

	"crypto-auditing/src/internal/elffile"
)

// Sections, owner and type of probe notes.
const (
	probeNoteSection = ".note.stapsdt"
	baseSection      = ".stapsdt.base"

	probeNoteOwner = "stapsdt"
	probeNoteType  = 3
)

// note is a probe note.
type note struct {
	elffile.Note
	// index is the note's position in the file, from zero.
	index int
}

// probe is the content of a probe note.
type probe struct {
	addr, base, semaphore uint64
	provider, name, args  string
}

// probe parses the descriptor of a probe note: the addresses of the site, of the
// section .stapsdt.base and of the semaphore, then provider, name and argument
// specification, each terminated by a NUL. On error it also returns the fields that
// were read, so that the error can name the probe.
func (n *note) probe() (p probe, err error) {
	if n.Type != probeNoteType {
		return p, fmt.Errorf("version %d of the note format is not known", n.Type)
	}
	const addresses = 3 * 8
	desc := n.Desc
	if len(desc) < addresses {
		return p, fmt.Errorf("its descriptor has %d bytes, too few for three addresses", len(desc))
	}
	le := binary.LittleEndian
	p.addr, p.base, p.semaphore = le.Uint64(desc), le.Uint64(desc[8:]), le.Uint64(desc[16:])

	rest := desc[addresses:]
	for _, s := range []struct {
		to   *string
		noun string
		most int
	}{
		{&p.provider, "provider", MaxName},
		{&p.name, "name", MaxName},
		{&p.args, "argument specification", MaxArgSpec},
	} {
		end := bytes.IndexByte(rest, 0)
		switch {
		case end < 0:
			return p, fmt.Errorf("its %s has no end", s.noun)
		case end > s.most:
			return p, fmt.Errorf("its %s has %d bytes, more than %d", s.noun, end, s.most)
		case s.to != &p.args && end == 0:
			return p, fmt.Errorf("its %s is empty", s.noun)
		case !isText(rest[:end]) || s.to != &p.args && bytes.ContainsAny(rest[:end], " \t"):
			return p, fmt.Errorf("its %s is not text: %q", s.noun, rest[:end])
		}
		*s.to, rest = string(rest[:end]), rest[end+1:]
	}
	if p.addr == 0 {
		// Address zero can lie in the first segment.
		return p, errors.New("its address is zero: the linker discarded the code")
	}
	return p, nil
}

// isText reports whether b can be displayed without escaping.
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

// probeNotes returns the probe notes, of all versions. If the notes cannot be read
// to their end, it returns those before and the reason: a *NoteError or a
// *FormatError for invalid contents, any other error for a failed read.
func probeNotes(e *elffile.File) ([]note, error) {
	var notes []note
	index, left := 0, uint64(MaxNoteSection)
	for i := range e.Sections {
		s := &e.Sections[i]
		if s.Name != probeNoteSection || s.Type != elf.SHT_NOTE {
			continue
		}
		if s.Size > left {
			return notes, &FormatError{Part: s.Name, Reason: fmt.Sprintf("more than %d bytes of probe notes", MaxNoteSection)}
		}
		left -= s.Size
		b, err := e.Read(s.Name, s.Off, s.Size)
		if err != nil {
			return notes, err
		}
		for len(b) > 0 {
			if index == MaxNotes {
				return notes, &FormatError{Part: s.Name, Reason: fmt.Sprintf("more than %d notes", MaxNotes)}
			}
			var n note
			// <sys/sdt.h> pads to 4 whatever the section's alignment.
			if n.Note, b, err = elffile.NextNote(b, 4); err != nil {
				return notes, &NoteError{Index: index, Err: err}
			}
			if n.Owner == probeNoteOwner {
				n.index = index
				notes = append(notes, n)
			}
			index++
		}
	}
	return notes, nil
}
