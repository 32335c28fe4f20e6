// SPDX-License-Identifier: Apache-2.0

package usdt

import (
	"fmt"

	"crypto-auditing/src/internal/elffile"
)

// ErrNotELF is returned for a file that is not an ELF file.
var ErrNotELF = elffile.ErrNotELF

// Errors of package elffile.
type (
	FormatError      = elffile.FormatError
	UnsupportedError = elffile.UnsupportedError
)

// NoteError reports a probe note that cannot be used.
type NoteError struct {
	// Index is the note's position among the notes of the file, from zero, over all
	// sections.
	Index int
	// Provider and Name name the probe, as far as they were read.
	Provider, Name string
	// Err is the reason: a *SpecError if an argument cannot be used.
	Err error
}

func (e *NoteError) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("cannot use probe note %d: %v", e.Index, e.Err)
	}
	return fmt.Sprintf("cannot use probe note %d (%s:%s): %v", e.Index, e.Provider, e.Name, e.Err)
}

func (e *NoteError) Unwrap() error { return e.Err }

// SpecError reports an argument specification that cannot be used.
type SpecError struct {
	// Spec is the specification of the argument.
	Spec   string
	Reason string
}

func (e *SpecError) Error() string { return fmt.Sprintf("argument %q: %s", e.Spec, e.Reason) }
