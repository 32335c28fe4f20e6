// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/logstore/frame"
)

// CorruptError reports a part of a segment that cannot be trusted. Reading can continue
// after it.
type CorruptError struct {
	// Segment is the path of the file.
	Segment string
	// Offset is the start of the part, Skipped its length in bytes.
	Offset  int64
	Skipped int64
	Kind    frame.Kind
	Detail  string
	// From and To are the missing sequences, both zero if it is unknown whether any are
	// missing.
	From, To uint64
}

func (e *CorruptError) Error() string {
	s := fmt.Sprintf("segment %s is corrupt at offset %d: %s: %s", e.Segment, e.Offset, e.Kind, e.Detail)
	if e.To != 0 {
		s += fmt.Sprintf(" (%d entries are missing, %d to %d)", e.To-e.From+1, e.From, e.To)
	}
	return s
}

// IncompatibleError reports that a newer version wrote the segment.
type IncompatibleError struct {
	Segment string
	Offset  int64
	Err     *frame.IncompatibleError
}

func (e *IncompatibleError) Error() string {
	return fmt.Sprintf("cannot read segment %s at offset %d: %v; a newer crypto-auditing can", e.Segment, e.Offset, e.Err)
}

func (e *IncompatibleError) Unwrap() error { return e.Err }

// UnreadableError reports a segment whose file cannot be opened or read. Its contents are
// unknown; reading can continue with the next segment.
type UnreadableError struct {
	// Segment is the path of the file.
	Segment string
	// Offset is the offset at which reading failed, 0 if the file cannot be opened.
	Offset int64
	Err    error
	// From and To are the missing sequences; To is 0 while the last one is unknown.
	From, To uint64
	// Newest is set if there is no later segment. Its entries may follow once the file is
	// readable.
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

// unreadable converts an error about opening or reading the file at path to an
// *UnreadableError, unless this process lacks a resource and the file may be intact.
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

// wrap adds the position to an error of package frame. ErrShort becomes KindTorn.
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
