// SPDX-License-Identifier: Apache-2.0

// Package capture describes what a source of events wants to capture in a file: the
// sites, the operation of the event model that a hit of each represents, and the
// locations of its arguments. A source reads a file and returns a Plan; package probe
// attaches plans, whatever source they are from.
//
// The package is pure: it has no kernel types and never calls the kernel.
package capture

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
)

// MaxArguments is the highest number of arguments of a site.
const MaxArguments = 4

// MaxErrors bounds Plan.Errors.
const MaxErrors = 64

// Source creates plans for files.
type Source struct {
	// Name is the source of its entries in the log, such as "usdt".
	Name string
	// Plan reads the file of size bytes in r. The error wraps a *NoSitesError if the
	// source has no sites in this file. Plan may be called from several goroutines.
	Plan func(r io.ReaderAt, size int64) (*Plan, error)
}

// Plan is what a source captures in one file.
type Plan struct {
	// Machine is the architecture: EM_X86_64 or EM_AARCH64.
	Machine elf.Machine
	// BuildID is the file's GNU build-id, nil without one.
	BuildID []byte
	// Image resolves the link-time addresses of strings in arguments.
	Image Image
	Sites []Site
	// Calls is nil unless all sites are calls of functions.
	Calls *Calls
	// Errors describes unusable sites, at most MaxErrors of them.
	Errors []error
}

// Site is one instruction, and the meaning of its execution.
type Site struct {
	// Provider and Probe name the site for display. Several sites may have the same
	// names.
	Provider, Probe string
	// Address is the link-time address, Offset the file offset.
	Address, Offset uint64
	// SemaphoreOffset is the file offset of a 16-bit counter that must be above zero
	// for programs to reach the site; zero without a counter.
	SemaphoreOffset uint64
	// Call describes a hit in a plan with Calls, which uses neither Kind nor
	// Arguments.
	Call *Call
	// Kind is the operation, Arguments are its arguments in the order of
	// Kind.Parameters. Each is constant or read when the site is hit.
	Kind      Kind
	Arguments []Arg
	// FiveByteNop reports whether the instruction is the five-byte no-op of x86-64.
	FiveByteNop bool
	// CallInstruction reports whether the kernel emulates the instruction, a call or, on
	// arm64, a return, so that a program's shadow stack may need emulation, too.
	CallInstruction bool
}

// AddError adds the reason why a site cannot be used.
func (p *Plan) AddError(err error) {
	if len(p.Errors) < MaxErrors {
		p.Errors = append(p.Errors, err)
	}
}

// LimitError describes a part of a valid file that a source does not record.
type LimitError struct{ Text string }

func (e *LimitError) Error() string { return e.Text }

// Constant returns an argument that is always the string text: a key or a value for
// which the code has no string. A site with such an argument may also use strings of
// the file, but a hit must then copy those.
func (p *Plan) Constant(text string) Arg {
	return Arg{Kind: ArgImageAddr, Size: 8, Off: int64(p.Image.AddString(text))}
}

// NoSitesError reports that a source has no sites in a file.
type NoSitesError struct {
	// Want is what the file would need, such as "probe of provider x".
	Want string
	// Errors describes unusable sites.
	Errors []error
}

// shownErrors is how many unusable sites a NoSitesError describes.
const shownErrors = 8

// Limited reports whether nothing is wrong with the file: it has no site, or only some
// that the source cannot use by design.
func (e *NoSitesError) Limited() bool {
	for _, err := range e.Errors {
		var limit *LimitError
		if !errors.As(err, &limit) {
			return false
		}
	}
	return true
}

func (e *NoSitesError) Error() string {
	n := len(e.Errors)
	if n == 0 {
		return "it has no " + e.Want
	}
	text := "none of its probes is usable"
	if e.Limited() && e.Want != "" {
		text = "it has no " + e.Want
	}
	text += fmt.Sprintf(": %v", errors.Join(e.Errors[:min(n, shownErrors)]...))
	if n > shownErrors {
		text += fmt.Sprintf("\nand %d more", n-shownErrors)
	}
	return text
}
