// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"errors"
	"fmt"

	"crypto-auditing/src/internal/logstore/frame"
)

// CorruptError says that a part of a segment cannot be trusted. Reading can
// go on behind it.
type CorruptError struct {
	// Segment is the path of the file.
	Segment string
	// Offset is where the part begins; Skipped its bytes.
	Offset  int64
	Skipped int64
	Kind    frame.Kind
	Detail  string
	// From and To are the sequences that are missing, both zero if it is
	// not known whether any is.
	From, To uint64
}

func (e *CorruptError) Error() string {
	s := fmt.Sprintf("segment %s is corrupt at offset %d: %s: %s", e.Segment, e.Offset, e.Kind, e.Detail)
	if e.To != 0 {
		s += fmt.Sprintf(" (%d entries are missing, %d to %d)", e.To-e.From+1, e.From, e.To)
	}
	return s
}

// IncompatibleError says that a segment was written by a newer version.
type IncompatibleError struct {
	Segment string
	Offset  int64
	Err     *frame.IncompatibleError
}

func (e *IncompatibleError) Error() string {
	return fmt.Sprintf("cannot read segment %s at offset %d: %v; a newer crypto-auditing can", e.Segment, e.Offset, e.Err)
}

func (e *IncompatibleError) Unwrap() error { return e.Err }

// wrap adds the place to an error of package frame; ErrShort means torn.
func (s *Segment) wrap(err error, offset int64) error {
	if inner := (*frame.Error)(nil); errors.As(err, &inner) {
		return &CorruptError{Segment: s.path, Offset: offset, Kind: inner.Kind, Detail: inner.Detail}
	}
	if inner := (*frame.IncompatibleError)(nil); errors.As(err, &inner) {
		return &IncompatibleError{Segment: s.path, Offset: offset, Err: inner}
	}
	if errors.Is(err, frame.ErrShort) {
		return &CorruptError{Segment: s.path, Offset: offset, Kind: frame.KindTorn, Detail: "the file ends inside a chunk"}
	}
	return err
}

// AsCorrupt returns err as *CorruptError if it is one.
func AsCorrupt(err error) (*CorruptError, bool) {
	var corrupt *CorruptError
	return corrupt, errors.As(err, &corrupt)
}
