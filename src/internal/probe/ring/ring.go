// SPDX-License-Identifier: Apache-2.0

// Package ring reads a BPF ring buffer. In contrast to the reader of the BPF library, the
// producers wake it only on its request, and a wait does not occupy a thread.
package ring

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Bits of the length in the header of a ring record, and the header's size
// (include/uapi/linux/bpf.h).
const (
	busy    = 1 << 31
	discard = 1 << 30
	header  = 8
)

// busyWait is how long the reader sleeps if the next record is unfinished because its
// producer was interrupted: that producer will not wake the reader.
const busyWait = time.Millisecond

// Ring is the reader's side of the BPF ring buffer (Documentation/bpf/ringbuf.rst in the
// kernel). Unless documented otherwise, the methods must be called by one goroutine.
//
// The reader sleeps in Wait. Producers wake it only if it requests that by storing the
// number of bytes that must be waiting to wakeAt: they never do while it works.
type Ring struct {
	size     uint64
	consumer []byte // one page, writable
	producer []byte // one page, then the data
	data     []byte
	// wrapped holds a record that continues at the beginning of the data. The kernel
	// also offers to map the data twice in a row, which would count twice as resident
	// memory.
	wrapped []byte
	wakeAt  *atomic.Uint64
	// file is an epoll instance for the map and the timer, registered with the poller
	// of the Go runtime. A goroutine that waits there needs no thread: one in a system
	// call of its own keeps the runtime's monitor awake for ten milliseconds each time.
	// A timer of the runtime would wake a second thread when it is set and when it
	// expires.
	file  *os.File
	conn  syscall.RawConn
	timer int // timerfd_create(2)
	armed bool
	// woken is set by Wake.
	woken atomic.Bool

	// taken is the consumer position, which only the reader changes.
	taken uint64
	// highWater is the highest number of bytes ever found waiting.
	highWater atomic.Uint64
}

// New maps the ring of a map of the given size in bytes. wakeAt is the word in which the
// producers look for the number of waiting bytes at which they wake the reader.
func New(m *ebpf.Map, size int, wakeAt *atomic.Uint64) (*Ring, error) {
	r := &Ring{size: uint64(size), wakeAt: wakeAt}
	page := unix.Getpagesize()
	var err error
	if r.consumer, err = unix.Mmap(m.FD(), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("cannot map the ring: %w", err)
	}
	if r.producer, err = unix.Mmap(m.FD(), int64(page), page+size, unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot map the ring: %w", err), r.Close())
	}
	r.data = r.producer[page:]
	if err := r.watch(m.FD()); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot watch the ring: %w", err), r.Close())
	}
	r.wakeAt.Store(math.MaxUint64)
	return r, nil
}

// watch creates file and timer.
func (r *Ring) watch(ring int) error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	// Reading the epoll instance fails; the flag only makes the runtime poll it.
	err = unix.SetNonblock(fd, true)
	r.file = os.NewFile(uintptr(fd), "ring")
	if err != nil {
		return err
	}
	if r.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return err
	}
	for _, watched := range []int{ring, r.timer} {
		if err := unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, watched, &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
			return err
		}
	}
	if r.conn, err = r.file.SyscallConn(); err != nil {
		return err
	}
	return r.file.SetReadDeadline(time.Time{})
}

// arm sets the timer; a negative time stops it.
func (r *Ring) arm(timeout time.Duration) error {
	if timeout < 0 && !r.armed {
		return nil
	}
	r.armed = timeout >= 0
	var at unix.ItimerSpec // zero: stopped
	if r.armed {
		at.Value = unix.NsecToTimespec(max(timeout.Nanoseconds(), 1))
	}
	return unix.TimerfdSettime(r.timer, 0, &at, nil)
}

// Close unmaps the ring. No other method may be called afterwards.
func (r *Ring) Close() error {
	var errs []error
	if r.file != nil {
		errs = append(errs, r.file.Close())
	}
	if r.timer > 0 {
		errs = append(errs, unix.Close(r.timer))
	}
	if r.producer != nil {
		errs = append(errs, unix.Munmap(r.producer))
	}
	if r.consumer != nil {
		errs = append(errs, unix.Munmap(r.consumer))
	}
	return errors.Join(errs...)
}

// The positions are in bytes since the ring was created. They are shared with the kernel
// and therefore atomic; the mappings are page-aligned and not Go memory.

func (r *Ring) consumerPosition() *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&r.consumer[0]))
}

// Written returns the position after the last record. It may be called from any goroutine.
func (r *Ring) Written() uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&r.producer[0])).Load()
}

// Taken returns the position before which all records were taken. It may be called from
// any goroutine, and may lag behind.
func (r *Ring) Taken() uint64 { return r.consumerPosition().Load() }

// Waiting returns the number of bytes in the ring, including unfinished records.
func (r *Ring) Waiting() uint64 { return r.Written() - r.taken }

// HighWater returns the highest number of bytes ever found waiting. It may be called
// from any goroutine.
func (r *Ring) HighWater() uint64 { return r.highWater.Load() }

// Size returns the size of the ring in bytes.
func (r *Ring) Size() uint64 { return r.size }

// Drain passes the finished records to take, in order, until the ring is empty, the next
// record is unfinished, or limit bytes were taken. A record is only valid until take
// returns.
func (r *Ring) Drain(limit uint64, take func(record []byte)) {
	// Space is released in portions: the position has a cache line of its own, but each
	// store takes that line from the producers.
	const portion = 64 << 10
	end := r.Written()
	if waiting := end - r.taken; waiting > r.highWater.Load() {
		r.highWater.Store(waiting)
	}
	start, given := r.taken, r.taken
	for r.taken-start < limit {
		if r.taken == end {
			if end = r.Written(); r.taken == end {
				break
			}
		}
		at := r.taken & (r.size - 1)
		length := r.lengthAt(at)
		if length&busy != 0 {
			break
		}
		n := uint64(length &^ (busy | discard))
		if length&discard == 0 {
			take(r.record(at+header, n))
		}
		r.taken += (n + header + 7) &^ 7
		if r.taken-given >= portion {
			r.consumerPosition().Store(r.taken)
			given = r.taken
		}
	}
	if given != r.taken {
		r.consumerPosition().Store(r.taken)
	}
}

// Wait sleeps until at least mark bytes are waiting, the timeout expires, or Wake is
// called. A negative timeout means no limit. It may return early.
func (r *Ring) Wait(mark uint64, timeout time.Duration) error {
	// Wake may have set a deadline.
	if err := r.file.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("cannot wait for the ring: %w", err)
	}
	defer r.wakeAt.Store(math.MaxUint64)
	checked := false
	var armed error
	// The poller clears earlier wake-ups before it calls the function, and sleeps if
	// that returns false. Wake-ups after wakeAt is set are not cleared; data that came
	// before are noticed here. The timer is set here, too, because an earlier expiry
	// would be cleared.
	err := r.conn.Read(func(uintptr) bool {
		if checked || r.woken.Swap(false) {
			return true
		}
		checked = true
		r.wakeAt.Store(mark)
		if r.Waiting() >= mark {
			if !r.firstBusy() {
				return true
			}
			// Nothing can be taken because the first record is unfinished; its producer is
			// interrupted and may have read wakeAt already.
			if timeout < 0 || timeout > busyWait {
				timeout = busyWait
			}
		}
		armed = r.arm(timeout)
		return armed != nil
	})
	err = errors.Join(err, armed)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("cannot wait for the ring: %w", err)
	}
	return nil
}

// lengthAt returns the length word of the record at an offset. The kernel finishes a
// record by an atomic exchange of that word.
func (r *Ring) lengthAt(at uint64) uint32 {
	return atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.data[at])))
}

// record returns the n bytes of the record that starts at an offset.
func (r *Ring) record(at, n uint64) []byte {
	at &= r.size - 1
	if at+n <= r.size {
		return r.data[at : at+n]
	}
	r.wrapped = append(append(r.wrapped[:0], r.data[at:]...), r.data[:at+n-r.size]...)
	return r.wrapped
}

// firstBusy reports whether the next record is still being written.
func (r *Ring) firstBusy() bool { return r.lengthAt(r.taken&(r.size-1))&busy != 0 }

// Wake ends the current or the next Wait. It may be called from any goroutine.
func (r *Ring) Wake() {
	r.woken.Store(true)
	// A Wait that has not read woken yet resets its deadline, but reads woken
	// afterwards. The ring is closed after the last Wait.
	_ = r.file.SetReadDeadline(time.Now())
}
