// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"context"
	"errors"
	"fmt"
	"os"

	"crypto-auditing/src/internal/logstore/file"
	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/queue"
	"crypto-auditing/src/internal/logstore/segment"
)

// Check waits until the queue has checked that the active segment is in its directory and,
// if it is not, until a new segment was started or could not be, or until ctx is done.
func (w *Writer) Check(ctx context.Context) {
	checked := make(chan struct{})
	go func() {
		defer close(checked)
		// Sequence 0 is always durable, so nothing is synced. Status has the error.
		_ = w.queue.Wait(0)
	}()
	select {
	case <-checked:
	case <-ctx.Done():
	}
}

// holdLock ensures that the Writer holds the lock of the directory that exists now. Another
// program may have removed the lock or the directory. The queue's goroutine calls it.
func (w *Writer) holdLock() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	held, err := w.lock.holds(w.dir)
	if held || err != nil {
		return err
	}
	if err := os.Mkdir(w.dir, 0o750); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("cannot create log directory: %w", err)
	}
	l, _, err := takeLock(w.dir)
	if err != nil {
		return err
	}
	if err = w.checkOwnership(); err == nil {
		n := note{}
		if !w.recording {
			n.pending = w.previous
		}
		err = l.writeNote(n)
	}
	if err == nil {
		err = writeIdentity(w.dir, w.store)
	}
	if err == nil {
		w.directory, err = file.IdentityOf(w.dir)
	}
	if err != nil {
		_ = l.release()
		return err
	}
	_ = w.lock.release()
	w.lock = l
	return nil
}

// checkOwnership returns an error if the directory has data that this Writer did not write: another
// log, or entries of another writer.
func (w *Writer) checkOwnership() error {
	list, err := segment.List(w.dir)
	if err != nil {
		return err
	}
	store, known, err := segment.StoreID(w.dir, list)
	if _, unreadable := segment.AsUnreadable(err); err != nil && !unreadable {
		return err
	}
	foreign := known && store != w.store
	written := max(w.found, w.queue.Status().Committed)
	for i := len(list) - 1; i >= 0 && list[i] > written; i-- {
		if proven, err := segment.Check(w.dir, list[i], w.store); err == nil && proven {
			foreign = true
		}
	}
	if foreign {
		return fmt.Errorf("log directory %s was replaced by one with another log, or another writer has used it: restart the agent", w.dir)
	}
	return nil
}

// replaceSegment starts a new segment in place of one that is no longer in the directory,
// and reports its entries as lost. The queued chunks follow with new sequence numbers; the
// old numbers were never in a readable file. The queue's goroutine calls it.
func (w *Writer) replaceSegment(l queue.Lost) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now, err := file.IdentityOf(w.dir)
	l.Directory = err == nil && now != w.directory
	w.restartSegment(l.Last, &l)
}

// avoidName restarts the segment that is about to begin under another name, because its
// name is taken. The queue's goroutine calls it.
func (w *Writer) avoidName(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if first, _ := segment.ParseName(name); w.foreign[first] == nil {
		w.foreign[first] = &segment.ForeignError{Name: name, Detail: "it has the name that the next segment would have had"}
		w.foreignFile(name, w.foreign[first])
	}
	before := w.queue.Status().Committed
	if before == 0 {
		before = w.recovered
	}
	w.restartSegment(before, nil)
}

// restartSegment starts a segment after the entry before, with a report of lost if not nil, and
// queues the chunks that were not written after it. The caller holds mu.
func (w *Writer) restartSegment(before uint64, lost *queue.Lost) {
	waiting := w.queue.Withdraw()
	w.chain.Set(w.queue.Hash())
	w.displaced++
	err := w.begin(before, w.opts.Clock.Now())
	if err == nil && lost != nil {
		err = w.appendLost(*lost)
	}
	var decoder *frame.Decoder
	if err == nil {
		decoder, err = frame.NewDecoder()
	}
	if err != nil {
		// Options.Metadata or Lost returned no valid entry, or memory is exhausted.
		panic(fmt.Sprintf("cannot start a segment in place of another: %v", err))
	}
	defer decoder.Close()
	for i := range waiting {
		if !waiting[i].Begin {
			w.requeue(decoder, &waiting[i])
		}
	}
}

// requeue queues a withdrawn chunk.
func (w *Writer) requeue(decoder *frame.Decoder, c *queue.Chunk) {
	var h frame.Header
	err := h.Parse(c.Bytes)
	var entries []byte
	if err == nil {
		entries, err = decoder.Entries(nil, &h, c.Bytes[h.Size():])
	}
	if err == nil {
		header := frame.Header{
			Flags: h.Flags & frame.Notice, First: h.First, Last: h.Last, Offset: w.active.created.Offset,
			Lost: h.Lost, Events: h.Events, Filter: h.Filter,
		}
		var ends []uint32
		if ends, err = frame.AppendEnds(nil, entries, w.opts.EntryLen); err == nil {
			_, err = w.chunk(&header, entries, ends, c.Hits)
		}
	}
	if err != nil {
		panic(fmt.Sprintf("a chunk made by this process is invalid: %v", err))
	}
}

// reportLost queues the report of a loss. The queue's goroutine calls it.
func (w *Writer) reportLost(l queue.Lost) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.appendLost(l); err != nil {
		panic(fmt.Sprintf("cannot report a loss: %v", err))
	}
}

// appendLost queues the report of a loss. The caller holds mu.
func (w *Writer) appendLost(l queue.Lost) error {
	if w.opts.Lost == nil {
		return nil
	}
	h := frame.Header{
		Flags: frame.Notice, First: l.Since, Last: l.Until, Offset: w.active.created.Offset, Lost: l.Events,
	}
	_, err := w.entry(&h, w.opts.Lost(l))
	return err
}
