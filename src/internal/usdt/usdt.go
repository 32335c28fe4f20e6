// SPDX-License-Identifier: Apache-2.0

// Package usdt reads user-level statically defined tracing probes out of ELF
// files: the notes of the section .note.stapsdt, the argument specifications
// in them, and what a tracer needs to place a probe: file offsets, semaphores,
// the kind of no-operation a site stands on.
//
// It is pure: it reads the file it is given and never talks to the kernel. It
// reads headers and note sections only, symbol tables where an argument names a
// symbol, never a whole file, and believes no length before it has checked it
// against the limits below.
//
// Sources: the System V ABI (ELF-64), the note layout and argument forms of
// SystemTap's <sys/sdt.h> (version 3, "stapsdt"), the kernel's
// arch/x86/include/asm/ptrace.h and arch/arm64/include/uapi/asm/ptrace.h.
package usdt

import (
	"debug/elf"

	"crypto-auditing/src/internal/capture"
)

// Limits on what is read from one file, besides those of elffile. A file beyond them is either hostile
// or broken; the largest libraries in use stay far below.
const (
	// MaxNoteSection bounds one note section, in bytes.
	MaxNoteSection = 4 << 20
	// MaxNotes bounds the probe notes of a file, over all its note sections.
	MaxNotes = 16384
	// MaxName bounds the name of a provider or a probe, in bytes.
	MaxName = 128
	// MaxArgs is the number of arguments <sys/sdt.h> can record.
	MaxArgs = 12
	// MaxArgSpec bounds the argument specification of a site, in bytes.
	MaxArgSpec = 1024
	// MaxSymbols bounds the symbols that the argument specifications of a file
	// name.
	MaxSymbols = 16
	// MaxErrors bounds File.Errors: the notes that could not be used beyond
	// it are counted in File.Dropped and not described.
	MaxErrors = 64
)

// File is what an ELF file says about its probes. It is not changed after it
// was read and may be used by several goroutines.
type File struct {
	// Path is the name the file was opened by, empty after Parse.
	Path string
	// Machine is the architecture: EM_X86_64 or EM_AARCH64.
	Machine elf.Machine
	// BuildID is the descriptor of the GNU build-id note, nil without one.
	BuildID []byte
	// Sites are the probe sites, of all providers, in the order of the notes.
	Sites []Site
	// Image is what processes have of the file, its segments in its order.
	capture.Image
	// Errors describes what could not be used, each a *NoteError for one
	// note, or a *FormatError where the notes could not be read to their end.
	// The sites of other notes are in Sites all the same.
	Errors []error
	// Dropped counts unusable notes beyond MaxErrors.
	Dropped int
}

// Site is one place in the code that fires a probe.
type Site struct {
	// Provider and Name name the probe. One probe has any number of sites.
	Provider, Name string
	// Addr is the link-time address of the site, prelink adjustment done: in
	// a process the site stands at Addr plus the load bias of the file.
	Addr uint64
	// Offset is the place of the site in the file, which is what uprobes take.
	Offset uint64
	// SemaphoreAddr is the link-time address of the 16-bit counter a tracer
	// has to hold above zero for the probe to fire; zero: there is none.
	SemaphoreAddr uint64
	// SemaphoreOffset is the counter's place in the file, the kernel's
	// ref_ctr_offset; zero: there is none.
	SemaphoreOffset uint64
	// Args tells where the arguments are when the site is reached.
	Args []capture.Arg
	// RawArgs is the specification Args was read from.
	RawArgs string
	// Nop is the instruction at the site.
	Nop NopKind
}

// NopKind is the kind of instruction a site stands on. It decides what a hit
// costs: the kernel skips a one-byte no-operation, single-steps most other
// instructions, and on x86-64 replaces long no-operations by a call without a
// trap: five-byte ones from 6.18 to 7.1, ten-byte ones later.
type NopKind uint8

// The kinds of a site's instruction.
const (
	// NopNone is an instruction that does something.
	NopNone NopKind = iota
	// NopOne is the plain no-operation of the machine: one byte on x86-64,
	// one instruction on arm64.
	NopOne
	// NopOnePlusFive is a one-byte no-operation with the five-byte one
	// 0f 1f 44 00 00 right after it.
	NopOnePlusFive
	// NopFive is the five-byte no-operation 0f 1f 44 00 00.
	NopFive
	// NopOnePlusTen is a one-byte no-operation with the ten-byte one
	// 66 2e 0f 1f 84 00 00 00 00 00 right after it, for kernels that optimise
	// that one instead.
	NopOnePlusTen
	// NopTen is that ten-byte no-operation.
	NopTen
)

// String returns the sizes of the no-operations, such as "1+5", or "none".
func (k NopKind) String() string {
	switch k {
	case NopOne:
		return "1"
	case NopOnePlusFive:
		return "1+5"
	case NopFive:
		return "5"
	case NopOnePlusTen:
		return "1+10"
	case NopTen:
		return "10"
	}
	return "none"
}
