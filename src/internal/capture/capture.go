// SPDX-License-Identifier: Apache-2.0

// Package capture describes what a source of events asks the kernel for in a
// file: at which sites, which operation of the event model a hit of each is,
// and where its arguments are. A source reads a file and makes a Plan; package
// probe attaches plans, whatever source made them.
//
// It is pure: it has no types of the kernel and never talks to it.
package capture

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
)

// MaxArguments is the most arguments that a site can have.
const MaxArguments = 4

// MaxErrors bounds Plan.Errors.
const MaxErrors = 64

// Source makes plans of files.
type Source struct {
	// Name is what entries from it are marked with, such as "usdt".
	Name string
	// Plan reads the file of size bytes in r. The error wraps a *NoSitesError if
	// the source has nothing to ask for in this file. It may be called from
	// several goroutines.
	Plan func(r io.ReaderAt, size int64) (*Plan, error)
}

// Plan is what a source asks for in one file.
type Plan struct {
	// Machine is the architecture: EM_X86_64 or EM_AARCH64.
	Machine elf.Machine
	// BuildID is the file's GNU build-id, nil without one.
	BuildID []byte
	// Image holds the strings that arguments lead to by link-time address.
	Image Image
	Sites []Site
	// Calls is nil unless all sites are calls of functions.
	Calls *Calls
	// Errors describes sites that cannot be used, at most MaxErrors of them.
	Errors []error
}

// Site is one instruction, and what it means that a program executes it.
type Site struct {
	// Provider and Probe name the site for people. Any number of sites may have
	// the same names.
	Provider, Probe string
	// Address is the link-time address, Offset the place in the file.
	Address, Offset uint64
	// SemaphoreOffset is the place in the file of a 16-bit counter that has to
	// be above zero for the site to be reached; zero: there is none.
	SemaphoreOffset uint64
	// Call is what a hit is in a plan with Calls, which has neither Kind nor
	// Arguments.
	Call *Call
	// Kind is the operation, Arguments are its arguments, as Kind.Parameters
	// names them. All are constants, or are read when the site is hit.
	Kind      Kind
	Arguments []Arg
	// FiveByteNop: the instruction is the five-byte no-operation of x86-64.
	FiveByteNop bool
}

// AddError notes why a site cannot be used.
func (p *Plan) AddError(err error) {
	if len(p.Errors) < MaxErrors {
		p.Errors = append(p.Errors, err)
	}
}

// Constant returns the argument that is always the string text: a key, or a
// value, that the code has no string for. A site which has such an argument may
// have strings of the file as well, but a hit has to copy those.
func (p *Plan) Constant(text string) Arg {
	return Arg{Kind: ArgImageAddr, Size: 8, Off: int64(p.Image.AddString(text))}
}

// NoSitesError tells that a source has nothing to ask for in a file.
type NoSitesError struct {
	// Want is what the file would need, such as "probe of provider x".
	Want string
	// Errors describes what is there and cannot be used.
	Errors []error
}

// shownErrors is how many unusable sites a NoSitesError describes.
const shownErrors = 8

func (e *NoSitesError) Error() string {
	n := len(e.Errors)
	if n == 0 {
		return "it has no " + e.Want
	}
	text := fmt.Sprintf("none of its probes is usable: %v", errors.Join(e.Errors[:min(n, shownErrors)]...))
	if n > shownErrors {
		text += fmt.Sprintf("\nand %d more", n-shownErrors)
	}
	return text
}
