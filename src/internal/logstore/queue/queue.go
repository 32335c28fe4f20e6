// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"crypto-auditing/src/internal/logstore/cursor"
	"crypto-auditing/src/internal/logstore/file"
	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/segment"
	"crypto-auditing/src/internal/wakeup"
)

const (
	// maxTogether is the maximum number of chunks in one write.
	maxTogether = 16
	// keptBuffers is the maximum number of chunk buffers kept for reuse.
	keptBuffers = 4
	// mostPauses limits the pause between attempts, in multiples of RetryPause.
	mostPauses = 20
)

// Position is the position of a chunk.
type Position struct {
	// Cursor is the position after the last entry of the chunk, First the sequence of
	// its first entry.
	Cursor cursor.Cursor
	First  uint64
	// Segment is the file name, Offset the offset of the chunk in the file.
	Segment string
	Offset  int64
}

// Chunk is a chunk to be written.
type Chunk struct {
	Bytes    []byte
	Position Position
	// Begin reports that the chunk is the first of its segment.
	Begin bool
	// Hits and Events are summed up in Lost. Since and Until are the bounds of the times
	// of the entries.
	Hits         uint64
	Events       uint32
	Since, Until uint64
	// Hash is the hash of the last entry.
	Hash frame.Hash
}

func (c *Chunk) last() uint64 { return c.Position.Cursor.Sequence }

// Options configure a Queue. All but Committed are required. The functions are called one at
// a time, never by Put, with no lock held except the turn.
type Options struct {
	Files file.System
	// Size is the maximum number of waiting bytes.
	Size int
	// SyncInterval is the maximum time until a committed chunk is durable; negative: until
	// Wait is called.
	SyncInterval time.Duration
	// RetryPause is the first pause before a failed attempt is repeated.
	RetryPause time.Duration
	// Committed is called for every chunk, in order.
	Committed func(Position)
	// Lock is called before a sync and before chunks count as written. It returns an
	// error unless the store may be written.
	Lock func() error
	// Displaced is called when the active segment is no longer in the directory. It must
	// queue a new one, followed by the chunks that it withdraws.
	Displaced func(Lost)
	// Taken is called when another file has the file name of the first chunk in the
	// queue. It must queue a segment with another name, followed by the chunks that it
	// withdraws.
	Taken func(name string)
	// Hash is the hash of the last entry of the store.
	Hash frame.Hash
	// Undurable is called when entries were lost because of a failed sync.
	Undurable func(Lost)
}

// Status is the status of a Queue.
type Status struct {
	// Committed and Durable are the last committed and the last durable sequence.
	Committed, Durable uint64
	// Err is the error of the last attempt to write or sync, nil if it succeeded.
	Err error
}

// waiter waits until sequence is durable.
type waiter struct {
	sequence uint64
	result   chan error
}

// Queue receives chunks and writes them in order. A chunk in the queue already has its
// sequence numbers, so it stays until it is written, however long the disk is full. Methods
// are safe for concurrent use.
//
// The holder of the turn writes: either the Queue's goroutine, or Put, which starts a write
// while the goroutine sleeps and leaves the completion to a goroutine of the file. So a
// single chunk needs no switch to another goroutine.
type Queue struct {
	dir   string
	opts  Options
	wake  wakeup.Signal
	begun wakeup.Signal
	ended chan struct{}

	mu        sync.Mutex
	chunks    []Chunk
	bytes     int
	waiters   []waiter
	committed uint64
	durable   uint64
	failure   error // of the last attempt
	closing   bool
	// heartbeat is the interval at which the segment is touched; 0: never.
	heartbeat time.Duration
	free      [][]byte

	// turn guards the fields below. Lock it before mu. Put only tries to lock it, because
	// its holders call functions that lock the Writer.
	turn   sync.Mutex
	file   file.File
	path   string // path of file
	end    int64  // size of the written whole chunks
	part   int64  // written bytes of the chunk after them
	synced int64  // size of the durable part
	// rewrite is set after a failed sync: the bytes between synced and end must be
	// written again before a sync is trustworthy.
	rewrite bool
	// unsettled is set if the name of the file may not be durable.
	unsettled bool
	unsynced  time.Time // when the first chunk after synced was committed
	touched   time.Time // when the segment was last touched
	// inSegment sums up the written chunks of the segment, unproven those after synced.
	inSegment, unproven tally
	// hash is the hash of the last chunk written.
	hash frame.Hash
}

// New starts a queue for the store in dir.
func New(dir string, opts Options) *Queue {
	q := &Queue{
		dir: dir, opts: opts,
		wake: wakeup.New(), begun: wakeup.New(), ended: make(chan struct{}),
	}
	q.hash = opts.Hash
	go q.run()
	return q
}

// Begun returns a channel that is readable after a segment was started.
func (q *Queue) Begun() <-chan struct{} { return q.begun }

// Status returns the current status.
func (q *Queue) Status() Status {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Status{Committed: q.committed, Durable: q.durable, Err: q.failure}
}

// StartHeartbeat starts to set the modification time of the active segment at this interval;
// a negative interval stops it.
func (q *Queue) StartHeartbeat(every time.Duration) {
	q.mu.Lock()
	q.heartbeat = max(every, 0)
	q.mu.Unlock()
	q.wake.Notify()
}

// Buffer returns memory for a chunk, or nil.
func (q *Queue) Buffer() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.free); n > 0 {
		b := q.free[n-1]
		q.free = q.free[:n-1]
		return b[:0]
	}
	return nil
}

// FullError reports that the queue is full.
type FullError struct {
	// Err is the reason why the disk fails, nil if it is only slow.
	Err error
}

func (e *FullError) Error() string {
	if e.Err == nil {
		return "the queue before the disk is full: the disk is too slow"
	}
	return "the queue before the disk is full: " + e.Err.Error()
}

func (e *FullError) Unwrap() error { return e.Err }

// Room returns a *FullError if the queue is full.
func (q *Queue) Room() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes >= q.opts.Size {
		return &FullError{Err: q.failure}
	}
	return nil
}

// Put queues a chunk. The queue then owns its memory.
func (q *Queue) Put(p Chunk) {
	q.mu.Lock()
	q.chunks = append(q.chunks, p)
	q.bytes += len(p.Bytes)
	q.mu.Unlock()
	if !q.start() {
		q.wake.Notify()
	}
}

// start starts to write the queued chunks if the turn is free, there is nothing else to do
// and the file supports it.
func (q *Queue) start() bool {
	if !q.turn.TryLock() {
		return false
	}
	w, _, closing, _ := q.next()
	f, can := q.file.(file.Starter)
	plain := len(w.chunks) > 0 && !w.begin && !w.sync && !w.touch && !w.check
	if can && plain && !closing && !q.rewrite && !q.failing() && f.Start(q.buffers(w.chunks), q.end+q.part, q.started) {
		return true // started has the turn now
	}
	q.turn.Unlock()
	return false
}

// failing reports whether the last attempt failed.
func (q *Queue) failing() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.failure != nil
}

// started processes the bytes that the file has written since start. Only then it checks
// that the file is still part of the store. If it is not, or on an error, the chunks stay in
// the queue and the goroutine handles the error.
func (q *Queue) started(n int64) {
	clean := q.end == q.synced
	displaced, err := q.displaced()
	if err == nil && !displaced {
		if err = q.opts.Lock(); err == nil {
			q.wrote(n)
		}
	}
	q.mu.Lock()
	// The goroutine schedules the next sync when there is data to sync.
	wanted := clean || err != nil || len(q.chunks) > 0 || len(q.waiters) > 0 || q.closing
	q.mu.Unlock()
	q.turn.Unlock()
	if wanted {
		q.wake.Notify()
	}
}

// buffers returns the unwritten bytes of the next chunks.
func (q *Queue) buffers(chunks []Chunk) [][]byte {
	buffers := make([][]byte, 0, maxTogether)
	for i := range chunks {
		buffers = append(buffers, chunks[i].Bytes)
	}
	if len(buffers) > 0 {
		buffers[0] = buffers[0][q.part:]
	}
	return buffers
}

// Wait waits until sequence is durable and the active segment was found in the directory,
// or an attempt to achieve this has failed.
func (q *Queue) Wait(sequence uint64) error {
	q.mu.Lock()
	w := waiter{sequence: sequence, result: make(chan error, 1)}
	q.waiters = append(q.waiters, w)
	q.mu.Unlock()
	q.wake.Notify()
	select {
	case err := <-w.result:
		return err
	case <-q.ended:
	}
	select {
	case err := <-w.result:
		return err
	default:
		return ErrClosed
	}
}

// ErrClosed reports that the Queue is closed.
var ErrClosed = errors.New("log store is closed")

// Close writes as much as possible and stops the goroutine. It does not wait for a failing
// disk: lost is the number of entries that were not written.
func (q *Queue) Close() (lost uint64, err error) {
	q.mu.Lock()
	q.closing = true
	q.mu.Unlock()
	q.wake.Notify()
	<-q.ended
	if n := len(q.chunks); n > 0 {
		lost = q.chunks[n-1].last() - q.chunks[0].Position.First + 1
	}
	if lost > 0 || q.durable < q.committed {
		err = q.failure
	}
	if q.file != nil {
		if closeErr := q.file.Close(); err == nil {
			err = closeErr
		}
	}
	return lost, err
}

// run is the goroutine of the Queue.
func (q *Queue) run() {
	defer close(q.ended)
	pause := q.opts.RetryPause
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		q.turn.Lock()
		work, ready, closing, due := q.next()
		if !ready {
			q.turn.Unlock()
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
		err := q.attempt(work)
		q.answer(err)
		q.turn.Unlock()
		if err != nil {
			var lost *UndurableError
			if errors.As(err, &lost) {
				// The notice about the loss is queued.
				continue
			}
			if closing {
				return
			}
			timer.Reset(pause)
			q.sleep(timer)
			pause = min(2*pause, mostPauses*q.opts.RetryPause)
			continue
		}
		pause = q.opts.RetryPause
	}
}

// sleep waits for the timer or until the queue is closed.
func (q *Queue) sleep(timer *time.Timer) {
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

// work is a unit of work: start a segment; or write chunks, possibly none, and sync; or
// touch the segment; or only check that it is in its directory.
type work struct {
	begin  bool
	chunks []Chunk
	sync   bool
	touch  bool
	check  bool
}

// next returns the next work. If there is none, due is the time until the next call, 0 to
// wait for a wake-up.
func (q *Queue) next() (w work, ready, closing bool, due time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	dirty := q.end > q.synced
	if len(q.chunks) > 0 && q.chunks[0].Begin {
		return work{begin: true, chunks: q.chunks[:1]}, true, q.closing, 0
	}
	n := 0
	for n < len(q.chunks) && n < maxTogether && !q.chunks[n].Begin {
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
	if q.heartbeat > 0 && !q.closing {
		beat := q.heartbeat - time.Since(q.touched)
		w.touch = beat <= 0
		if due <= 0 || beat < due {
			due = beat
		}
	}
	w.check = slices.ContainsFunc(q.waiters, func(w waiter) bool { return w.sequence <= q.durable })
	return w, n > 0 || w.sync || w.touch || w.check, q.closing, max(due, 0)
}

// attempt does the work and removes the written chunks from the queue.
func (q *Queue) attempt(w work) error {
	if displaced, err := q.displaced(); displaced || err != nil {
		return err
	}
	if err := q.opts.Lock(); err != nil {
		return err
	}
	if w.begin {
		return q.begin(w.chunks[0])
	}
	if w.touch {
		q.touch()
	}
	if len(w.chunks) == 0 && !w.sync {
		return nil
	}
	if q.rewrite {
		if err := q.recoverSync(); err != nil {
			return err
		}
	}
	if w.sync {
		if err := q.settle(); err != nil {
			return err
		}
	}
	n, err := q.file.Commit(q.buffers(w.chunks), q.end+q.part, w.sync)
	q.wrote(n)
	var failed *file.SyncError
	if errors.As(err, &failed) {
		q.rewrite = true
	}
	if err != nil || !w.sync {
		return err
	}
	// Durable data is worthless without a name.
	if displaced, err := q.displaced(); displaced || err != nil {
		return err
	}
	q.isDurable()
	return nil
}

// touch sets the modification time of the active segment. It is optional: a failure loses
// no entry.
func (q *Queue) touch() {
	q.touched = time.Now()
	if q.file != nil {
		_ = q.file.Touch()
	}
}

// wrote accounts for n more written bytes.
func (q *Queue) wrote(n int64) {
	if q.end == q.synced && n > 0 {
		q.unsynced = time.Now()
	}
	n += q.part
	q.mu.Lock()
	done := 0
	for done < len(q.chunks) && !q.chunks[done].Begin && n >= int64(len(q.chunks[done].Bytes)) {
		size := len(q.chunks[done].Bytes)
		q.count(&q.chunks[done])
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

// count adds a chunk to the written ones.
func (q *Queue) count(c *Chunk) {
	q.inSegment.add(c)
	q.unproven.add(c)
	q.hash = c.Hash
}

// Hash returns the hash of the last chunk written. It is for use by Displaced.
func (q *Queue) Hash() frame.Hash { return q.hash }

// remove removes the first n chunks from the queue. The caller holds mu.
func (q *Queue) remove(n int) {
	for i := range n {
		p := &q.chunks[i]
		q.committed = p.last()
		q.bytes -= len(p.Bytes)
		if len(q.free) < keptBuffers {
			q.free = append(q.free, p.Bytes)
		}
		p.Bytes = nil
	}
	q.chunks = slices.Delete(q.chunks, 0, n)
}

func (q *Queue) announce(written []Chunk) {
	if q.opts.Committed == nil {
		return
	}
	for i := range written {
		q.opts.Committed(written[i].Position)
	}
}

func (q *Queue) isDurable() {
	q.synced = q.end
	q.unproven = tally{}
	q.mu.Lock()
	q.durable = q.committed
	q.mu.Unlock()
}

// answer sends the result of an attempt to the waiters.
func (q *Queue) answer(err error) {
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

// Temporary is the suffix of the names of files that are not yet in place.
const Temporary = ".tmp"

// begin makes the active segment durable, then creates the next one with its first chunk,
// which is durable, too.
func (q *Queue) begin(p Chunk) error {
	if q.file != nil && q.end > q.synced {
		if err := q.attempt(work{sync: true}); err != nil || q.file == nil {
			return err
		}
	}
	name := segment.Name(p.Position.First)
	path := filepath.Join(q.dir, name)
	f, err := q.place(path, p.Bytes)
	if errors.Is(err, fs.ErrExist) {
		q.opts.Taken(name)
		return nil
	}
	if err != nil {
		return err
	}
	if q.file != nil {
		// All its data is durable, so an error does not matter.
		_ = q.file.Close()
	}
	q.file, q.path = f, path
	q.end, q.part, q.synced = int64(len(p.Bytes)), 0, 0
	q.rewrite, q.unsettled, q.unsynced = false, true, time.Now()
	q.inSegment, q.unproven = tally{}, tally{}
	q.count(&p)
	q.mu.Lock()
	q.remove(1)
	q.mu.Unlock()
	q.announce([]Chunk{p})
	q.begun.Notify()
	if err := q.settle(); err != nil {
		return err
	}
	q.isDurable()
	return nil
}

// place creates a segment with one chunk. Its data is durable, its name is not yet.
func (q *Queue) place(name string, chunk []byte) (file.File, error) {
	f, err := q.opts.Files.Create(name + Temporary)
	if errors.Is(err, fs.ErrExist) {
		// Left by an attempt that could not clean up.
		if q.opts.Files.Remove(name+Temporary) == nil {
			f, err = q.opts.Files.Create(name + Temporary)
		}
	}
	if err != nil {
		return nil, err
	}
	if _, err = f.Commit([][]byte{chunk}, 0, true); err == nil {
		err = q.opts.Files.Place(name+Temporary, name)
	}
	if err != nil {
		_ = f.Close()
		_ = q.opts.Files.Remove(name + Temporary)
		return nil, fmt.Errorf("cannot start segment: %w", err)
	}
	return f, nil
}

// settle makes the name of the active segment durable.
func (q *Queue) settle() error {
	if !q.unsettled {
		return nil
	}
	if err := q.opts.Files.SyncDirectory(q.dir); err != nil {
		return err
	}
	q.unsettled = false
	return nil
}
