// SPDX-License-Identifier: Apache-2.0

// Package mappings reports the files that processes map as executable: their programs,
// and libraries when they are loaded. The kernel writes a record of each mapping to a
// ring of the caller (perf_event_open(2), PERF_RECORD_MMAP2), and the process does not
// wait. Processes that are not watched have no overhead.
package mappings

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ringPages is the size of the ring of each processor, enough for hundreds of records.
const ringPages = 8

// maxEvents bounds the perf events, one for each processor and thread.
const maxEvents = 4096

// endedPoll is the interval at which a ring is read after its first thread has ended.
const endedPoll = 50 * time.Millisecond

// Mapping is a file that a process has mapped.
type Mapping struct {
	// PID is the process id for the caller.
	PID int
	// Path is the path of the file for the process, Device and Inode its numbers. The
	// device is in the form of stat(2), 0 if it is unknown.
	Path          string
	Device, Inode uint64
}

// Watcher watches processes.
type Watcher struct {
	rings  []*ring // by processor
	events []int
	// gather is how long records are collected after the first; 0 reports them at once.
	gather time.Duration
	// lost counts the records that did not fit.
	lost atomic.Uint64
	stop int // eventfd(2)
	done sync.WaitGroup
}

// ring is the ring of one processor.
type ring struct {
	fd     int
	memory []byte
	record []byte
}

// Inherit watches the process that start starts, and all its descendants. start is
// called in a thread that is not watched otherwise. report is called in a goroutine of
// the watcher.
func Inherit(start func() error, report func(Mapping)) (*Watcher, error) {
	w := &Watcher{stop: -1}
	runtime.LockOSThread()
	err := w.watch(unix.Gettid())
	if err == nil {
		err = start()
	}
	runtime.UnlockOSThread()
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, w.run(report)
}

// Watch watches running processes, by their ids for the caller, and the processes they
// start from now on. Processes that have ended are ignored.
func Watch(pids []int, report func(Mapping)) (*Watcher, error) {
	w := &Watcher{stop: -1}
	for _, pid := range pids {
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			continue
		}
		for _, t := range threads {
			tid, err := strconv.Atoi(t.Name())
			if err != nil {
				continue
			}
			if err := w.watch(tid); errors.Is(err, unix.ESRCH) {
				continue
			} else if err != nil {
				return nil, errors.Join(err, w.Close())
			}
		}
	}
	return w, w.run(report)
}

// WatchAll watches all processes. Records are collected for a moment after the first, so
// that many mappings wake the caller only a few times per second.
func WatchAll(report func(Mapping)) (*Watcher, error) {
	w := &Watcher{stop: -1, gather: allPoll}
	if err := w.watch(allThreads); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, w.run(report)
}

// allThreads selects all threads, allPoll is how long their records are collected.
const (
	allThreads = -1
	allPoll    = 250 * time.Millisecond
)

// watch watches a thread, on all processors.
func (w *Watcher) watch(tid int) error {
	processors, err := online()
	if err != nil {
		return err
	}
	if len(w.events)+len(processors) > maxEvents {
		return fmt.Errorf("cannot watch which files processes load: more than %d threads and processors", maxEvents)
	}
	first := w.rings == nil
	for i, processor := range processors {
		attr := unix.PerfEventAttr{
			Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_DUMMY,
			Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})), // unsafe: the size of the structure that is passed
			Bits: unix.PerfBitMmap | unix.PerfBitMmap2 | unix.PerfBitInherit | unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv | unix.PerfBitWatermark,
			// In bytes: wake at once.
			Wakeup: 1,
		}
		fd, err := unix.PerfEventOpen(&attr, tid, processor, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if err != nil {
			return fmt.Errorf("cannot watch which files processes load: %w", err)
		}
		w.events = append(w.events, fd)
		if !first {
			if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_SET_OUTPUT, w.rings[i].fd); err != nil {
				return fmt.Errorf("cannot watch which files processes load: %w", err)
			}
			continue
		}
		memory, err := unix.Mmap(fd, 0, (1+ringPages)*unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return fmt.Errorf("cannot watch which files processes load: %w", err)
		}
		w.rings = append(w.rings, &ring{fd: fd, memory: memory})
	}
	return nil
}

// online returns the numbers of the online processors.
func online() (processors []int, err error) {
	var set unix.CPUSet
	text, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return nil, fmt.Errorf("cannot list the processors: %w", err)
	}
	for part := range bytes.SplitSeq(bytes.TrimSpace(text), []byte{','}) {
		from, to, found := bytes.Cut(part, []byte{'-'})
		if !found {
			to = from
		}
		a, errA := strconv.Atoi(string(from))
		b, errB := strconv.Atoi(string(to))
		if errA != nil || errB != nil || a > b || b >= len(set)*64 {
			return nil, fmt.Errorf("cannot list the processors: %q", text)
		}
		for ; a <= b; a++ {
			processors = append(processors, a)
		}
	}
	return processors, nil
}

// run reads the rings until Close.
func (w *Watcher) run(report func(Mapping)) error {
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return errors.Join(fmt.Errorf("cannot watch which files processes load: %w", err), w.Close())
	}
	w.stop = stop
	w.done.Go(func() {
		wait := []unix.PollFd{{Fd: int32(stop), Events: unix.POLLIN}}
		for _, r := range w.rings {
			wait = append(wait, unix.PollFd{Fd: int32(r.fd), Events: unix.POLLIN})
		}
		for timeout := -1; ; {
			if _, err := unix.Poll(wait, timeout); err != nil && err != unix.EINTR {
				return
			}
			if w.gather > 0 && wait[0].Revents == 0 {
				if _, err := unix.Poll(wait[:1], int(w.gather.Milliseconds())); err != nil && err != unix.EINTR {
					return
				}
			}
			for i, r := range w.rings {
				r.read(report, &w.lost)
				if wait[i+1].Revents&unix.POLLHUP != 0 {
					// The thread has ended, but its children have not; they no longer wake the reader.
					wait[i+1].Fd, timeout = -1, int(endedPoll.Milliseconds())
				}
			}
			if wait[0].Revents != 0 {
				return
			}
		}
	})
	return nil
}

// read processes the available records.
func (r *ring) read(report func(Mapping), lost *atomic.Uint64) {
	// unsafe: the kernel shares the first page, which is not Go memory.
	head := &(*unix.PerfEventMmapPage)(unsafe.Pointer(&r.memory[0])).Data_head
	tail := &(*unix.PerfEventMmapPage)(unsafe.Pointer(&r.memory[0])).Data_tail
	data := r.memory[unix.Getpagesize():]
	end, at := atomic.LoadUint64(head), atomic.LoadUint64(tail)
	for at < end {
		length := binary.NativeEndian.Uint16(take(data, at+6, 2, nil))
		if length < 8 {
			at = end
			break
		}
		r.record = take(data, at, uint64(length), r.record[:0])
		at += uint64(length)
		switch binary.NativeEndian.Uint32(r.record) {
		case unix.PERF_RECORD_MMAP2:
			if m, ok := decode(r.record); ok {
				report(m)
			}
		case unix.PERF_RECORD_LOST:
			if len(r.record) >= 24 {
				lost.Add(binary.NativeEndian.Uint64(r.record[16:]))
			}
		}
	}
	atomic.StoreUint64(tail, at)
}

// take appends n bytes from a position in a ring to b.
func take(data []byte, at, n uint64, b []byte) []byte {
	size := uint64(len(data))
	for at %= size; n > 0; at = 0 {
		part := min(n, size-at)
		b = append(b, data[at:at+part]...)
		n -= part
	}
	return b
}

// decode decodes a PERF_RECORD_MMAP2: its header of 8 bytes, process and thread,
// address, length and offset, device, inode and its generation, protection and flags,
// the path.
func decode(record []byte) (m Mapping, ok bool) {
	const major, minor, inode, path = 40, 44, 48, 72
	if len(record) <= path {
		return m, false
	}
	name, _, _ := bytes.Cut(record[path:], []byte{0})
	m = Mapping{
		PID: int(binary.NativeEndian.Uint32(record[8:])), Path: string(name), Inode: binary.NativeEndian.Uint64(record[inode:]),
		Device: unix.Mkdev(binary.NativeEndian.Uint32(record[major:]), binary.NativeEndian.Uint32(record[minor:])),
	}
	// Mappings without a file have a name in brackets, or one without a leading slash.
	return m, len(name) > 0 && name[0] == '/'
}

// Lost returns the number of mappings that were not reported because there were too many
// at a time.
func (w *Watcher) Lost() uint64 { return w.lost.Load() }

// Close stops watching. Earlier mappings are reported first.
func (w *Watcher) Close() error {
	var errs []error
	if w.stop >= 0 {
		if _, err := unix.Write(w.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
			errs = append(errs, err)
		}
		w.done.Wait()
		errs = append(errs, unix.Close(w.stop))
	}
	for _, r := range w.rings {
		errs = append(errs, unix.Munmap(r.memory))
	}
	for _, fd := range w.events {
		errs = append(errs, unix.Close(fd))
	}
	return errors.Join(errs...)
}
