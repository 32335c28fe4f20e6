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
	// maxTogether chunks at most are handed to the file at once.
	maxTogether = 16
	// keptBuffers chunk buffers at most wait to be used again.
	keptBuffers = 4
	// mostPauses is how far the pause between two attempts grows.
	mostPauses = 20
)

// Position is where a chunk was put.
type Position struct {
	// Cursor is behind the last entry of the chunk, First the sequence of
	// its first entry.
	Cursor cursor.Cursor
	First  uint64
	// Segment is the file name, Offset the place of the chunk in the file.
	Segment string
	Offset  int64
}

// Chunk is a chunk on its way to the disk.
type Chunk struct {
	Bytes    []byte
	Position Position
	// Begin says that the chunk is the first of its segment.
	Begin bool
	// Hits and Events are what Lost sums up. Since and Until bound the times of
	// the entries.
	Hits         uint64
	Events       uint32
	Since, Until uint64
	// Hash is that of the last entry.
	Hash frame.Hash
}

func (c *Chunk) last() uint64 { return c.Position.Cursor.Sequence }

// Options configure a Queue. All but Committed are required. Its functions are
// called one at a time, never by Put, while no lock is held but the turn.
type Options struct {
	Files file.System
	// Size is how many bytes may wait.
	Size int
	// SyncInterval is how long a committed chunk may stay not durable;
	// negative: until somebody waits for it.
	SyncInterval time.Duration
	// RetryPause is the first pause before what failed is tried again.
	RetryPause time.Duration
	// Committed is told of every chunk, in order.
	Committed func(Position)
	// Lock is called before something is synced or counts as written. It
	// returns an error unless the store may be written.
	Lock func() error
	// Displaced is called when the active segment is not in the directory any
	// more. It must queue a new one, before what it withdraws.
	Displaced func(Lost)
	// Taken is called when the file name of the first chunk in the queue is that
	// of another file. It must queue a segment with another name, before what it
	// withdraws.
	Taken func(name string)
	// Hash is that of the last entry of the store.
	Hash frame.Hash
	// Undurable is called when a failed sync has cost entries.
	Undurable func(Lost)
}

// Status is what there is to say about a Queue.
type Status struct {
	// Committed and Durable are the last sequences that are.
	Committed, Durable uint64
	// Err is how the last attempt to write or sync failed; nil if it did not.
	Err error
}

// waiter waits until sequence is durable.
type waiter struct {
	sequence uint64
	result   chan error
}

// Queue takes chunks at one end and writes them in order. A chunk in the queue
// has its sequence numbers, so it stays until it is written, however long the
// disk is full. Its methods may be called concurrently.
//
// Whoever has the turn writes: the Queue's goroutine, or Put, which begins a
// write while that sleeps and leaves the rest to a goroutine of the file. A lone
// chunk so needs no hand-over.
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
	// heartbeat is how often the segment is touched; 0: never.
	heartbeat time.Duration
	free      [][]byte

	// turn guards what follows. It is taken before mu. Put does not wait for it,
	// since those that have it call functions that lock the Writer.
	turn   sync.Mutex
	file   file.File
	path   string // the file's
	end    int64  // what is written of whole chunks
	part   int64  // what is written of the chunk behind that
	synced int64  // up to where the file is durable
	// rewrite is set by a failed sync: what lies between synced and end has to
	// be written again before a sync can be believed.
	rewrite bool
	// unsettled says that the name of the file may not be durable.
	unsettled bool
	unsynced  time.Time // when the first chunk behind synced was committed
	touched   time.Time // when the segment was last touched
	// inSegment sums up what is written of the segment, unproven what is
	// written behind synced.
	inSegment, unproven tally
	// hash is that of the last chunk written.
	hash frame.Hash
}

// New starts a queue before the store in dir.
func New(dir string, opts Options) *Queue {
	q := &Queue{
		dir: dir, opts: opts,
		wake: wakeup.New(), begun: wakeup.New(), ended: make(chan struct{}),
	}
	q.hash = opts.Hash
	go q.run()
	return q
}

// Begun is readable when a segment has begun.
func (q *Queue) Begun() <-chan struct{} { return q.begun }

// Status returns how things are now.
func (q *Queue) Status() Status {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Status{Committed: q.committed, Durable: q.durable, Err: q.failure}
}

// StartHeartbeat has the modification time of the active segment set at this
// interval from now on; an interval below 0 is never.
func (q *Queue) StartHeartbeat(every time.Duration) {
	q.mu.Lock()
	q.heartbeat = max(every, 0)
	q.mu.Unlock()
	q.wake.Notify()
}

// Buffer returns memory for a chunk, perhaps none.
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

// Room returns a *FullError if the queue is full.
func (q *Queue) Room() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes >= q.opts.Size {
		return &FullError{Err: q.failure}
	}
	return nil
}

// Put queues a chunk, whose memory is the queue's from then on.
func (q *Queue) Put(p Chunk) {
	q.mu.Lock()
	q.chunks = append(q.chunks, p)
	q.bytes += len(p.Bytes)
	q.mu.Unlock()
	if !q.start() {
		q.wake.Notify()
	}
}

// start begins to write what is queued, if nobody else has the turn, nothing
// else is to be done and the file can do it by itself.
func (q *Queue) start() bool {
	if !q.turn.TryLock() {
		return false
	}
	w, _, closing, _ := q.next()
	f, can := q.file.(file.Starter)
	plain := len(w.chunks) > 0 && !w.begin && !w.sync && !w.touch && !w.look
	if can && plain && !closing && !q.rewrite && !q.failing() && f.Start(q.buffers(w.chunks), q.end+q.part, q.started) {
		return true // the turn is started's
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

// started takes what the file has written since start. Only then it looks
// whether the file is still that of the store: if not, or if something failed,
// the chunks stay in the queue, and the goroutine meets the reason.
func (q *Queue) started(n int64) {
	clean := q.end == q.synced
	displaced, err := q.displaced()
	if err == nil && !displaced {
		if err = q.opts.Lock(); err == nil {
			q.wrote(n)
		}
	}
	q.mu.Lock()
	// The goroutine sets the time of the next sync when there is something to
	// sync.
	wanted := clean || err != nil || len(q.chunks) > 0 || len(q.waiters) > 0 || q.closing
	q.mu.Unlock()
	q.turn.Unlock()
	if wanted {
		q.wake.Notify()
	}
}

// buffers returns what is left to be written of chunks that are next.
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

// Wait waits until sequence is durable and the active segment was found in the
// directory, or an attempt to get there has failed.
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

// ErrClosed says that the Queue has been closed.
var ErrClosed = errors.New("log store is closed")

// Close writes what it can and stops the goroutine. It does not wait for a
// disk that refuses: lost is how many entries stay unwritten then.
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

// run is the goroutine.
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
				// The notice of it is queued.
				continue
			}
			if closing {
				return
			}
			timer.Reset(pause)
			q.rest(timer)
			pause = min(2*pause, mostPauses*q.opts.RetryPause)
			continue
		}
		pause = q.opts.RetryPause
	}
}

// rest waits for the timer, or until the queue is closed.
func (q *Queue) rest(timer *time.Timer) {
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
// and sync; or touch the segment; or only look whether it is in place.
type work struct {
	begin  bool
	chunks []Chunk
	sync   bool
	touch  bool
	look   bool
}

// next returns what to do. If that is nothing, due is when to look again, 0
// for not before a kick.
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
	w.look = slices.ContainsFunc(q.waiters, func(w waiter) bool { return w.sequence <= q.durable })
	return w, n > 0 || w.sync || w.touch || w.look, q.closing, max(due, 0)
}

// attempt does the work and takes what is written out of the queue.
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
		if err := q.writeAgain(); err != nil {
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
	// What is durable now is worth nothing without a name.
	if displaced, err := q.displaced(); displaced || err != nil {
		return err
	}
	q.isDurable()
	return nil
}

// touch sets the modification time of the active segment. The time is an aid:
// a failure costs no entry.
func (q *Queue) touch() {
	q.touched = time.Now()
	if q.file != nil {
		_ = q.file.Touch()
	}
}

// wrote takes n more bytes for written.
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

// count adds a chunk to what is written.
func (q *Queue) count(c *Chunk) {
	q.inSegment.add(c)
	q.unproven.add(c)
	q.hash = c.Hash
}

// Hash returns the hash of the last chunk written. It is for Displaced.
func (q *Queue) Hash() frame.Hash { return q.hash }

// remove takes the first n chunks out of the queue, whose lock is held.
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

// answer tells the waiters how an attempt went.
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

// Temporary ends the names of files that are not yet in place.
const Temporary = ".tmp"

// begin makes the active segment durable, then creates the next one with its
// first chunk, durable too.
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
		// All its data is durable, so nothing is learnt from an error.
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

// place puts a segment that holds one chunk under its name. Its data is
// durable, its name not yet.
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
		return nil, fmt.Errorf("cannot begin segment: %w", err)
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
