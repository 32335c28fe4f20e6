// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"crypto-auditing/src/internal/event"
)

// Entry is an entry of the log as it stands there.
type Entry struct {
	// Sequence is its number.
	Sequence uint64
	// Boot is the time of boot to which its times are relative, in nanoseconds
	// since the Unix epoch.
	Boot int64
	// CBOR is one event group (audit.cddl), byte for byte as in the log. It is
	// valid until the next call of Next.
	CBOR []byte
}

// entries reads the stream of Open: a CBOR sequence of event groups, each with
// the keys seq and boot before the others.
type entries struct {
	reader     io.Reader
	buffer     []byte
	start, end int // of what has not been returned
	group      event.Group
	// ends is set if the broker reports how the stream ended; over if it has.
	ends, over bool
}

const entriesBuffer = 256 << 10

// newEntries reads a stream of a broker with the given version of its
// interface.
func newEntries(r io.Reader, version uint32) *entries {
	return &entries{reader: r, buffer: make([]byte, entriesBuffer), ends: version >= versionEnds}
}

// versionEnds is the version of the interface since which a stream ends with a
// notice.
const versionEnds = 2

// next returns the next entry. Errors: io.EOF at the end, *MissingError after
// which the next call continues, *StreamError if the stream ended before,
// ErrProtocol, that of the reader.
func (r *entries) next() (Entry, error) {
	if r.over {
		return Entry{}, io.EOF
	}
	for {
		n, err := event.Len(r.buffer[r.start:r.end])
		switch {
		case err == nil:
			framed := r.buffer[r.start : r.start+n]
			r.start += n
			return r.entry(framed)
		case err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF):
			return Entry{}, fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		if err := r.fill(); err != nil {
			if err == io.EOF && (r.ends || r.start < r.end) {
				err = &StreamError{}
			}
			return Entry{}, err
		}
	}
}

// fill reads more bytes.
func (r *entries) fill() error {
	if r.start > 0 {
		r.end = copy(r.buffer, r.buffer[r.start:r.end])
		r.start = 0
	}
	if r.end == len(r.buffer) {
		// Bounded: Len gives up at event.MaxEntry bytes.
		r.buffer = append(r.buffer, make([]byte, len(r.buffer))...)
	}
	n, err := r.reader.Read(r.buffer[r.end:])
	r.end += n
	if n > 0 {
		return nil // an error comes again
	}
	return err
}

// entry takes seq and boot off one framed entry. It overwrites them with the
// head of the map without them.
func (r *entries) entry(framed []byte) (Entry, error) {
	bad := func(problem string) (Entry, error) {
		return Entry{}, fmt.Errorf("%w: an entry of the stream %s", ErrProtocol, problem)
	}
	major, keys, size := head(framed)
	if major != majorMap || keys < 2 || keys > 24 {
		return bad("is no map of few keys")
	}
	at := size
	var values [2]int64
	for i, key := range []string{"\x63seq", "\x64boot"} {
		if !bytes.HasPrefix(framed[at:], []byte(key)) {
			return bad("does not begin with seq and boot")
		}
		at += len(key)
		major, value, size := head(framed[at:])
		values[i], at = int64(value), at+size
		switch {
		case value > math.MaxInt64 || major != majorUint && major != majorNegint:
			return bad("has a seq or boot that cannot be")
		case major == majorNegint:
			values[i] = ^values[i]
		}
	}
	if values[0] < 0 {
		return bad("has a negative seq")
	}
	at--
	framed[at] = majorMap | byte(keys-2)
	e := Entry{Sequence: uint64(values[0]), Boot: values[1], CBOR: framed[at:]}
	return e, r.notice(&e)
}

// Major types of CBOR (RFC 8949, section 3.1).
const (
	majorUint   = 0 << 5
	majorNegint = 1 << 5
	majorMap    = 5 << 5
)

// head returns the major type, the argument and the length of the head of an
// item. The item is known to be whole.
func head(b []byte) (major byte, argument uint64, size int) {
	if len(b) == 0 {
		return 0xff, 0, 0
	}
	major, low := b[0]&0xe0, b[0]&0x1f
	switch {
	case low < 24:
		return major, uint64(low), 1
	case low == 24 && len(b) >= 2:
		return major, uint64(b[1]), 2
	case low == 25 && len(b) >= 3:
		return major, uint64(binary.BigEndian.Uint16(b[1:])), 3
	case low == 26 && len(b) >= 5:
		return major, uint64(binary.BigEndian.Uint32(b[1:])), 5
	case low == 27 && len(b) >= 9:
		return major, binary.BigEndian.Uint64(b[1:]), 9
	}
	return 0xff, 0, 0
}

// notice returns the error that an entry stands for: *MissingError, or the end
// of the stream.
func (r *entries) notice(e *Entry) error {
	// Nearly all entries begin with a context that is not the log's own, and
	// need not be decoded to know.
	const begin = "\x67context\x50"
	if rest := e.CBOR[1:]; bytes.HasPrefix(rest, []byte(begin)) &&
		!bytes.HasPrefix(rest[len(begin):], make([]byte, len(event.ContextID{}))) {
		return nil
	}
	if _, err := event.Decode(e.CBOR, &r.group); err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if m, ok := r.group.Missing(); ok {
		return &MissingError{Entries: m.Entries, Reason: m.Reason}
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
