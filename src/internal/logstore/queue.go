// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"crypto-auditing/src/internal/logstore/file"
	"crypto-auditing/src/internal/logstore/segment"
)

const (
	// maxTogether chunks at most are handed to the file at once.
	maxTogether = 16
	// keptBuffers chunk buffers at most wait to be used again.
	keptBuffers = 4
	// mostPauses is how far the pause between two attempts grows.
	mostPauses = 20
)

// pending is a chunk on its way to the disk.
type pending struct {
	chunk    []byte
	position Position
	// begin says that the chunk is the first of the segment.
	begin bool
}

func (p *pending) last() uint64 { return p.position.Cursor.Sequence }

// waiter waits until sequence is durable.
type waiter struct {
	sequence uint64
	result   chan error
}

// queue is what lies between Append and the disk: chunks are put in at one
// end, and one goroutine writes them in order. A chunk in the queue has its
// sequence numbers, so it stays until it is written, however long the disk
// is full.
//
// The Writer's lock is taken before that of the queue, never the other way.
type queue struct {
	dir   string
	files file.System
	opts  *Options
	wake  chan struct{}
	ended chan struct{}
	// begun is told when a segment has begun.
	begun chan struct{}

	mu        sync.Mutex
	chunks    []pending
	bytes     int
	waiters   []waiter
	committed uint64
	durable   uint64
	undurable uint64 // entries that a failed sync has cost
	failure   error  // of the last attempt
	closing   bool
	free      [][]byte

	// What follows belongs to the goroutine.
	file   file.File
	first  uint64 // the segment's
	end    int64  // what is written of whole chunks
	part   int64  // what is written of the chunk behind that
	synced int64  // up to where the file is durable
	// rewrite is set by a failed sync: what lies between synced and end has to
	// be written again before a sync can be believed.
	rewrite bool
	// unsettled says that the name of the file may not be durable.
	unsettled bool
	unsynced  time.Time // when the first chunk behind synced was committed
}

func newQueue(dir string, opts *Options) *queue {
	return &queue{
		dir: dir, files: opts.Files, opts: opts,
		wake: make(chan struct{}, 1), begun: make(chan struct{}, 1), ended: make(chan struct{}),
	}
}

// buffer returns memory for a chunk.
func (q *queue) buffer() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.free); n > 0 {
		b := q.free[n-1]
		q.free = q.free[:n-1]
		return b[:0]
	}
	return nil
}

// FullError says that the queue before the disk is full.
type FullError struct {
	// Err is why the disk does not take it, nil if it is only slow.
	Err error
}

func (e *FullError) Error() string {
	if e.Err == nil {
		return "the queue before the disk is full: the disk is too slow"
	}
	return "the queue before the disk is full: " + e.Err.Error()
}

func (e *FullError) Unwrap() error { return e.Err }

// room returns a *FullError if the queue is full.
func (q *queue) room() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes >= q.opts.QueueSize {
		return &FullError{Err: q.failure}
	}
	return nil
}

// put queues a chunk, whose memory is the queue's from then on.
func (q *queue) put(p pending) {
	q.mu.Lock()
	q.chunks = append(q.chunks, p)
	q.bytes += len(p.chunk)
	q.mu.Unlock()
	q.kick()
}

func (q *queue) kick() { tell(q.wake) }

// tell makes a channel with room for one readable.
func tell(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// wait waits until sequence is durable or an attempt to make it so has
// failed.
func (q *queue) wait(sequence uint64) error {
	q.mu.Lock()
	if q.durable >= sequence {
		q.mu.Unlock()
		return nil
	}
	w := waiter{sequence: sequence, result: make(chan error, 1)}
	q.waiters = append(q.waiters, w)
	q.mu.Unlock()
	q.kick()
	return <-w.result
}

// close writes what it can, stops the goroutine and returns how many chunks
// stay unwritten.
func (q *queue) close() (unwritten []pending, err error) {
	q.mu.Lock()
	q.closing = true
	q.mu.Unlock()
	q.kick()
	<-q.ended
	if len(q.chunks) > 0 || q.durable < q.committed {
		err = q.failure
	}
	return q.chunks, err
}

// run is the goroutine.
func (q *queue) run() {
	defer close(q.ended)
	pause := q.opts.RetryPause
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		work, ready, closing, due := q.next()
		if !ready {
			if closing {
				q.answer(ErrClosed)
				return
			}
			if due > 0 {
				timer.Reset(due)
				select {
				case <-q.wake:
				case <-timer.C:
				}
			} else {
				<-q.wake
			}
			continue
		}
		if err := q.attempt(work); err != nil {
			q.answer(err)
			if closing {
				return
			}
			timer.Reset(pause)
			q.rest(timer)
			pause = min(2*pause, mostPauses*q.opts.RetryPause)
			continue
		}
		pause = q.opts.RetryPause
		q.answer(nil)
	}
}

// rest waits for the timer, or until the queue is closed.
func (q *queue) rest(timer *time.Timer) {
	for {
		select {
		case <-timer.C:
			return
		case <-q.wake:
			q.mu.Lock()
			closing := q.closing
			q.mu.Unlock()
			if closing {
				return
			}
		}
	}
}

// work is what is done at once: begin a segment, or write chunks, or none,
// and sync.
type work struct {
	begin  bool
	chunks []pending
	sync   bool
}

// next returns what to do. If that is nothing, due is when to look again, 0
// for not before a kick.
func (q *queue) next() (w work, ready, closing bool, due time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	dirty := q.end > q.synced
	if len(q.chunks) > 0 && q.chunks[0].begin {
		return work{begin: true, chunks: q.chunks[:1]}, true, q.closing, 0
	}
	n := 0
	for n < len(q.chunks) && n < maxTogether && !q.chunks[n].begin {
		n++
	}
	w.chunks = q.chunks[:n]
	if dirty && q.opts.SyncInterval >= 0 {
		due = q.opts.SyncInterval - time.Since(q.unsynced)
		w.sync = due <= 0
	}
	if n > 0 || dirty {
		w.sync = w.sync || q.closing && n == len(q.chunks)
		reached := q.committed
		if n > 0 {
			reached = w.chunks[n-1].last()
		}
		for _, waiting := range q.waiters {
			w.sync = w.sync || waiting.sequence <= reached
		}
	}
	return w, n > 0 || w.sync, q.closing, max(due, 0)
}

// attempt does the work and takes what is written out of the queue.
func (q *queue) attempt(w work) error {
	if w.begin {
		return q.begin(w.chunks[0])
	}
	if q.rewrite {
		if err := q.writeAgain(); err != nil {
			return err
		}
	}
	buffers := make([][]byte, 0, maxTogether)
	for i := range w.chunks {
		buffers = append(buffers, w.chunks[i].chunk)
	}
	if len(buffers) > 0 {
		buffers[0] = buffers[0][q.part:]
	}
	if w.sync {
		if err := q.settle(); err != nil {
			return err
		}
	}
	n, err := q.file.Commit(buffers, q.end+q.part, w.sync)
	q.wrote(n)
	var failed *file.SyncError
	if errors.As(err, &failed) {
		q.rewrite = true
	}
	if err == nil && w.sync {
		q.isDurable()
	}
	return err
}

// wrote takes n more bytes for written.
func (q *queue) wrote(n int64) {
	if q.end == q.synced && n > 0 {
		q.unsynced = time.Now()
	}
	n += q.part
	q.mu.Lock()
	done := 0
	for done < len(q.chunks) && !q.chunks[done].begin && n >= int64(len(q.chunks[done].chunk)) {
		size := len(q.chunks[done].chunk)
		n -= int64(size)
		q.end += int64(size)
		done++
	}
	q.part = n
	written := slices.Clone(q.chunks[:done])
	q.remove(done)
	q.mu.Unlock()
	q.announce(written)
}

// remove takes the first n chunks out of the queue, whose lock is held.
func (q *queue) remove(n int) {
	for i := range n {
		p := &q.chunks[i]
		q.committed = p.last()
		q.bytes -= len(p.chunk)
		if len(q.free) < keptBuffers {
			q.free = append(q.free, p.chunk)
		}
		p.chunk = nil
	}
	q.chunks = slices.Delete(q.chunks, 0, n)
}

func (q *queue) announce(written []pending) {
	if q.opts.Committed == nil {
		return
	}
	for i := range written {
		q.opts.Committed(written[i].position)
	}
}

func (q *queue) isDurable() {
	q.synced = q.end
	q.mu.Lock()
	q.durable = q.committed
	q.mu.Unlock()
}

// answer tells the waiters how an attempt went.
func (q *queue) answer(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failure = err
	var lost *UndurableError
	isLost := errors.As(err, &lost)
	q.waiters = slices.DeleteFunc(q.waiters, func(w waiter) bool {
		switch {
		case w.sequence <= q.durable && (!isLost || w.sequence < lost.From):
			w.result <- nil
		case err != nil:
			w.result <- err
		default:
			return false
		}
		return true
	})
}

const temporary = ".tmp"

// begin makes the active segment durable, then creates the next one with its
// first chunk, durable too.
func (q *queue) begin(p pending) error {
	if q.file != nil && q.end > q.synced {
		if err := q.attempt(work{sync: true}); err != nil {
			return err
		}
	}
	f, err := q.place(filepath.Join(q.dir, segment.Name(p.position.First)), p.chunk)
	if err != nil {
		return err
	}
	if q.file != nil {
		// All its data is durable, so nothing is learnt from an error.
		_ = q.file.Close()
	}
	q.file, q.first = f, p.position.First
	q.end, q.part, q.synced = int64(len(p.chunk)), 0, 0
	q.rewrite, q.unsettled, q.unsynced = false, true, time.Now()
	q.mu.Lock()
	q.remove(1)
	q.mu.Unlock()
	q.announce([]pending{p})
	tell(q.begun)
	if err := q.settle(); err != nil {
		return err
	}
	q.isDurable()
	return nil
}

// place puts a segment that holds one chunk under its name. Its data is
// durable, its name not yet.
func (q *queue) place(name string, chunk []byte) (file.File, error) {
	f, err := q.files.Create(name + temporary)
	if err != nil {
		return nil, err
	}
	if _, err = f.Commit([][]byte{chunk}, 0, true); err == nil {
		err = q.files.Rename(name+temporary, name)
	}
	if err != nil {
		_ = f.Close()
		_ = q.files.Remove(name + temporary)
		return nil, fmt.Errorf("cannot begin segment: %w", err)
	}
	return f, nil
}

// settle makes the name of the active segment durable.
func (q *queue) settle() error {
	if !q.unsettled {
		return nil
	}
	if err := q.files.SyncDirectory(q.dir); err != nil {
		return err
	}
	q.unsettled = false
	return nil
}
