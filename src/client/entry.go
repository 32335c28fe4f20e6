// SPDX-License-Identifier: Apache-2.0

package client

import (
	"errors"
	"fmt"
	"io"

	"crypto-auditing/src/internal/event"
)

// Entry is an entry of the log in its encoded form.
type Entry struct {
	// Sequence is its number.
	Sequence uint64
	// Boot is the boot time to which its times are relative, in nanoseconds since
	// the Unix epoch.
	Boot int64
	// CBOR is one event group (audit.cddl), identical to the bytes in the log. It
	// is valid until the next call of Next.
	CBOR []byte
}

// entries decodes the stream of Open: a CBOR sequence of event groups, each with the
// keys seq and boot first.
type entries struct {
	sequence *event.Sequence
	group    event.Group
	// ends is set if the broker sends an end notice; over once it was received.
	ends, over bool
}

// newEntries returns a decoder for the stream of a broker with the given version of
// the interface.
func newEntries(r io.Reader, version uint32) *entries {
	return &entries{sequence: event.NewSequence(r), ends: version >= versionEnds}
}

// versionEnds is the first version of the interface whose streams end with a
// notice.
const versionEnds = 2

// next returns the next entry. Errors: io.EOF at the end; *MissingError, after
// which the next call continues; *StreamError if the stream ended early;
// ErrProtocol; or the error of the reader.
func (r *entries) next() (Entry, error) {
	if r.over {
		return Entry{}, io.EOF
	}
	numbered, err := r.sequence.Next(nil)
	if err != nil {
		return Entry{}, r.ended(err)
	}
	cut, err := event.CutNumbers(numbered)
	if err != nil {
		return Entry{}, fmt.Errorf("%w: in the stream: %w", ErrProtocol, err)
	}
	e := Entry{Sequence: cut.Sequence, Boot: cut.Boot, CBOR: cut.Raw}
	return e, r.notice(&e)
}

// ended maps an error of the sequence to the error for the user of the stream.
func (r *entries) ended(err error) error {
	switch {
	case err == io.EOF && !r.ends:
		return err
	case err == io.EOF, errors.Is(err, event.ErrTruncated):
		return &StreamError{}
	case errors.As(err, new(*event.SyntaxError)):
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return err
}

// notice returns the error that an entry represents: *MissingError, or the end of
// the stream.
func (r *entries) notice(e *Entry) error {
	if !event.MayBeMetadata(e.CBOR) {
		return nil // most entries can be recognised without decoding
	}
	if _, err := event.Decode(e.CBOR, &r.group); err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if m, ok := r.group.Missing(); ok {
		return &MissingError{Entries: m.Entries, Reason: string(m.Reason)}
	}
	end, ok := r.group.StreamEnd()
	switch {
	case !ok:
		return nil
	case end.Outcome == event.Complete:
		r.over = true
		return io.EOF
	}
	return &StreamError{Reason: end.Reason}
}
