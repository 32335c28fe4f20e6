// SPDX-License-Identifier: Apache-2.0

package file

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	uring "github.com/iceber/iouring-go/syscall"
	"golang.org/x/sys/unix"
)

// maxBuffers is how many buffers one write takes; more are written in turns.
const maxBuffers = 16

// ringEntries: a write and a sync are under way at most.
const ringEntries = 2

// ring is an io_uring for one file and one goroutine. At most one write and
// the sync linked to it are under way, so what is written is in order
// and a buffer is never needed after submit returns.
//
// The kernel and this process share its memory (io_uring(7)): the heads and
// tails are read and written atomically, and an index is published only
// after what it makes visible.
type ring struct {
	fd int
	// The mappings, to be unmapped.
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
			_ = r.close()
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
	// unsafe: the kernel lays these out in the mappings, at offsets that are
	// inside the lengths computed from the same parameters above.
	r.submissionTail = (*uint32)(unsafe.Pointer(&r.submission[sq.Tail]))
	r.submissionMask = *(*uint32)(unsafe.Pointer(&r.submission[sq.RingMask]))
	r.submissionArray = unsafe.Slice((*uint32)(unsafe.Pointer(&r.submission[sq.Array])), params.SQEntries)
	r.queue = unsafe.Slice((*uring.SubmissionQueueEntry64)(unsafe.Pointer(&r.entries[0])), params.SQEntries)
	r.completionHead = (*uint32)(unsafe.Pointer(&r.completion[cq.Head]))
	r.completionTail = (*uint32)(unsafe.Pointer(&r.completion[cq.Tail]))
	r.completionMask = *(*uint32)(unsafe.Pointer(&r.completion[cq.RingMask]))
	r.completions = unsafe.Slice((*uring.CompletionQueueEvent16)(unsafe.Pointer(&r.completion[cq.Cqes])), params.CQEntries)
	return r, nil
}

func (r *ring) mmap(offset uint64, length int) ([]byte, error) {
	b, err := unix.Mmap(r.fd, int64(offset), length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("cannot map io_uring: %w", err)
	}
	return b, nil
}

func (r *ring) close() error {
	for _, b := range [][]byte{r.submission, r.completion, r.entries} {
		if b != nil {
			_ = unix.Munmap(b)
		}
	}
	return unix.Close(r.fd)
}

// What an operation is recognised by when it completes.
const (
	opWrite = iota
	opSync
)

// outcome is what became of a write and a sync: bytes or a negative errno.
type outcome struct{ write, sync int32 }

// run writes the buffers, if there are any, at offset and then, if sync is
// set, syncs the data of the file. The sync is linked to the write: it
// is cancelled if the write fails or is short. run returns when all has completed.
func (r *ring) run(fd int, buffers [][]byte, offset int64, sync bool) (outcome, error) {
	defer r.pinner.Unpin()
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
	atomic.StoreUint32(r.submissionTail, *r.submissionTail+n)
	return r.complete(n)
}

// entry returns the i-th entry behind the tail, cleared.
func (r *ring) entry(i uint32, op uint64) *uring.SubmissionQueueEntry64 {
	at := (*r.submissionTail + i) & r.submissionMask
	r.submissionArray[at] = at
	e := &r.queue[at]
	e.Reset()
	e.SetUserData(op)
	return e
}

// complete submits n entries and waits until all have completed. The buffers
// may be used again only then, so nothing but completion ends it.
func (r *ring) complete(n uint32) (outcome, error) {
	var result outcome
	submit, waiting := n, n
	for waiting > 0 {
		got, err := uring.IOURingEnter(r.fd, submit, waiting, uring.IORING_ENTER_FLAGS_GETEVENTS, nil)
		switch {
		case err == nil:
			submit -= uint32(got)
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EBUSY):
			// The kernel is short of memory.
			time.Sleep(time.Millisecond)
		case submit == n:
			// The kernel has taken nothing.
			atomic.StoreUint32(r.submissionTail, *r.submissionTail-n)
			return result, err
		default:
			// The ring is not what this code believes, and the kernel may
			// write from memory that is about to be used for something else.
			panic(fmt.Sprintf("io_uring failed with operations under way: %v", err))
		}
		head := *r.completionHead
		for ; head != atomic.LoadUint32(r.completionTail); head++ {
			e := &r.completions[head&r.completionMask]
			if e.UserData() == opWrite {
				result.write = e.Result()
			} else {
				result.sync = e.Result()
			}
			waiting--
		}
		atomic.StoreUint32(r.completionHead, head)
	}
	return result, nil
}
