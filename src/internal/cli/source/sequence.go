// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"fmt"
	"io"

	"crypto-auditing/src/internal/event"
)

// sequence reads event groups from a stream of bytes, a CBOR sequence.
type sequence struct {
	reader     io.Reader
	buffer     []byte
	start, end int // of what is not decoded yet
	offset     int64
	ended      bool
	err        error // that ended the stream
}

// sequenceBuffer is the size of the buffer; it grows for larger entries.
const sequenceBuffer = 256 << 10

func newSequence(r io.Reader) *sequence {
	return &sequence{reader: r, buffer: make([]byte, sequenceBuffer)}
}

// damageError says that a log ends, or cannot be decoded any further, at an
// offset.
type damageError struct {
	// offset counts bytes of the sequence.
	offset int64
	err    error
}

func (e *damageError) Error() string { return fmt.Sprintf("byte %d: %v", e.offset, e.err) }

func (e *damageError) Unwrap() error { return e.err }

// errTruncated says that a log ends inside an entry.
var errTruncated = errors.New("the log ends inside an entry")

// next decodes the next group into g and returns its bytes; both are valid
// until the next call. Errors are io.EOF and *damageError, after which there
// is nothing more.
func (s *sequence) Next(g *event.Group) ([]byte, error) {
	for {
		n, err := event.Decode(s.buffer[s.start:s.end], g)
		if err == nil {
			raw := s.buffer[s.start : s.start+n]
			s.start += n
			s.offset += int64(n)
			return raw, nil
		}
		if err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, &damageError{s.offset, err}
		}
		if !s.ended {
			s.fill()
			continue
		}
		switch {
		case s.err != nil:
			return nil, &damageError{s.offset + int64(s.end-s.start), s.err}
		case s.start == s.end:
			return nil, io.EOF
		}
		return nil, &damageError{s.offset, errTruncated}
	}
}

// fill reads more bytes.
func (s *sequence) fill() {
	if s.start > 0 {
		s.end = copy(s.buffer, s.buffer[s.start:s.end])
		s.start = 0
	}
	if s.end == len(s.buffer) {
		// Bounded: a prefix of event.MaxEntry bytes makes Decode give up.
		s.buffer = append(s.buffer, make([]byte, len(s.buffer))...)
	}
	n, err := s.reader.Read(s.buffer[s.end:])
	s.end += n
	if err != nil {
		s.ended = true
		if err != io.EOF {
			s.err = err
		}
	}
}
