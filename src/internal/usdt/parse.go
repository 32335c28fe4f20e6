// SPDX-License-Identifier: Apache-2.0

package usdt

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"crypto-auditing/src/internal/elffile"
)

// Open reads the probes of the file at path. The error names the file; it wraps
// ErrNotELF, a *FormatError or an *UnsupportedError if the contents of the file are
// the reason. A file without probes is not an error.
func Open(path string) (*File, error) {
	file, err := openFile(path)
	if err != nil {
		// Errors of package os repeat the path.
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		return nil, fmt.Errorf("cannot read the probes of %s: %w", path, err)
	}
	file.Path = path
	return file, nil
}

func openFile(path string) (*File, error) {
	f, size, err := elffile.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Parse(f, size)
}

// Parse reads the probes of the ELF file of size bytes in r. It returns the errors
// of Open, without the file's name.
func Parse(r io.ReaderAt, size int64) (*File, error) {
	e, err := elffile.New(r, size)
	if err != nil {
		return nil, err
	}
	f := &File{Machine: e.Machine}
	if f.Segments, err = e.Loads(); err != nil {
		return nil, err
	}
	f.BuildID = e.BuildID()

	notes, walkErr := probeNotes(e)
	base := e.Section(baseSection)
	symbols := symbols{File: e, segments: f.Segments}
	for _, n := range notes {
		p, err := n.probe()
		if err == nil {
			p.relocate(base)
			var s Site
			if s, err = f.site(&p); err == nil {
				if err = symbols.resolve(s.Args); err == nil {
					f.Sites = append(f.Sites, s)
					continue
				}
			}
		}
		f.addError(&NoteError{Index: n.index, Provider: p.provider, Name: p.name, Err: err})
	}
	if walkErr != nil {
		var noteErr *NoteError
		var formatErr *FormatError
		if !errors.As(walkErr, &noteErr) && !errors.As(walkErr, &formatErr) {
			return nil, walkErr
		}
		f.addError(walkErr)
	}

	for i := range f.Sites {
		if f.Sites[i].Nop, err = nopAt(e, &f.Image, &f.Sites[i]); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *File) addError(err error) {
	if len(f.Errors) == MaxErrors {
		f.Dropped++
		return
	}
	f.Errors = append(f.Errors, err)
}

// relocate undoes prelinking: a tool that moves a library in the address space moves
// the section .stapsdt.base with it, but does not update the addresses of the site,
// the semaphore and that section in the notes.
func (p *probe) relocate(base *elffile.Section) {
	if base == nil || p.base == 0 {
		return
	}
	moved := base.Addr - p.base
	p.addr += moved
	if p.semaphore != 0 {
		p.semaphore += moved
	}
}

// site converts a probe to a Site without its Nop.
func (f *File) site(p *probe) (Site, error) {
	s := Site{
		Provider: p.provider, Name: p.name,
		Addr: p.addr, SemaphoreAddr: p.semaphore,
		RawArgs: p.args,
	}
	segment := f.Segment(p.addr, 1)
	switch {
	case segment == nil:
		return s, fmt.Errorf("address %#x is in no segment of the file", p.addr)
	case segment.Flags&elf.PF_X == 0:
		return s, fmt.Errorf("address %#x is not in an executable segment", p.addr)
	case segment.Flags&elf.PF_W != 0:
		// The kernel does not place probes in writable mappings.
		return s, fmt.Errorf("address %#x is in a writable segment", p.addr)
	case f.Machine == elf.EM_AARCH64 && p.addr%4 != 0:
		return s, fmt.Errorf("address %#x is not one of an instruction", p.addr)
	}
	s.Offset = segment.FileOffset(p.addr)

	if p.semaphore != 0 {
		segment := f.Segment(p.semaphore, semaphoreSize)
		switch {
		case segment == nil:
			return s, fmt.Errorf("semaphore %#x is in no segment of the file", p.semaphore)
		case segment.Flags&elf.PF_W == 0:
			return s, fmt.Errorf("semaphore %#x is not in a writable segment", p.semaphore)
		}
		s.SemaphoreOffset = segment.FileOffset(p.semaphore)
		if s.SemaphoreOffset%semaphoreSize != 0 || s.SemaphoreOffset == 0 {
			return s, fmt.Errorf("semaphore at %#x of the file is not aligned to %d bytes", s.SemaphoreOffset, semaphoreSize)
		}
	}

	var err error
	s.Args, err = ParseArgs(f.Machine, p.args)
	return s, err
}

// semaphoreSize is the size and the alignment of a semaphore in bytes.
const semaphoreSize = 2
