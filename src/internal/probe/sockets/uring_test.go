// SPDX-License-Identifier: Apache-2.0

package sockets_test

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Constants of io_uring(7) that package unix lacks.
const (
	uringSend          = 26
	uringReceive       = 27
	uringWaitForEvents = 1
	uringCompletions   = 0x8000000
	uringEntries       = 0x10000000
)

// uringParameters is struct io_uring_params.
type uringParameters struct {
	_               [10]uint32
	sqHead, sqTail  uint32
	_               [4]uint32
	sqArray         uint32
	_               uint32
	_               uint64
	cqHead, cqTail  uint32
	_               [3]uint32
	cqEntries, _, _ uint32
	_               uint64
}

// uring is an io_uring for one operation at a time.
type uring struct {
	fd                           int
	parameters                   uringParameters
	submission, completion, list []byte
}

// newUring returns nil if the kernel refuses io_uring.
func newUring(t *testing.T) *uring {
	t.Helper()
	r := &uring{}
	fd, err := system(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&r.parameters)))
	if err != nil {
		if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
			t.Logf("the kernel refuses io_uring: %v", err)
			return nil
		}
		t.Fatal(err)
	}
	r.fd = fd
	t.Cleanup(func() { unix.Close(fd) })
	for offset, to := range map[int64]*[]byte{0: &r.submission, uringCompletions: &r.completion, uringEntries: &r.list} {
		b, err := unix.Mmap(fd, offset, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Munmap(b) })
		*to = b
	}
	return r
}

// number returns a number that is shared with the kernel.
func number(b []byte, offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&b[offset])) }

// do returns a call that uses io_uring.
func (r *uring) do(operation byte) call {
	return func(fd int, b []byte) (int, error) {
		var pinner runtime.Pinner
		pinner.Pin(&b[0])
		defer pinner.Unpin()
		entry := make([]byte, 64)
		entry[0] = operation
		binary.NativeEndian.PutUint32(entry[4:], uint32(fd))
		binary.NativeEndian.PutUint64(entry[16:], uint64(uintptr(unsafe.Pointer(&b[0]))))
		binary.NativeEndian.PutUint32(entry[24:], uint32(len(b)))
		copy(r.list, entry)
		*number(r.submission, r.parameters.sqArray) = 0
		atomic.AddUint32(number(r.submission, r.parameters.sqTail), 1)
		if _, err := system(unix.SYS_IO_URING_ENTER, uintptr(r.fd), 1, 1, uringWaitForEvents); err != nil {
			return 0, err
		}
		head := number(r.completion, r.parameters.cqHead)
		// The ring has two completions for one entry, 16 bytes each.
		at := r.parameters.cqEntries + 16*(*head&1)
		result := int32(*number(r.completion, at+8))
		atomic.AddUint32(head, 1)
		if result < 0 {
			return 0, syscall.Errno(-result)
		}
		return int(result), nil
	}
}
