// SPDX-License-Identifier: Apache-2.0

// Package usdt reads user-level statically defined tracing probes from ELF files:
// the notes of the section .note.stapsdt, the argument specifications in them, and
// the file offsets, semaphores and kinds of no-op that a tracer needs to place a
// probe.
//
// The package is pure: it reads the given file and has no other contact with the kernel.
// It reads headers and note sections only, and symbol tables if an argument names a
// symbol, never a whole file, and checks each length against the limits below.
//
// Sources: the System V ABI (ELF-64), the note layout and argument forms of
// SystemTap's <sys/sdt.h> (version 3, "stapsdt"), the kernel's
// arch/x86/include/asm/ptrace.h and arch/arm64/include/uapi/asm/ptrace.h.
package usdt

import (
	"debug/elf"

	"crypto-auditing/src/internal/capture"
)

// Limits on what is read from one file, in addition to the limits of elffile. A file
// that exceeds them is hostile or broken; the largest libraries in use stay far
// below.
const (
	// MaxNoteSection bounds one note section, in bytes.
	MaxNoteSection = 4 << 20
	// MaxNotes bounds the number of probe notes of a file, over all its note sections.
	MaxNotes = 16384
	// MaxName bounds the name of a provider or a probe, in bytes.
	MaxName = 128
	// MaxArgs is the number of arguments that <sys/sdt.h> can record.
	MaxArgs = 12
	// MaxArgSpec bounds the argument specification of a site, in bytes.
	MaxArgSpec = 1024
	// MaxSymbols bounds the number of symbols named in the argument specifications
	// of a file.
	MaxSymbols = 16
	// MaxErrors bounds File.Errors. Further unusable notes are only counted, in
	// File.Dropped.
	MaxErrors = 64
)

// File describes the probes of an ELF file. It is not modified after it was read and
// may be used by several goroutines.
type File struct {
	// Path is the name by which the file was opened, empty after Parse.
	Path string
	// Machine is the architecture: EM_X86_64 or EM_AARCH64.
	Machine elf.Machine
	// BuildID is the descriptor of the GNU build-id note, nil without one.
	BuildID []byte
	// Sites are the probe sites, of all providers, in the order of the notes.
	Sites []Site
	// Image describes the file's contents in memory, its segments in file order.
	capture.Image
	// Errors describes unusable notes, each a *NoteError, or a *FormatError if the
	// notes could not be read to their end. Sites has the sites of all other notes.
	Errors []error
	// Dropped counts unusable notes beyond MaxErrors.
	Dropped int
}

// Site is one instruction address that fires a probe.
type Site struct {
	// Provider and Name name the probe. One probe has any number of sites.
	Provider, Name string
	// Addr is the link-time address of the site, with prelinking undone. In a process
	// the site is at Addr plus the load bias of the file.
	Addr uint64
	// Offset is the file offset of the site, as uprobes take it.
	Offset uint64
	// SemaphoreAddr is the link-time address of the 16-bit counter that a tracer must
	// keep above zero for the probe to fire; zero without a counter.
	SemaphoreAddr uint64
	// SemaphoreOffset is the file offset of the counter, the kernel's ref_ctr_offset;
	// zero without a counter.
	SemaphoreOffset uint64
	// Args are the locations of the arguments at the site.
	Args []capture.Arg
	// RawArgs is the specification that Args was parsed from.
	RawArgs string
	// Nop is the instruction at the site.
	Nop NopKind
}

// NopKind is the kind of instruction at a site. It determines the cost of a hit: the
// kernel skips a one-byte no-op, single-steps most other instructions, and on x86-64
// replaces long no-ops by a call without a trap: five-byte no-ops in 6.18 to 7.1,
// ten-byte no-ops in later versions.
type NopKind uint8

// The kinds of instructions at a site.
const (
	// NopNone is an instruction other than a no-op.
	NopNone NopKind = iota
	// NopOne is the plain no-op of the machine: one byte on x86-64, one instruction
	// on arm64.
	NopOne
	// NopOnePlusFive is a one-byte no-op followed by the five-byte no-op
	// 0f 1f 44 00 00.
	NopOnePlusFive
	// NopFive is the five-byte no-op 0f 1f 44 00 00.
	NopFive
	// NopOnePlusTen is a one-byte no-op followed by the ten-byte no-op
	// 66 2e 0f 1f 84 00 00 00 00 00, for kernels that optimise that one instead.
	NopOnePlusTen
	// NopTen is that ten-byte no-op.
	NopTen
)

// String returns the sizes of the no-ops, such as "1+5", or "none".
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
