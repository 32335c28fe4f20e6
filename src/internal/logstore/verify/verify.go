// SPDX-License-Identifier: Apache-2.0

// Package verify checks a whole store: headers, checksums, the hash chain across segments
// and sealing, continuity of sequences, and indexes.
package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/segment"
)

// Options configure Store. EntryLen is required.
type Options struct {
	EntryLen frame.LenFunc
	// Progress, if set, is called after each chunk with the number of bytes done and in
	// total.
	Progress func(done, total int64)
	// Notices, if set, is called for each whole chunk with notices, with the first
	// sequence of its segment, its header and its entries. The entries are valid until it
	// returns.
	Notices func(segment uint64, h *frame.Header, entries []byte)
	// After is the entry after which the store is checked, 0 for all of it. Payloads
	// before the chunk that has it are not read.
	After uint64
	// Hash, if not zero, is the expected hash of the entry After.
	Hash frame.Hash
}

// Report is the result of Store.
type Report struct {
	Segments, Chunks            int
	Entries, Events, Lost       uint64
	Compressed, Uncompressed    uint64
	Store                       [16]byte
	FirstSequence, LastSequence uint64
	// Before is the sequence of the entry before the first one, even if that is in an
	// unreadable segment; 0 if there never was any. The entries up to it are no longer in
	// the store.
	Before uint64
	// Hash is the hash of the last entry. If it is kept elsewhere together with
	// LastSequence, it makes later tampering evident.
	Hash frame.Hash
	// Torn are segments with bytes after their last whole chunk, the remains of a kill.
	// The chain shows that no entry is missing. In the newest segment this may be a chunk
	// that is being written.
	Torn []Torn
	// Jumps is the number of jumps of the sequence, each after a crash of the machine.
	Jumps int
	// Unreadable are the segments that could not be opened or read. The others were
	// checked.
	Unreadable []*segment.UnreadableError
	// Foreign are files that have names of segments but do not belong to the store.
	Foreign []*segment.ForeignError
	// Break is the first error found, nil if there is none: a *segment.CorruptError, a
	// *segment.IncompatibleError or the first of Unreadable or Foreign. Anything after a
	// CorruptError or IncompatibleError has not been checked.
	Break error
}

// Torn describes a torn end.
type Torn struct {
	Segment string
	Offset  int64
	Bytes   int64
}

// Store checks the store in dir up to its first break. The error is a read error or that of
// ctx.
func Store(ctx context.Context, dir string, opts Options) (*Report, error) {
	list, err := segment.List(dir)
	if err != nil {
		return nil, err
	}
	v := &verifier{opts: opts, report: new(Report)}
	// If no segment has an id, each segment is reported.
	v.store, _, _ = segment.StoreID(dir, list)
	if v.checker, err = newChecker(&v.opts); err != nil {
		return nil, err
	}
	defer v.checker.close()
	list = segmentsFrom(list, opts.After)
	for _, first := range list {
		// A file that cannot be examined is reported in its turn.
		if info, err := os.Stat(filepath.Join(dir, segment.Name(first))); err == nil && info.Mode().IsRegular() {
			v.total += info.Size()
		}
	}
	for i, first := range list {
		err := v.segment(ctx, filepath.Join(dir, segment.Name(first)), first)
		if errors.Is(err, fs.ErrNotExist) && i == v.report.Segments+len(v.report.Foreign) && v.report.Chunks == 0 {
			continue // removed after it was listed, as the oldest are
		}
		if unreadable, ok := segment.AsUnreadable(err); ok {
			v.pass(unreadable, first)
			continue
		}
		var odd *segment.ForeignError
		if errors.As(err, &odd) {
			v.report.Foreign = append(v.report.Foreign, odd)
			if v.report.Break == nil {
				v.report.Break = odd
			}
			continue
		}
		var broken *brokenError
		if errors.As(err, &broken) {
			if v.report.Break == nil {
				v.report.Break = broken.error
			}
			return v.report, nil
		}
		if err != nil {
			return nil, err
		}
		v.report.Segments++
	}
	if v.report.Break == nil && v.last < opts.After {
		v.report.Break = &segment.CorruptError{
			Segment: dir, Kind: frame.KindSequence, Detail: fmt.Sprintf("the log ends with entry %d, before entry %d that it had", v.last, opts.After),
			From: v.last + 1, To: opts.After,
		}
	}
	return v.report, nil
}

// segmentsFrom returns the segments of a list that may have entries after an entry, and the segment
// with that entry.
func segmentsFrom(list []uint64, after uint64) []uint64 {
	i, found := slices.BinarySearch(list, after)
	if !found {
		i--
	}
	return list[max(i, 0):]
}

// pass records an unreadable segment. The chain starts again after it.
func (v *verifier) pass(e *segment.UnreadableError, first uint64) {
	e.From = first
	if v.last >= first {
		e.From = v.last + 1 // a part of it was read
	}
	if v.report.Break == nil {
		v.report.Break = e
	}
	v.report.Unreadable = append(v.report.Unreadable, e)
	v.passed, v.torn = e, nil
	v.report.Segments++
}

// brokenError distinguishes a break from a read error.
type brokenError struct{ error }

type verifier struct {
	opts    Options
	checker *checker
	report  *Report
	store   [16]byte // zero if unknown
	// The last sequence and hash of the last chunk whose header was examined, and the
	// number of such chunks. The report has those that were checked.
	last     uint64
	hash     frame.Hash
	examined int
	// torn is the end of the previous segment if that is torn.
	torn *segment.CorruptError
	// ended is the entry of the report for it, added once everything before is checked.
	ended *Torn
	// passed is the previous segment if it could not be read.
	passed *segment.UnreadableError

	done, total int64
}

// segment checks one segment, and that it continues the previous one.
func (v *verifier) segment(ctx context.Context, path string, first uint64) error {
	s, err := segment.Open(path)
	if err != nil {
		return err
	}
	defer s.Close()
	var h frame.Header
	if err := s.Header(0, &h); err == nil {
		if err := segment.Belongs(&h, first, v.store); err != nil {
			return err
		}
	}
	s.Sequential(true)
	var x frame.Index
	before := v.done
	err = v.chunks(ctx, s, first, &x)
	// An error in a chunk precedes an error after it.
	if checkErr := v.collect(0); checkErr != nil {
		err = checkErr
	}
	if err != nil {
		return err
	}
	if v.ended != nil {
		v.report.Torn = append(v.report.Torn, *v.ended)
		v.ended = nil
	}
	size, err := s.Size()
	if err != nil {
		return err
	}
	v.progress(before + size)
	return v.index(s, &x)
}

// chunks checks the chunks of a segment. The entries of the last ones are checked later.
func (v *verifier) chunks(ctx context.Context, s *segment.Segment, first uint64, x *frame.Index) error {
	path, before := s.Path(), v.done
	walker := s.Walk()
	walker.Store = v.report.Store
	var h frame.Header
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		offset, err := walker.Next(ctx, &h)
		if err == io.EOF {
			break
		}
		if corrupt, ok := segment.AsCorrupt(err); ok {
			if tail, err := v.isTail(s, walker, corrupt); err != nil || !tail {
				return broken(err, corrupt)
			}
			v.ended = &Torn{Segment: path, Offset: corrupt.Offset, Bytes: corrupt.Skipped}
			v.torn = corrupt
			break
		}
		if err != nil {
			return broken(nil, err)
		}
		if err := v.chunk(s, offset, first, &h); err != nil {
			return err
		}
		gather(x, offset, &h)
		v.progress(before + walker.Offset())
	}
	if len(x.Records) == 0 {
		return broken(nil, &segment.CorruptError{Segment: path, Kind: frame.KindTorn, Detail: "the segment holds no whole chunk"})
	}
	return nil
}

func (v *verifier) progress(done int64) {
	v.done = done
	if v.opts.Progress != nil {
		v.opts.Progress(done, max(done, v.total))
	}
}

// broken marks cause as a break, unless reading failed.
func broken(failed, cause error) error {
	if failed != nil {
		return failed
	}
	_, corrupt := segment.AsCorrupt(cause)
	var incompatible *segment.IncompatibleError
	if corrupt || errors.As(cause, &incompatible) {
		return &brokenError{cause}
	}
	return cause
}

// isTail reports whether a corrupt part extends to the end of the file. The next segment
// shows whether entries are missing.
func (v *verifier) isTail(s *segment.Segment, walker *segment.Walker, corrupt *segment.CorruptError) (bool, error) {
	size, err := s.Size()
	return walker.Offset() >= size && corrupt.Offset > 0, err
}

// chunk checks one chunk against the previous ones.
func (v *verifier) chunk(s *segment.Segment, offset int64, first uint64, h *frame.Header) error {
	r := v.report
	corrupt := func(kind frame.Kind, format string, args ...any) error {
		return &brokenError{&segment.CorruptError{Segment: s.Path(), Offset: offset, Kind: kind, Detail: fmt.Sprintf(format, args...)}}
	}
	start := h.Flags&frame.Start != 0
	switch {
	case start != (offset == 0):
		return corrupt(frame.KindSequence, "a start chunk belongs at the beginning of a segment, and only there")
	case start && h.Sequence != first:
		return corrupt(frame.KindSequence, "sequence %d in a segment named after %d", h.Sequence, first)
	case v.passed != nil && v.examined > 0:
		if h.SequenceBefore < v.last {
			return corrupt(frame.KindSequence, "sequence %d follows %d, which is after the one before", h.Sequence, v.last)
		}
		v.hash = h.HashBefore
	case v.examined == 0:
		if !start {
			return corrupt(frame.KindSequence, "the store does not begin with a start chunk")
		}
		r.Store, r.FirstSequence, r.Before = h.StoreID, h.Sequence, h.SequenceBefore
		if h.SequenceBefore <= v.opts.After {
			r.Before = 0 // no entry is missing after it
		}
		if v.passed != nil {
			r.Before = min(r.Before, r.Unreadable[0].From-1)
		}
		v.hash = h.HashBefore
		if h.SequenceBefore == 0 && h.HashBefore != frame.Genesis(h.StoreID) {
			return corrupt(frame.KindHash, "the hash before the first entry is not that of the store id")
		}
	case start && h.SequenceBefore > v.last && v.torn != nil:
		// The torn chunk was committed, so the break is there.
		v.torn.From, v.torn.To = v.last+1, h.SequenceBefore
		return &brokenError{v.torn}
	case start && h.SequenceBefore != v.last, !start && h.Sequence != v.last+1:
		return corrupt(frame.KindSequence, "sequence %d follows %d, which is not the one before", h.Sequence, v.last)
	case start && h.HashBefore != v.hash:
		return corrupt(frame.KindHash, "the hash before the segment is not that of the entry before")
	}
	if v.passed != nil && h.SequenceBefore >= v.passed.From {
		v.passed.To = h.SequenceBefore
	}
	v.passed = nil
	if start && v.examined > 0 && h.Sequence != h.SequenceBefore+1 {
		r.Jumps++
	}
	v.torn = nil
	hash := v.hash
	v.last, v.hash = h.LastSequence(), h.Hash
	v.examined++
	if v.last < v.opts.After {
		return nil // known to be good
	}
	return v.contents(s, offset, first, h, hash)
}

// contents starts the check of a chunk's entries. hash is the hash of the entry before.
func (v *verifier) contents(s *segment.Segment, offset int64, first uint64, h *frame.Header, hash frame.Hash) error {
	j := v.checker.begin()
	for j == nil {
		if err := v.collect(len(v.checker.order) - 1); err != nil {
			return err
		}
		j = v.checker.begin()
	}
	payload, err := s.Raw(j.payload, offset, h)
	if err != nil {
		v.checker.giveBack(j)
		return broken(nil, err)
	}
	j.segment, j.offset, j.first, j.header, j.payload, j.before = s, offset, first, *h, payload, hash
	j.header.Filter = frame.Filter{}
	if j.at = 0; v.opts.Hash != (frame.Hash{}) {
		j.at = v.opts.After
	}
	v.checker.add(j)
	return nil
}

// collect processes the results of the oldest chunks until most are in progress. After the
// first break, it ignores the results of the others.
func (v *verifier) collect(most int) (err error) {
	for len(v.checker.order) > most {
		j := v.checker.next()
		if err == nil {
			err = v.count(j)
		}
		if err != nil {
			most = 0
		}
		v.checker.giveBack(j)
	}
	return err
}

// count adds a checked chunk to the report.
func (v *verifier) count(j *contents) error {
	if j.err != nil {
		return j.err
	}
	r, h := v.report, &j.header
	if j.at != 0 && j.at >= h.Sequence && j.at <= h.LastSequence() && j.hash != v.opts.Hash {
		return &brokenError{&segment.CorruptError{
			Segment: j.segment.Path(), Offset: j.offset, Kind: frame.KindHash,
			Detail: fmt.Sprintf("the hash of entry %d is %x", j.at, j.hash[:]), From: j.at, To: j.at,
		}}
	}
	if r.Chunks == 0 {
		r.FirstSequence = h.Sequence
	}
	r.Chunks++
	r.Entries += uint64(h.Entries)
	r.Events += uint64(h.Events)
	r.Lost += h.Lost
	r.Compressed += uint64(h.ChunkSize())
	r.Uncompressed += uint64(h.Uncompressed)
	r.LastSequence, r.Hash = h.LastSequence(), h.Hash
	if v.opts.Notices != nil && h.Flags&frame.Notice != 0 {
		v.opts.Notices(j.first, h, j.entries)
	}
	return nil
}

// gather builds the index from the headers.
func gather(x *frame.Index, offset int64, h *frame.Header) {
	if len(x.Records) == 0 {
		*x = frame.Index{
			StoreID: h.StoreID, BootID: h.BootID, Sequence: h.Sequence,
			First: h.First, Offset: h.Offset, Records: x.Records,
		}
	}
	x.Flags |= h.Flags & frame.Notice
	x.LastSequence, x.Hash = h.LastSequence(), h.Hash
	x.First, x.Last = min(x.First, h.First), max(x.Last, h.Last)
	x.Events += uint64(h.Events)
	x.Lost += h.Lost
	x.Uncompressed += uint64(h.Uncompressed)
	x.Records = append(x.Records, frame.Record{Offset: offset, Sequence: h.Sequence, First: h.First, Last: h.Last})
}

// index compares the index of a sealed segment with its headers.
func (v *verifier) index(s *segment.Segment, want *frame.Index) error {
	x, sealed, err := s.Index()
	if err != nil {
		return broken(nil, err)
	}
	if !sealed {
		return nil
	}
	same := slices.Equal(x.Records, want.Records)
	// Checking the filter would require the entries.
	x.Filter, x.Records, want.Records = frame.Filter{}, nil, nil
	if !same || !reflect.DeepEqual(x, want) {
		return &brokenError{&segment.CorruptError{
			Segment: s.Path(), Offset: 0, Kind: frame.KindIndex, Detail: "the index disagrees with the headers",
		}}
	}
	return nil
}
