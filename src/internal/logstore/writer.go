// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/logstore/file"
	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/queue"
	"crypto-auditing/src/internal/logstore/segment"
)

// Batch is a batch of entries for one chunk.
type Batch struct {
	// Entries are concatenated entries, at most MaxBatch bytes. Ends[i] is the end offset
	// of entry i. They are not retained.
	Entries []byte
	Ends    []uint32
	// Events is the number of events in them. Hits is not written; it is summed up in
	// Lost.
	Events uint32
	Hits   uint64
	// First is the earliest start and Last the latest end of the entries, in nanoseconds
	// since boot.
	First, Last uint64
	// Lost is the number of events lost since the previous batch.
	Lost uint64
	// Terms are the hashes (TermHash) of all terms of the entries. They are reordered.
	// Nil: no filter is written.
	Terms []uint64
	// Values are the hashes of all terms of the kind Value. They are reordered. Nil: the
	// filter has none.
	Values []uint64
	// Notice marks entries about the log, which no filter may hide.
	Notice bool
}

// End records that the last entry ends at the current end of Entries.
func (b *Batch) End() { b.Ends = append(b.Ends, uint32(len(b.Entries))) }

// Writer appends to a store. It is safe for concurrent use.
type Writer struct {
	dir   string
	opts  Options
	lock  *lock
	queue *queue.Queue
	// maintenance is held while segments are sealed or removed, one operation at a time.
	// It is locked before the other locks.
	maintenance sync.Mutex
	settled     map[uint64]bool // closed segments that need no sealing
	announced   uint64          // sequence up to which removals have been recorded
	previous    Previous

	mu      sync.Mutex
	encoder *frame.Encoder
	chain   *frame.Chain
	kinds   frame.Kinds
	filter  frame.Filter
	terms   []uint64 // memory for the terms of a filter
	store   [16]byte
	next    uint64 // sequence of the next entry
	active  active
	closed  bool
	// recording is set by StartRecording.
	recording bool
	// displaced is the number of active segments that another program removed.
	displaced uint64
	directory file.Identity
	found     uint64 // first sequence of the newest segment when the store was opened
	recovered uint64 // last sequence when the store was opened
	// foreign are files that have names of segments but do not belong to the store,
	// checked those that belong or may belong to it.
	foreign map[uint64]error
	checked map[uint64]bool
}

// active is the segment for the next chunk.
type active struct {
	name    string
	end     int64 // offset of the next chunk
	created Moment
	entries uint64 // without the metadata entry
}

// Open opens the store in dir for writing and creates it if it does not exist. It determines
// the end of the existing data, does not change that data, and starts a new segment; on a
// full disk, as soon as there is space. The error is a *LockedError if the store has a
// writer.
func Open(ctx context.Context, dir string, opts Options) (*Writer, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("cannot create log directory: %w", err)
	}
	l, lastNote, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	w := &Writer{dir: dir, opts: opts, lock: l, chain: frame.NewChain(), kinds: frame.KindsOf(opts.TermKinds...), settled: map[uint64]bool{}, checked: map[uint64]bool{}}
	if err := w.open(ctx, lastNote); err != nil {
		_ = l.release()
		return nil, err
	}
	w.reportForeign()
	return w, nil
}

func (w *Writer) open(ctx context.Context, lastNote note) error {
	var err error
	if w.encoder, err = frame.NewEncoder(frame.Fast, MaxBatch); err != nil {
		return err
	}
	if err := w.removeUnfinished(); err != nil {
		return err
	}
	if w.directory, err = file.IdentityOf(w.dir); err != nil {
		return err
	}
	end, err := recoverStore(ctx, w.dir, w.opts.BootID, lastNote.cursor)
	if err != nil {
		return err
	}
	w.store, w.next, w.found, w.recovered, w.foreign = end.store, end.next, end.found, end.before(), end.foreign
	if err := writeIdentity(w.dir, w.store); err != nil && !noRoom(err) {
		return err
	}
	w.chain.Set(end.hash)
	now := w.opts.Clock.Now()
	w.previous = previousOf(end, lastNote, now)
	if found := (note{pending: w.previous}); found != lastNote {
		if err := w.lock.writeNote(found); err != nil {
			return err
		}
	}
	w.queue = queue.New(w.dir, queue.Options{
		Files: w.opts.Files, Size: w.opts.QueueSize,
		SyncInterval: w.opts.SyncInterval, RetryPause: w.opts.RetryPause, Committed: w.opts.Committed,
		Lock: w.holdLock, Displaced: w.replaceSegment, Undurable: w.reportLost,
		Taken: w.avoidName, Hash: end.hash,
	})
	w.mu.Lock()
	err = w.begin(end.before(), now)
	last := w.next - 1
	w.mu.Unlock()
	if err == nil {
		err = w.queue.Wait(last)
	}
	if err == nil || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		// On a full disk the Writer must run to free space.
		return nil
	}
	_, _ = w.queue.Close()
	return err
}

// removeUnfinished removes temporary files of a killed writer.
func (w *Writer) removeUnfinished() error {
	names, err := os.ReadDir(w.dir)
	if err != nil {
		return fmt.Errorf("cannot list log directory: %w", err)
	}
	for _, name := range names {
		whole, ok := strings.CutSuffix(name.Name(), queue.Temporary)
		if !ok {
			continue
		}
		if _, ok := segment.ParseName(whole); !ok {
			continue
		}
		if !name.Type().IsRegular() {
			continue // not created by a writer
		}
		if err := w.opts.Files.Remove(filepath.Join(w.dir, name.Name())); err != nil {
			return fmt.Errorf("cannot remove unfinished segment: %w", err)
		}
	}
	return nil
}

// begin queues the first chunk of the next segment, which then is the active one. before is
// the last sequence before it.
func (w *Writer) begin(before uint64, now Moment) error {
	h := frame.Header{
		Flags:          frame.Start,
		First:          now.Boot,
		Last:           now.Boot,
		Offset:         now.Offset,
		SequenceBefore: before,
		HashBefore:     w.chain.Sum(),
	}
	w.filter.Reset(w.kinds, nil)
	h.Filter = w.filter
	old := w.active
	w.active = active{name: segment.Name(w.next), created: now}
	if _, err := w.entry(&h, w.opts.Metadata(now)); err != nil {
		w.active = old
		return fmt.Errorf("cannot make metadata chunk: %w", err)
	}
	w.active.entries = 0
	return nil
}

// entry encodes a chunk of one entry and queues it.
func (w *Writer) entry(h *frame.Header, entry []byte) (Position, error) {
	return w.chunk(h, entry, []uint32{uint32(len(entry))}, 0)
}

// chunk encodes a chunk of entries and queues it.
func (w *Writer) chunk(h *frame.Header, entries []byte, ends []uint32, hits uint64) (Position, error) {
	if err := w.chain.Add(entries, ends); err != nil {
		return Position{}, err
	}
	h.StoreID, h.BootID = w.store, w.opts.BootID
	h.Sequence, h.Entries = w.next, uint32(len(ends))
	h.Hash = w.chain.Sum()
	chunk := w.encoder.AppendChunk(w.queue.Buffer(), h, entries)
	p := queue.Chunk{
		Bytes: chunk,
		Position: Position{
			Cursor:  Cursor{Store: w.store, Sequence: h.LastSequence()},
			First:   w.next,
			Segment: w.active.name,
			Offset:  w.active.end,
		},
		Begin:  h.Flags&frame.Start != 0,
		Hits:   hits,
		Events: h.Events,
		Since:  h.First,
		Until:  h.Last,
		Hash:   h.Hash,
	}
	w.next += uint64(len(ends))
	w.active.end += int64(len(chunk))
	w.active.entries += uint64(len(ends))
	w.queue.Put(p)
	return p.Position, nil
}

// Append encodes a batch as one chunk and queues it; Options.Committed is called when it is
// written. On error, no entry of the batch is in the store, and its sequence numbers are
// free. The error is a *FullError if the disk is too slow or fails: the batch may be
// appended again or counted as lost.
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
	if err := w.queue.Room(); err != nil {
		return Position{}, err
	}
	if now := w.opts.Clock.Now(); w.ends(now) {
		if err := w.begin(w.next-1, now); err != nil {
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
	w.terms = w.filter.ResetWith(kinds, b.Terms, b.Values, w.terms)
	h.Filter = w.filter
	p, err := w.chunk(&h, b.Entries, b.Ends, b.Hits)
	if err != nil {
		return Position{}, fmt.Errorf("cannot append batch: %w", err)
	}
	return p, nil
}

// ends reports whether the active segment must end before the next chunk.
func (w *Writer) ends(now Moment) bool {
	const step = int64(time.Millisecond)
	if d := now.Offset - w.active.created.Offset; d > step || d < -step {
		return true
	}
	return w.active.end >= w.opts.SegmentSize ||
		w.active.entries > 0 && now.Boot-w.active.created.Boot >= uint64(w.opts.SegmentAge)
}

// Flush makes everything appended so far durable and returns the cursor after it. If the
// active segment is no longer in the directory, it first starts a new one with a report of
// the loss. After an error it may be called again; data that is not durable stays queued or
// is written again.
func (w *Writer) Flush() (Cursor, error) {
	for {
		w.mu.Lock()
		c, displaced, closed := Cursor{Store: w.store, Sequence: w.next - 1}, w.displaced, w.closed
		w.mu.Unlock()
		if closed {
			return Cursor{}, ErrClosed
		}
		if err := w.queue.Wait(c.Sequence); err != nil {
			return Cursor{}, fmt.Errorf("cannot flush: %w", err)
		}
		w.mu.Lock()
		repeat := w.displaced != displaced
		w.mu.Unlock()
		if !repeat {
			return c, nil
		}
		// The entries have new sequences now.
	}
}

// Rotate closes the active segment and starts a new one, which receives everything appended
// from now on. When the end of the old one and the start of the new one are durable, or could
// not be made durable, another goroutine calls done with the file name of the new one. On
// error, the new one is started as soon as the disk allows it.
func (w *Writer) Rotate(done func(name string, err error)) {
	name, last, displaced, err := w.rotate()
	go func() {
		if err == nil {
			err = w.queue.Wait(last)
		}
		w.mu.Lock()
		if err == nil && w.displaced != displaced {
			err = errors.New("another program deleted or renamed the segment; a new one was started")
		}
		w.mu.Unlock()
		if err != nil {
			err = fmt.Errorf("cannot rotate: %w", err)
		}
		done(name, err)
	}()
}

// rotate starts a new segment. It returns the last appended sequence and the value of
// displaced.
func (w *Writer) rotate() (name string, last, displaced uint64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return "", 0, 0, ErrClosed
	}
	if err := w.begin(w.next-1, w.opts.Clock.Now()); err != nil {
		return "", 0, 0, err
	}
	return w.active.name, w.next - 1, w.displaced, nil
}

// Status is the status of a Writer.
type Status struct {
	// Committed is the cursor after the last entry in the page cache, Durable the cursor
	// after the last entry that survives a crash of the machine.
	Committed, Durable Cursor
	// Segment is the file name of the active segment.
	Segment string
	// Err is the error of the last attempt to write or sync, nil if it succeeded.
	Err error
}

// Status returns the current status.
func (w *Writer) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	q := w.queue.Status()
	at := func(sequence uint64) Cursor { return Cursor{Store: w.store, Sequence: sequence} }
	return Status{
		Committed: at(q.Committed), Durable: at(q.Durable), Segment: w.active.name, Err: q.Err,
	}
}

// Close makes everything durable and releases the store. It does not wait for a failing
// disk: the error has the number of entries lost.
func (w *Writer) Close() error {
	w.mu.Lock()
	closed := w.closed
	w.closed = true
	w.mu.Unlock()
	if closed {
		return ErrClosed
	}
	// Not locked, because the queue may find that the segment is missing.
	lost, err := w.queue.Close()
	if lost > 0 {
		err = fmt.Errorf("%d entries were not written: %w", lost, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		n := note{cursor: Cursor{Store: w.store, Sequence: w.next - 1}.String()}
		if !w.recording {
			n.pending = w.previous
		}
		err = w.lock.writeNote(n)
	}
	if releaseErr := w.lock.release(); err == nil {
		err = releaseErr
	}
	if err != nil {
		return fmt.Errorf("cannot close log store: %w", err)
	}
	return nil
}
