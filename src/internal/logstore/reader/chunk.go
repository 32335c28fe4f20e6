// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"iter"

	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/segment"
)

// CorruptError reports a part of a segment that cannot be trusted. Reading continues after
// it.
type CorruptError = segment.CorruptError

// IncompatibleError reports that a newer version wrote the segment.
type IncompatibleError = segment.IncompatibleError

// UnreadableError reports a segment that cannot be opened or read; reading
// continues with the next one.
type UnreadableError = segment.UnreadableError

// ForeignError reports a file that has the name of a segment but is not a segment of the
// store.
type ForeignError = segment.ForeignError

// Chunk is a chunk returned by a Reader. It is valid until the next call of a method of the
// Reader.
type Chunk struct {
	// Header describes the whole chunk; its Filter is not retained.
	Header frame.Header
	// Segment is the path of the file, Offset the offset of the chunk.
	Segment string
	Offset  int64
	// Entries are the entries with the sequences First to Last: all entries of the chunk,
	// except those on the other side of the position sought.
	Entries     []byte
	First, Last uint64

	length frame.LenFunc
	err    error
}

// All iterates over the entries with their sequence numbers. If the chunk does not match its
// header, it ends early and Err returns the error.
func (c *Chunk) All() iter.Seq2[uint64, []byte] {
	return func(yield func(uint64, []byte) bool) {
		rest, sequence := c.Entries, c.First
		for len(rest) > 0 {
			n, err := c.length(rest)
			if err != nil || n <= 0 || n > len(rest) || sequence > c.Last {
				detail := "more entries than in the header"
				if err != nil {
					detail = err.Error()
				}
				c.fail(sequence, detail)
				return
			}
			if !yield(sequence, rest[:n]) {
				return
			}
			rest = rest[n:]
			sequence++
		}
		if sequence != c.Last+1 {
			c.fail(sequence, "fewer entries than in the header")
		}
	}
}

func (c *Chunk) fail(sequence uint64, detail string) {
	c.err = &CorruptError{
		Segment: c.Segment, Offset: c.Offset, Kind: frame.KindEntries, Detail: detail,
		From: sequence, To: max(sequence, c.Last),
	}
}

// Err returns the *CorruptError that ended the last iteration early, or nil.
func (c *Chunk) Err() error { return c.err }

// RealTime converts a time since boot, in nanoseconds, to nanoseconds since
// the Unix epoch.
func (c *Chunk) RealTime(boot uint64) int64 { return frame.RealTime(boot, c.Header.Offset) }

// set makes c the whole chunk described by c.Header.
func (c *Chunk) set(path string, offset int64, entries []byte, length frame.LenFunc) {
	c.Segment, c.Offset, c.Entries = path, offset, entries
	c.First, c.Last = c.Header.Sequence, c.Header.LastSequence()
	c.length, c.err = length, nil
	c.Header.Filter = frame.Filter{}
}

// cutAt drops the entries from sequence on.
func (c *Chunk) cutAt(sequence uint64) error {
	all := *c
	if err := all.skipTo(sequence); err != nil {
		return err
	}
	c.Entries = c.Entries[:len(c.Entries)-len(all.Entries)]
	c.Last = sequence - 1
	return nil
}

// skipTo drops the entries before sequence.
func (c *Chunk) skipTo(sequence uint64) error {
	for c.First < sequence {
		n, err := c.length(c.Entries)
		if err != nil || n <= 0 || n > len(c.Entries) {
			c.fail(c.First, "it ends before the entry that was sought")
			return c.err
		}
		c.Entries = c.Entries[n:]
		c.First++
	}
	return nil
}
