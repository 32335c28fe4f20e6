// SPDX-License-Identifier: Apache-2.0

// Package seal rewrites a closed segment with larger, better compressed chunks and an index
// at the end. Entries, sequences and hashes do not change.
package seal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"crypto-auditing/src/internal/logstore/file"
	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/segment"
)

// Options configure a Sealer. EntryLen and Store are required.
type Options struct {
	// Store is the id of the store. Segments of other stores are not sealed.
	Store    [16]byte
	EntryLen frame.LenFunc
	// Terms appends the hashes of all terms of an entry, of the Kinds and of its values.
	// Nil: merged chunks get no filter.
	Terms frame.TermsFunc
	Kinds frame.Kinds
	// ChunkSize is the number of bytes of entries to merge into a chunk. Default: 512
	// KiB.
	ChunkSize int
	Files     file.System
}

const (
	// Twice this size saves 1 % of the space and takes 8 MiB more memory.
	defaultChunkSize = 512 << 10
	// together is the amount compressed as a whole. It is twice the chunk size, because
	// merging exceeds that.
	together = 1 << 20
)

// mostTerms limits the memory for the filter of a segment. A filter with more terms would
// rule out nothing anyway.
const mostTerms = 8 * frame.MaxFilter

// Result is the result of sealing a segment.
type Result struct {
	// Before and After are the sizes of the file in bytes.
	Before, After int64
	Chunks        int
}

// Sealer seals segments, one at a time. It holds a few MiB of memory.
type Sealer struct {
	opts    Options
	decoder *frame.Decoder
	// Both encoders are tried, because on some data the fast one compresses better.
	encoders [2]*frame.Encoder
}

// New returns a Sealer, which must be closed.
func New(opts Options) (*Sealer, error) {
	if opts.ChunkSize == 0 {
		opts.ChunkSize = defaultChunkSize
	}
	if opts.Files == nil {
		opts.Files = file.Plain{}
	}
	d, err := frame.NewDecoder()
	if err != nil {
		return nil, err
	}
	s := &Sealer{opts: opts, decoder: d}
	for i, level := range []frame.Level{frame.Best, frame.Fast} {
		if s.encoders[i], err = frame.NewEncoder(level, together); err != nil {
			d.Close()
			return nil, err
		}
	}
	return s, nil
}

// Close releases the memory.
func (s *Sealer) Close() { s.decoder.Close() }

// ErrSealed reports that the segment is sealed already.
var ErrSealed = errors.New("segment is sealed")

// Segment seals the segment at path, which must not be written by any process. The new file
// is complete, durable and checked against the hash chain before it replaces the old one. Any
// failure before that, including a kill, leaves the old one unchanged. A segment that is
// damaged or ends torn is not sealed, because this would destroy evidence: the error is a
// *segment.CorruptError.
func (s *Sealer) Segment(ctx context.Context, path string) (Result, error) {
	in, err := segment.Open(path)
	if err != nil {
		return Result{}, err
	}
	defer in.Close()
	if _, sealed, err := in.Index(); err == nil && sealed {
		return Result{}, ErrSealed
	}
	temporary := path + ".tmp"
	f, err := s.opts.Files.Create(temporary)
	if errors.Is(err, os.ErrExist) {
		// Left by an attempt that could not clean up.
		if err = s.opts.Files.Remove(temporary); err == nil {
			f, err = s.opts.Files.Create(temporary)
		}
	}
	if err != nil {
		return Result{}, fmt.Errorf("cannot seal %s: %w", path, err)
	}
	result, err := s.rewrite(ctx, in, f, temporary)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = replaceable(in, path)
	}
	if err == nil {
		err = s.opts.Files.Rename(temporary, path)
	}
	if err == nil {
		err = s.opts.Files.SyncDirectory(filepath.Dir(path))
	} else {
		_ = s.opts.Files.Remove(temporary)
	}
	if err != nil {
		return Result{}, fmt.Errorf("cannot seal %s: %w", path, err)
	}
	return result, nil
}

// replaceable returns an error unless path still names the file that was rewritten.
func replaceable(in *segment.Segment, path string) error {
	same, err := in.IsAt(path)
	if err == nil && !same {
		err = errors.New("another file has taken its name")
	}
	return err
}

func (s *Sealer) rewrite(ctx context.Context, in *segment.Segment, f file.File, temporary string) (Result, error) {
	var result Result
	var err error
	if result.Before, err = in.Size(); err != nil {
		return result, err
	}
	w := &rewriter{Sealer: s, file: f, chain: frame.NewChain(), values: []uint64{}, allValues: []uint64{}}
	in.Sequential(true)
	walker := in.Walk()
	var h frame.Header
	for err == nil {
		var offset int64
		if offset, err = walker.Next(ctx, &h); err == nil {
			err = w.add(in, offset, &h)
		}
		if err == nil {
			err = ctx.Err()
		}
	}
	if err != io.EOF {
		return result, err
	}
	if err := w.finish(); err != nil {
		return result, err
	}
	result.After, result.Chunks = w.offset, len(w.index.Records)
	return result, s.check(ctx, temporary, &w.index)
}

// rewriter merges chunks up to the chunk size.
type rewriter struct {
	*Sealer
	file   file.File
	offset int64
	chain  *frame.Chain
	index  frame.Index
	// Sorted terms of the written chunks of the segment, and those of the kind Value.
	all, allValues []uint64
	bare           bool // a chunk has no filter
	valueless      bool // a chunk has a filter without values

	merged  frame.Header // of the collected chunks; Entries is 0 if there are none
	entries []byte
	terms   []uint64
	values  []uint64
	joined  []uint64
	buffer  []byte
	ends    []uint32
	chunk   []byte
	other   []byte
}

// add adds one chunk.
func (w *rewriter) add(in *segment.Segment, offset int64, h *frame.Header) error {
	filter := h.Filter.Clone()
	entries, err := in.Entries(w.buffer, w.decoder, offset, h)
	if err != nil {
		return err
	}
	w.buffer, h.Filter = entries, filter
	if err := w.follows(in, offset, h, entries); err != nil {
		return err
	}
	if w.merged.Entries > 0 && !w.fits(h) {
		if err := w.write(); err != nil {
			return err
		}
	}
	w.collect(h, entries)
	return nil
}

// follows checks that the chunk continues the previous ones.
func (w *rewriter) follows(in *segment.Segment, offset int64, h *frame.Header, entries []byte) error {
	corrupt := func(kind frame.Kind, detail string) error {
		return &segment.CorruptError{Segment: in.Path(), Offset: offset, Kind: kind, Detail: detail}
	}
	if offset == 0 {
		if h.Flags&frame.Start == 0 {
			return corrupt(frame.KindSequence, "the segment does not begin with a start chunk")
		}
		if h.StoreID != w.opts.Store {
			return corrupt(frame.KindStore, "the segment belongs to another store")
		}
		if first, ok := segment.ParseName(filepath.Base(in.Path())); ok && h.Sequence != first {
			return corrupt(frame.KindSequence, fmt.Sprintf("the segment begins with sequence %d, which its name is not", h.Sequence))
		}
		w.chain.Set(h.HashBefore)
		w.index = frame.Index{
			StoreID: h.StoreID, BootID: h.BootID, Sequence: h.Sequence,
			First: h.First, Offset: h.Offset, LastSequence: h.Sequence - 1,
		}
	}
	if h.Sequence != w.index.LastSequence+1 {
		return corrupt(frame.KindSequence, fmt.Sprintf("sequence %d follows %d", h.Sequence, w.index.LastSequence))
	}
	if h.BootID != w.index.BootID || h.Offset != w.index.Offset {
		return corrupt(frame.KindHeader, "the chunk is of another boot or clock than its segment")
	}
	ends, err := frame.AppendEnds(w.ends[:0], entries, w.opts.EntryLen)
	w.ends = ends
	if err == nil && len(ends) == int(h.Entries) {
		err = w.chain.Add(entries, ends)
	}
	if err != nil || len(ends) != int(h.Entries) {
		return corrupt(frame.KindEntries, fmt.Sprintf("%d entries, but %d according to the header: %v", len(ends), h.Entries, err))
	}
	if w.chain.Sum() != h.Hash {
		return corrupt(frame.KindHash, "the hash after the chunk is another")
	}
	w.index.LastSequence = h.LastSequence()
	return nil
}

const separatingFlags = frame.Start | frame.Notice

// fits reports whether the chunk may be merged with the collected ones.
func (w *rewriter) fits(h *frame.Header) bool {
	m := &w.merged
	return m.Flags&separatingFlags == h.Flags&separatingFlags && m.Flags&frame.Start == 0 &&
		len(w.entries) < w.opts.ChunkSize && len(w.entries)+int(h.Uncompressed) <= frame.MaxUncompressed
}

func (w *rewriter) collect(h *frame.Header, entries []byte) {
	m := &w.merged
	if m.Entries == 0 {
		*m = *h
		m.Flags |= frame.Sealed
		w.entries = append(w.entries[:0], entries...)
		return
	}
	m.First, m.Last = min(m.First, h.First), max(m.Last, h.Last)
	m.Lost += h.Lost
	m.Entries += h.Entries
	m.Events += h.Events
	m.Hash = h.Hash
	m.Filter = frame.Filter{}
	w.entries = append(w.entries, entries...)
}

// write writes the collected chunks as one chunk.
func (w *rewriter) write() error {
	m := &w.merged
	w.filter(m)
	other := *m
	w.chunk = w.encoders[0].AppendChunk(w.chunk[:0], m, w.entries)
	w.other = w.encoders[1].AppendChunk(w.other[:0], &other, w.entries)
	if len(w.other) < len(w.chunk) {
		*m, w.chunk, w.other = other, w.other, w.chunk
	}
	x := &w.index
	x.Records = append(x.Records, frame.Record{Offset: w.offset, Sequence: m.Sequence, First: m.First, Last: m.Last})
	x.Flags |= m.Flags & frame.Notice
	x.First, x.Last = min(x.First, m.First), max(x.Last, m.Last)
	x.Events += uint64(m.Events)
	x.Lost += m.Lost
	x.Uncompressed += uint64(len(w.entries))
	x.Hash = m.Hash
	m.Entries = 0
	return w.put(w.chunk, false)
}

// filter sets the filter of the collected chunk. An unmerged chunk keeps its own filter if
// Terms is nil. The metadata entry has none.
func (w *rewriter) filter(m *frame.Header) {
	switch {
	case m.Flags&frame.Start != 0:
	case w.opts.Terms == nil:
		w.bare = true
	default:
		w.terms, w.values = w.terms[:0], w.values[:0]
		for rest := w.entries; len(rest) > 0; {
			// follows has validated these entries.
			n, _ := w.opts.EntryLen(rest)
			w.terms, w.values = w.opts.Terms(w.terms, w.values, rest[:n])
			rest = rest[n:]
		}
		m.Filter = frame.Filter{}
		w.joined = m.Filter.ResetWith(w.opts.Kinds, w.terms, w.values, w.joined)
		w.all = merged(w.all, w.terms)
		w.bare = w.bare || len(w.all) > mostTerms
		w.valueless = w.valueless || !m.Filter.Kinds.Has(frame.Value)
		if !w.valueless {
			w.allValues = merged(w.allValues, w.values)
			w.valueless = len(w.allValues) > frame.MaxValues
		}
	}
	if w.bare {
		w.all = nil
	}
	if w.valueless {
		w.allValues = nil
	}
}

// merged adds terms, which it sorts in place, to sorted terms.
func merged(all, terms []uint64) []uint64 {
	slices.Sort(terms)
	all = append(all, slices.Compact(terms)...)
	slices.Sort(all)
	return slices.Compact(all)
}

func (w *rewriter) put(b []byte, sync bool) error {
	n, err := w.file.Commit([][]byte{b}, w.offset, sync)
	w.offset += n
	return err
}

// finish writes the last chunk and the index and makes everything durable.
func (w *rewriter) finish() error {
	if w.merged.Entries == 0 {
		return errors.New("segment holds no chunk")
	}
	if err := w.write(); err != nil {
		return err
	}
	if !w.bare {
		w.index.Filter.ResetWith(w.opts.Kinds, w.all, w.allValues, nil)
	}
	return w.put(w.index.Append(w.chunk[:0]), true)
}

// check reads the new file and compares it with the expected index.
func (s *Sealer) check(ctx context.Context, path string, want *frame.Index) error {
	out, err := segment.Open(path)
	if err != nil {
		return err
	}
	defer out.Close()
	out.Sequential(true)
	chain := frame.NewChain()
	var ends []uint32
	walker := out.Walk()
	var h frame.Header
	var buffer []byte
	for {
		offset, err := walker.Next(ctx, &h)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if buffer, err = out.Entries(buffer, s.decoder, offset, &h); err != nil {
			return err
		}
		if offset == 0 {
			chain.Set(h.HashBefore)
		}
		if ends, err = frame.AppendEnds(ends[:0], buffer, s.opts.EntryLen); err != nil {
			return err
		}
		if err := chain.Add(buffer, ends); err != nil {
			return err
		}
	}
	if chain.Sum() != want.Hash || h.LastSequence() != want.LastSequence {
		return errors.New("the sealed entries differ from the original ones")
	}
	_, sealed, err := out.Index()
	if err == nil && !sealed {
		err = errors.New("the index is missing")
	}
	return err
}
