// SPDX-License-Identifier: Apache-2.0

package usdt

import (
	"fmt"

	"crypto-auditing/src/internal/elffile"
)

// ErrNotELF is returned for a file that is not an ELF file.
var ErrNotELF = elffile.ErrNotELF

// The errors of files, see package elffile.
type (
	FormatError      = elffile.FormatError
	UnsupportedError = elffile.UnsupportedError
)

// NoteError tells that one probe note could not be used.
type NoteError struct {
	// Index counts the notes of the file from zero, over all sections.
	Index int
	// Provider and Name are those of the probe, as far as they were read.
	Provider, Name string
	// Err is the reason; a *SpecError where an argument is the reason.
	Err error
}

func (e *NoteError) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("cannot use probe note %d: %v", e.Index, e.Err)
	}
	return fmt.Sprintf("cannot use probe note %d (%s:%s): %v", e.Index, e.Provider, e.Name, e.Err)
}

func (e *NoteError) Unwrap() error { return e.Err }

// SpecError tells that an argument specification could not be used.
type SpecError struct {
	// Spec is the specification of the one argument.
	Spec string
	Why  string
}

func (e *SpecError) Error() string { return fmt.Sprintf("argument %q: %s", e.Spec, e.Why) }
