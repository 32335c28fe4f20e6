// SPDX-License-Identifier: Apache-2.0

package file

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	uring "github.com/iceber/iouring-go/syscall"
	"golang.org/x/sys/unix"
)

// maxBuffers is the number of buffers in one write. More buffers need several writes.
const maxBuffers = 16

// ringEntries is enough for one write and one sync at a time.
const ringEntries = 2

// ring is an io_uring for one file. At most one write and the sync linked to it are pending,
// so data is written in order, and buffers are free after the completion.
//
// The kernel and this process share its memory (io_uring(7)): the heads and tails are
// accessed atomically, and an index is published only after the data that it makes visible.
type ring struct {
	fd int
	// The mappings, for munmap.
	submission, completion, entries []byte

	submissionTail  *uint32
	submissionMask  uint32
	submissionArray []uint32
	queue           []uring.SubmissionQueueEntry64
	completionHead  *uint32
	completionTail  *uint32
	completionMask  uint32
	completions     []uring.CompletionQueueEvent16
	vectors         [maxBuffers]unix.Iovec
	pinner          runtime.Pinner

	// event is an eventfd that the kernel signals at each completion. The Go runtime's
	// poller waits for it, so a waiting goroutine needs no thread: a goroutine in a blocking
	// system call keeps the runtime's monitor awake for ten milliseconds each time.
	event *os.File
	conn  syscall.RawConn

	// mu guards the state of the pending operations below.
	mu       sync.Mutex
	waiting  uint32
	outcome  outcome
	complete func(outcome)
}

func newRing() (_ *ring, err error) {
	var params uring.IOURingParams
	fd, err := uring.IOURingSetup(ringEntries, &params)
	if err != nil {
		return nil, fmt.Errorf("cannot set up io_uring: %w", err)
	}
	r := &ring{fd: fd}
	defer func() {
		if err != nil {
			r.free()
		}
	}()
	unix.CloseOnExec(fd)
	sq, cq := &params.SQOffset, &params.CQOffset
	if r.submission, err = r.mmap(uring.IORING_OFF_SQ_RING, int(sq.Array+4*params.SQEntries)); err != nil {
		return nil, err
	}
	if r.completion, err = r.mmap(uring.IORING_OFF_CQ_RING, int(cq.Cqes)+int(params.CQEntries)*int(unsafe.Sizeof(uring.CompletionQueueEvent16{}))); err != nil {
		return nil, err
	}
	if r.entries, err = r.mmap(uring.IORING_OFF_SQES, int(params.SQEntries)*int(unsafe.Sizeof(uring.SubmissionQueueEntry64{}))); err != nil {
		return nil, err
	}
	// unsafe: the kernel stores these in the mappings, at offsets within the lengths
	// computed from the same parameters above.
	r.submissionTail = (*uint32)(unsafe.Pointer(&r.submission[sq.Tail]))
	r.submissionMask = *(*uint32)(unsafe.Pointer(&r.submission[sq.RingMask]))
	r.submissionArray = unsafe.Slice((*uint32)(unsafe.Pointer(&r.submission[sq.Array])), params.SQEntries)
	r.queue = unsafe.Slice((*uring.SubmissionQueueEntry64)(unsafe.Pointer(&r.entries[0])), params.SQEntries)
	r.completionHead = (*uint32)(unsafe.Pointer(&r.completion[cq.Head]))
	r.completionTail = (*uint32)(unsafe.Pointer(&r.completion[cq.Tail]))
	r.completionMask = *(*uint32)(unsafe.Pointer(&r.completion[cq.RingMask]))
	r.completions = unsafe.Slice((*uring.CompletionQueueEvent16)(unsafe.Pointer(&r.completion[cq.Cqes])), params.CQEntries)
	if err := r.watch(); err != nil {
		return nil, err
	}
	return r, nil
}

// watch makes the kernel signal completions and starts the goroutine that processes them.
func (r *ring) watch() error {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("cannot make an eventfd: %w", err)
	}
	r.event = os.NewFile(uintptr(fd), "io_uring completions")
	// unsafe: the kernel reads number during the call.
	number := int32(fd)
	if err := uring.IOURingRegister(r.fd, uring.IORING_REGISTER_EVENTFD, unsafe.Pointer(&number), 1); err != nil {
		_ = r.event.Close()
		return fmt.Errorf("cannot have io_uring signal completions: %w", err)
	}
	if r.conn, err = r.event.SyscallConn(); err != nil {
		_ = r.event.Close()
		return fmt.Errorf("cannot wait for io_uring: %w", err)
	}
	go r.take()
	return nil
}

func (r *ring) mmap(offset uint64, length int) ([]byte, error) {
	b, err := unix.Mmap(r.fd, int64(offset), length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("cannot map io_uring: %w", err)
	}
	return b, nil
}

// close ends the goroutine, which frees the ring. No operation may be pending. The goroutine
// itself may call close from complete.
func (r *ring) close() error { return r.event.Close() }

// free releases the memory of the ring.
func (r *ring) free() {
	for _, b := range [][]byte{r.submission, r.completion, r.entries} {
		if b != nil {
			_ = unix.Munmap(b)
		}
	}
	// All operations have completed, so an error does not matter.
	_ = unix.Close(r.fd)
}

// The user data that identifies an operation at its completion.
const (
	opWrite = iota
	opSync
)

// outcome has the results of a write and a sync: bytes or a negative errno.
type outcome struct{ write, sync int32 }

// start starts to write the buffers, if there are any, at offset and then, if sync is set, to
// sync the data of the file. The sync is linked to the write: it is cancelled if the write
// fails or is short. After all completions the ring's goroutine calls complete. On error,
// nothing was started.
func (r *ring) start(fd int, buffers [][]byte, offset int64, sync bool, complete func(outcome)) error {
	buffers = buffers[:min(len(buffers), maxBuffers)]
	var n uint32
	if len(buffers) > 0 {
		for i, b := range buffers {
			r.pinner.Pin(&b[0])
			r.vectors[i].Base = &b[0]
			r.vectors[i].SetLen(len(b))
		}
		r.pinner.Pin(&r.vectors[0])
		e := r.entry(n, opWrite)
		e.PrepOperation(uring.IORING_OP_WRITEV, int32(fd), uint64(uintptr(unsafe.Pointer(&r.vectors[0]))), uint32(len(buffers)), uint64(offset))
		if sync {
			e.SetFlags(uring.IOSQE_FLAGS_IO_LINK)
		}
		n++
	}
	if sync {
		e := r.entry(n, opSync)
		e.PrepOperation(uring.IORING_OP_FSYNC, int32(fd), 0, 0, 0)
		e.SetOpFlags(uint32(uring.IOSQE_SYNC_DATASYNC))
		n++
	}
	r.mu.Lock()
	r.waiting, r.outcome, r.complete = n, outcome{}, complete
	r.mu.Unlock()
	atomic.StoreUint32(r.submissionTail, *r.submissionTail+n)
	return r.submit(n)
}

// entry returns the i-th entry after the tail, cleared.
func (r *ring) entry(i uint32, op uint64) *uring.SubmissionQueueEntry64 {
	at := (*r.submissionTail + i) & r.submissionMask
	r.submissionArray[at] = at
	e := &r.queue[at]
	e.Reset()
	e.SetUserData(op)
	return e
}

// submit submits n entries to the kernel. It does not wait for their completion.
func (r *ring) submit(n uint32) error {
	for left := n; left > 0; {
		// A raw system call, because it does not block: a regular one would wake the
		// runtime's monitor.
		got, _, err := unix.RawSyscall6(uring.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(left), 0, 0, 0, 0)
		switch {
		case err == 0:
			left -= uint32(got)
		case err == unix.EINTR:
		case left == n:
			// The kernel accepted no entry.
			atomic.StoreUint32(r.submissionTail, *r.submissionTail-n)
			r.pinner.Unpin()
			return err
		case short(err):
			time.Sleep(time.Millisecond)
		default:
			// The ring is in an unknown state, and the kernel may access memory that will
			// be reused.
			panic(fmt.Sprintf("io_uring failed with operations under way: %v", err))
		}
	}
	return nil
}

// short reports whether the kernel is short of memory and will accept entries later.
func short(err error) bool { return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EBUSY) }

// take is the goroutine that processes completions. It ends when event is closed.
func (r *ring) take() {
	defer r.free()
	for {
		// The poller clears earlier signals before it calls the function, and sleeps if that
		// returns false. It keeps later signals.
		checked := false
		err := r.conn.Read(func(uintptr) bool {
			if checked {
				return true
			}
			checked = true
			return r.completed()
		})
		if err != nil {
			return
		}
		r.reap()
	}
}

// completed reports whether there are unprocessed completions.
func (r *ring) completed() bool {
	return *r.completionHead != atomic.LoadUint32(r.completionTail)
}

// reap processes the completions. The buffers may be reused only after the last one, so
// only completions end pending operations.
func (r *ring) reap() {
	r.mu.Lock()
	head := *r.completionHead
	for ; head != atomic.LoadUint32(r.completionTail); head++ {
		e := &r.completions[head&r.completionMask]
		if e.UserData() == opWrite {
			r.outcome.write = e.Result()
		} else {
			r.outcome.sync = e.Result()
		}
		r.waiting--
	}
	atomic.StoreUint32(r.completionHead, head)
	complete, result := r.complete, r.outcome
	if complete == nil || r.waiting > 0 {
		r.mu.Unlock()
		return
	}
	r.complete = nil
	r.mu.Unlock()
	r.pinner.Unpin()
	complete(result)
}
