// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"crypto-auditing/src/internal/logstore/file"
	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/segment"
)

// Batch is what Append makes a chunk of.
type Batch struct {
	// Entries are Count entries one after another, at most MaxBatch bytes.
	// They are not kept.
	Entries []byte
	Count   uint32
	// Events is the number of events in them.
	Events uint32
	// First is the earliest start and Last the latest end of the entries, in
	// nanoseconds since boot.
	First, Last uint64
	// Lost is the number of events lost since the batch before.
	Lost uint64
	// Terms are the hashes (TermHash) of all terms of the entries; they are
	// reordered. Nil: no filter is written.
	Terms []uint64
	// Notice says that the entries are about the log, so that no filter may
	// hide them.
	Notice bool
}

// Position is where a chunk was put.
type Position struct {
	// Cursor is behind the last entry of the chunk, First the sequence of
	// its first entry.
	Cursor Cursor
	First  uint64
	// Segment is the file name, Offset the place of the chunk in the file.
	Segment string
	Offset  int64
}

// ErrClosed says that the Writer has been closed.
var ErrClosed = errors.New("log store is closed")

// Writer appends to a store. Its methods may be called concurrently.
type Writer struct {
	dir  string
	opts Options
	lock *lock

	mu       sync.Mutex
	encoder  *frame.Encoder
	chain    *frame.Chain
	kinds    frame.Kinds
	store    [16]byte
	next     uint64 // sequence of the next entry
	active   active
	lastSync time.Time
	durable  uint64 // sequence up to which all is durable
	failed   error  // set when a failed sync makes what follows doubtful
	buffer   []byte
	filter   frame.Filter
	closed   bool
}

// active is the segment that is being written.
type active struct {
	file    file.File
	first   uint64
	end     int64 // where the next chunk goes
	created Moment
	entries uint64 // without the metadata entry
}

// Open takes the store in dir, which is created if it does not exist, for
// writing. It finds the end of what is there, changes nothing of it, and
// begins a new segment. The error is a *LockedError if the store has a
// writer.
func Open(dir string, opts Options) (*Writer, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("cannot create log directory: %w", err)
	}
	l, left, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	w := &Writer{dir: dir, opts: opts, lock: l, chain: frame.NewChain(), kinds: frame.KindsOf(opts.TermKinds...)}
	if err := w.open(left); err != nil {
		l.release()
		return nil, err
	}
	return w, nil
}

func (w *Writer) open(left string) error {
	var err error
	if w.encoder, err = frame.NewEncoder(w.opts.Level); err != nil {
		return err
	}
	if err := w.removeUnfinished(); err != nil {
		return err
	}
	end, err := recoverStore(w.dir, w.opts.BootID, left)
	if err != nil {
		return err
	}
	w.store, w.next = end.store, end.next
	w.chain.Set(end.hash)
	if left != "" {
		if err := w.lock.leave(""); err != nil {
			return err
		}
	}
	return w.begin(end.last)
}

// removeUnfinished removes what a killed writer was about to put in place.
func (w *Writer) removeUnfinished() error {
	names, err := os.ReadDir(w.dir)
	if err != nil {
		return fmt.Errorf("cannot list log directory: %w", err)
	}
	for _, name := range names {
		if whole, ok := strings.CutSuffix(name.Name(), temporary); ok {
			if _, ok := segment.ParseName(whole); !ok {
				continue
			}
			if err := w.opts.Files.Remove(filepath.Join(w.dir, name.Name())); err != nil {
				return fmt.Errorf("cannot remove unfinished segment: %w", err)
			}
		}
	}
	return nil
}

const temporary = ".tmp"

// begin creates the next segment with its first chunk, both durable, and
// makes it the active one. before is the last sequence before it.
// The old segment stays active if that fails.
func (w *Writer) begin(before uint64) error {
	now := w.opts.Clock.Now()
	hash := w.chain.Sum()
	entry := w.opts.Metadata(now)
	h := frame.Header{
		Flags:          frame.Start,
		First:          now.Boot,
		Last:           now.Boot,
		Offset:         now.Offset,
		HashBefore:     hash,
		SequenceBefore: before,
	}
	w.filter.Reset(w.kinds, nil)
	chunk, err := w.chunk(&h, entry, 1)
	if err != nil {
		return fmt.Errorf("cannot make metadata chunk: %w", err)
	}
	name := filepath.Join(w.dir, segment.Name(w.next))
	f, err := w.place(name, chunk)
	if err != nil {
		w.chain.Set(hash)
		return err
	}
	if w.active.file != nil {
		// Its data is durable: rotation syncs before it gets here.
		_ = w.active.file.Close()
	}
	w.active = active{file: f, first: w.next, end: int64(len(chunk)), created: now}
	w.lastSync = time.Now()
	w.next++
	w.durable = w.next - 1
	w.announce(w.active.first, 0)
	return nil
}

// place puts a segment that holds one chunk under its name.
func (w *Writer) place(name string, chunk []byte) (file.File, error) {
	f, err := w.opts.Files.Create(name + temporary)
	if err != nil {
		return nil, err
	}
	_, err = f.Commit([][]byte{chunk}, 0, true)
	if err == nil {
		err = w.opts.Files.Rename(name+temporary, name)
	}
	if err == nil {
		err = w.opts.Files.SyncDirectory(w.dir)
	}
	if err != nil {
		f.Close()
		_ = w.opts.Files.Remove(name + temporary)
		return nil, fmt.Errorf("cannot begin segment: %w", err)
	}
	return f, nil
}

// chunk makes a chunk in w.buffer and advances the hash chain.
func (w *Writer) chunk(h *frame.Header, entries []byte, count uint32) ([]byte, error) {
	before := w.chain.Sum()
	n, err := w.chain.Add(entries, w.opts.EntryLen)
	if err != nil {
		return nil, err
	}
	if n != int(count) || n == 0 {
		w.chain.Set(before)
		return nil, fmt.Errorf("%d entries where %d were announced", n, count)
	}
	h.StoreID, h.BootID = w.store, w.opts.BootID
	h.Sequence, h.Entries = w.next, count
	h.Hash, h.Filter = w.chain.Sum(), w.filter
	w.buffer = w.encoder.AppendChunk(w.buffer[:0], h, entries)
	return w.buffer, nil
}

func (w *Writer) announce(first uint64, offset int64) Position {
	p := Position{
		Cursor:  Cursor{Store: w.store, Sequence: w.next - 1},
		First:   first,
		Segment: segment.Name(w.active.first),
		Offset:  offset,
	}
	if w.opts.Committed != nil {
		w.opts.Committed(p)
	}
	return p
}

// Append commits a batch as one chunk. On error nothing of it is in the
// store, and its sequence numbers are free.
func (w *Writer) Append(b Batch) (Position, error) {
	if len(b.Entries) > MaxBatch {
		return Position{}, fmt.Errorf("cannot append batch: %d bytes, more than %d", len(b.Entries), MaxBatch)
	}
	if b.First > b.Last {
		return Position{}, fmt.Errorf("cannot append batch: first time %d is after last time %d", b.First, b.Last)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return Position{}, ErrClosed
	}
	now := w.opts.Clock.Now()
	if w.ends(now) {
		if err := w.rotate(); err != nil {
			return Position{}, err
		}
	}
	h := frame.Header{First: b.First, Last: b.Last, Offset: w.active.created.Offset, Lost: b.Lost, Events: b.Events}
	if b.Notice {
		h.Flags |= frame.Notice
	}
	kinds := w.kinds
	if b.Terms == nil {
		kinds = 0
	}
	w.filter.Reset(kinds, b.Terms)
	before := w.chain.Sum()
	chunk, err := w.chunk(&h, b.Entries, b.Count)
	if err != nil {
		return Position{}, fmt.Errorf("cannot append batch: %w", err)
	}
	due := w.opts.SyncInterval >= 0 && time.Since(w.lastSync) >= w.opts.SyncInterval
	offset, first := w.active.end, w.next
	n, err := w.active.file.Commit([][]byte{chunk}, offset, due)
	if n < int64(len(chunk)) {
		w.chain.Set(before)
		return Position{}, fmt.Errorf("cannot append batch: %w", err)
	}
	w.active.end += n
	w.active.entries += uint64(b.Count)
	w.next += uint64(b.Count)
	if due {
		w.synced(err)
	}
	return w.announce(first, offset), nil
}

// ends reports whether the active segment has to end before the next chunk.
func (w *Writer) ends(now Moment) bool {
	const step = int64(time.Millisecond)
	if d := now.Offset - w.active.created.Offset; d > step || d < -step {
		return true
	}
	return w.active.end >= w.opts.SegmentSize ||
		w.active.entries > 0 && now.Boot-w.active.created.Boot >= uint64(w.opts.SegmentAge)
}

func (w *Writer) synced(err error) {
	w.lastSync = time.Now()
	if err != nil {
		w.failed = err
	} else if w.failed == nil {
		w.durable = w.next - 1
	}
}

// sync makes everything committed durable.
func (w *Writer) sync() error {
	if w.durable == w.next-1 {
		return nil
	}
	_, err := w.active.file.Commit(nil, w.active.end, true)
	w.synced(err)
	return w.failed
}

// rotate begins a new segment.
func (w *Writer) rotate() error {
	if err := w.sync(); err != nil {
		return fmt.Errorf("cannot rotate: %w", err)
	}
	return w.begin(w.next - 1)
}

// Flush makes everything appended durable and returns the cursor behind it.
func (w *Writer) Flush() (Cursor, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return Cursor{}, ErrClosed
	}
	if err := w.sync(); err != nil {
		return Cursor{}, fmt.Errorf("cannot flush: %w", err)
	}
	return Cursor{Store: w.store, Sequence: w.durable}, nil
}

// Rotate ends the active segment and begins a new one, whose file name it
// returns.
func (w *Writer) Rotate() (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return "", ErrClosed
	}
	if err := w.rotate(); err != nil {
		return "", err
	}
	return segment.Name(w.active.first), nil
}

// Newest returns the cursor behind the last committed entry.
func (w *Writer) Newest() Cursor {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Cursor{Store: w.store, Sequence: w.next - 1}
}

// Close makes everything durable and gives the store free.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return ErrClosed
	}
	w.closed = true
	err := w.sync()
	if err == nil {
		err = w.lock.leave(Cursor{Store: w.store, Sequence: w.next - 1}.String())
	}
	if closeErr := w.active.file.Close(); err == nil && closeErr != nil {
		err = closeErr
	}
	if releaseErr := w.lock.release(); err == nil {
		err = releaseErr
	}
	if err != nil {
		return fmt.Errorf("cannot close log store: %w", err)
	}
	return nil
}
