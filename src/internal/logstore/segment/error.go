// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

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

// UnreadableError reports a segment whose file cannot be opened or read. What
// it holds is unknown; reading can continue with the next segment.
type UnreadableError struct {
	// Segment is the path of the file.
	Segment string
	// Offset is where reading failed, 0 if the file cannot be opened.
	Offset int64
	Err    error
	// From and To are the sequences that are missing; To is 0 as long as it is
	// not known which is the last.
	From, To uint64
	// Newest is set if no later segment exists: entries may follow once the file
	// is readable.
	Newest bool
}

func (e *UnreadableError) Error() string {
	s := fmt.Sprintf("cannot read segment %s", e.Segment)
	if e.Offset != 0 {
		s += fmt.Sprintf(" at offset %d", e.Offset)
	}
	s += fmt.Sprintf(": %v", e.Err)
	if e.To != 0 {
		s += fmt.Sprintf(" (%d entries are missing, %d to %d)", e.To-e.From+1, e.From, e.To)
	}
	return s
}

func (e *UnreadableError) Unwrap() error { return e.Err }

// AsUnreadable returns err as *UnreadableError if it is one.
func AsUnreadable(err error) (*UnreadableError, bool) {
	var unreadable *UnreadableError
	return unreadable, errors.As(err, &unreadable)
}

// errNotRegular is the reason for a directory, device, FIFO or socket.
var errNotRegular = errors.New("not a regular file")

// errDangling is the reason for a symbolic link to nothing.
var errDangling = errors.New("dangling symbolic link")

// unreadable returns what a failure to open or read the file at path means: an
// *UnreadableError, unless this process lacks a resource and the file may be
// fine.
func unreadable(path string, offset int64, err error) error {
	for _, lacking := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EINTR, unix.EAGAIN, unix.ENOBUFS, fs.ErrClosed} {
		if errors.Is(err, lacking) {
			return fmt.Errorf("cannot read segment: %w", err)
		}
	}
	if inner := (*fs.PathError)(nil); errors.As(err, &inner) {
		err = inner.Err // the path is in UnreadableError
	}
	return &UnreadableError{Segment: path, Offset: offset, Err: err}
}

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
