// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"context"
	"fmt"
	"io"

	"crypto-auditing/src/internal/logstore/frame"
)

// Walker visits the chunks of a segment in order.
type Walker struct {
	// Store is the required id of chunks; zero selects the id of the first chunk.
	Store [16]byte
	// Payloads enables checking the CRC of payloads.
	Payloads bool

	segment *Segment
	offset  int64
	last    uint64
}

// Walk returns a Walker at the beginning of the segment.
func (s *Segment) Walk() *Walker { return &Walker{segment: s} }

// Offset returns the offset of the Walker, after the last result of Next.
func (w *Walker) Offset() int64 { return w.offset }

// follows reports whether a chunk fits after the previous ones.
func (w *Walker) follows(h *frame.Header) bool {
	return (w.Store == [16]byte{} || h.StoreID == w.Store) && h.Sequence > w.last
}

// Next reads the header of the next chunk and returns its offset. Errors: io.EOF after the
// last chunk; *CorruptError for an untrusted part, which the next call skips;
// *IncompatibleError; others. The error of ctx may interrupt a search for the end of such a
// part, which may take long. A torn chunk at the end of the file is a *CorruptError of kind
// torn.
func (w *Walker) Next(ctx context.Context, h *frame.Header) (int64, error) {
	at := w.offset
	err := w.check(at, h)
	if err == nil {
		w.Store, w.last = h.StoreID, h.LastSequence()
		w.offset = at + h.ChunkSize()
		return at, nil
	}
	corrupt, ok := AsCorrupt(err)
	if !ok {
		return at, err
	}
	next, err := w.segment.Search(ctx, at+1, w.follows)
	if err == io.EOF {
		next, err = w.segment.Size()
	}
	if err != nil {
		return at, err
	}
	corrupt.Skipped = next - at
	w.offset = next
	return at, corrupt
}

func (w *Walker) check(at int64, h *frame.Header) error {
	s := w.segment
	if err := s.Header(at, h); err != nil {
		return err
	}
	switch {
	case w.Store != [16]byte{} && h.StoreID != w.Store:
		return s.corrupt(at, frame.KindStore, "the chunk belongs to another store")
	case h.Sequence <= w.last:
		return s.corrupt(at, frame.KindSequence, "sequence %d after %d", h.Sequence, w.last)
	}
	if w.Payloads {
		_, err := s.Payload(at, h)
		return err
	}
	size, err := s.Size()
	if err != nil {
		return err
	}
	if at+h.ChunkSize() > size {
		return s.wrap(frame.ErrShort, at)
	}
	return nil
}

func (s *Segment) corrupt(at int64, kind frame.Kind, format string, args ...any) *CorruptError {
	return &CorruptError{Segment: s.path, Offset: at, Kind: kind, Detail: fmt.Sprintf(format, args...)}
}
