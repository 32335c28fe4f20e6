// SPDX-License-Identifier: Apache-2.0

package event

import (
	"errors"
	"io"
	"math"
)

// sequenceBuffer is the initial size of the buffer of a Sequence in bytes. It grows for longer
// entries up to twice MaxEntry.
const sequenceBuffer = 256 << 10

// Sequence reads the entries of a CBOR sequence (RFC 8742). It is for use by one goroutine.
type Sequence struct {
	reader     io.Reader
	buffer     []byte
	start, end int // of the unread bytes in buffer
	offset     int64
	err        error // the final error of the reader
}

// ErrTruncated reports a sequence that ends inside an entry.
var ErrTruncated = errors.New("the log ends inside an entry")

// NewSequence returns a Sequence that reads from r.
func NewSequence(r io.Reader) *Sequence {
	return &Sequence{reader: r, buffer: make([]byte, sequenceBuffer)}
}

// Next returns the bytes of the next entry, and decodes it into g unless g is nil. Both are valid
// until the next call. The error is io.EOF at the end; ErrTruncated if the end is inside an entry; a
// *SyntaxError if the bytes are not an entry; or the error of the reader. Do not call Next after an
// error.
func (s *Sequence) Next(g *Group) ([]byte, error) {
	for {
		var n int
		var err error
		if rest := s.buffer[s.start:s.end]; g == nil {
			n, err = Len(rest)
		} else {
			n, err = Decode(rest, g)
		}
		if err == nil {
			entry := s.buffer[s.start : s.start+n]
			s.start += n
			s.offset += int64(n)
			return entry, nil
		}
		if err != io.EOF && err != io.ErrUnexpectedEOF {
			return nil, err
		}
		switch s.err {
		case nil:
			s.fill()
		case io.EOF:
			if err == io.ErrUnexpectedEOF {
				err = ErrTruncated
			}
			return nil, err
		default:
			s.offset += int64(s.end - s.start)
			s.start = s.end
			return nil, s.err
		}
	}
}

// Offset returns the offset of the next entry, in bytes. After an error it is the position of the
// error: the start of the entry, or the end of the data read.
func (s *Sequence) Offset() int64 { return s.offset }

// fill reads more bytes.
func (s *Sequence) fill() {
	if s.start > 0 {
		s.end = copy(s.buffer, s.buffer[s.start:s.end])
		s.start = 0
	}
	if s.end == len(s.buffer) {
		// The size is bounded: Decode fails with more than MaxEntry bytes.
		s.buffer = append(s.buffer, make([]byte, len(s.buffer))...)
	}
	n, err := s.reader.Read(s.buffer[s.end:])
	s.end += n
	s.err = err
}

// Keys of an entry in a stream, before the keys of the group.
const (
	keySequence = "seq"
	keyBoot     = "boot"
)

// AppendNumbered appends an encoded entry with two keys before its own: seq, its sequence number, and
// boot, its Entry.Boot. This is the form of entries in streams.
func AppendNumbered(dst, raw []byte, sequence uint64, boot int64) []byte {
	d := decoder{b: raw}
	keys := d.expect(majorMap, "a map")
	dst = appendHeader(dst, majorMap, keys+2)
	dst = appendText(dst, []byte(keySequence))
	dst = appendHeader(dst, majorUint, sequence)
	dst = appendText(dst, []byte(keyBoot))
	dst = appendWord(dst, boot)
	return append(dst, raw[d.pos:]...)
}

// CutNumbers is the inverse of AppendNumbered. It overwrites a byte of numbered; e.Raw, the entry as
// in the log, aliases it.
func CutNumbers(numbered []byte) (e Entry, err error) {
	d := decoder{b: numbered}
	keys := d.expect(majorMap, "a map")
	if d.err == nil && (keys < 2 || keys-2 >= 24) {
		d.fail("not a map of few keys")
	}
	d.key(keySequence)
	e.Sequence = d.expect(majorUint, "a sequence number")
	d.key(keyBoot)
	e.Boot = d.word("a time of boot")
	if d.err == nil && e.Sequence > math.MaxInt64 {
		d.fail("sequence number out of range")
	}
	if d.err != nil {
		return Entry{}, d.err
	}
	e.Raw = numbered[d.pos-1:]
	e.Raw[0] = majorMap | byte(keys-2)
	return e, nil
}

// MayBeMetadata reports whether an encoded entry may have the context of the log itself. It examines
// only the start, and returns true for entries that were not written by Append.
func MayBeMetadata(raw []byte) bool {
	const begin = "\x67context\x50"
	var id ContextID
	if len(raw) < 1+len(begin)+len(id) || string(raw[1:1+len(begin)]) != begin {
		return true
	}
	copy(id[:], raw[1+len(begin):])
	return id.IsZero()
}
