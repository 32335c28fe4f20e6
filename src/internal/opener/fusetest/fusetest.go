// SPDX-License-Identifier: Apache-2.0

// Package fusetest is a FUSE file system for tests, whose program can stop answering. It has
// "directory", which is empty, and "library", an ELF file.
package fusetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// FileSystem is a mounted file system.
type FileSystem struct {
	// Path is the mount point.
	Path string

	fd       int
	silent   atomic.Bool
	requests atomic.Int64
	valid    uint64
}

// Silence stops answering: further requests are only counted.
func (f *FileSystem) Silence() { f.silent.Store(true) }

// Requests returns the number of requests since Silence.
func (f *FileSystem) Requests() int { return int(f.requests.Load()) }

// Numbers of linux/fuse.h.
const (
	fuseLookup, fuseForget, fuseGetattr, fuseOpen, fuseRead, fuseStatfs, fuseInit, fuseInterrupt, fuseBatchForget = 1, 2, 3, 14, 15, 17, 26, 36, 42

	fuseRoot, fuseDirectory, fuseLibrary = 1, 2, 3
	fuseFileSize                         = 8192
)

// Mount mounts a FileSystem on a directory, until the test ends. valid is the number of seconds
// for which the kernel may cache answers. It needs root.
//
// This process is also the program of the file system, so its files must be opened by
// unix.Open: os.Open polls them in a state in which the garbage collector cannot stop the
// thread, but the answer may have to wait for the garbage collector.
func Mount(t *testing.T, path string, valid uint64) *FileSystem {
	t.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		t.Skip("the kernel has no FUSE")
	} else if err != nil {
		t.Fatal(err)
	}
	f := &FileSystem{Path: path, fd: fd, valid: valid}
	if err := unix.Mount("hostile", path, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)); err != nil {
		unix.Close(fd)
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(f.serve)
	t.Cleanup(func() {
		// Unmounting ends the calls that still wait for an answer with an error.
		if err := unix.Unmount(path, unix.MNT_FORCE|unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		serving.Wait()
		unix.Close(fd)
	})
	return f
}

func (f *FileSystem) serve() {
	request := make([]byte, 1<<20)
	for {
		n, err := unix.Read(f.fd, request)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOENT):
			continue
		case err != nil || n < 40:
			return // it was unmounted
		}
		operation := binary.NativeEndian.Uint32(request[4:])
		if operation == fuseForget || operation == fuseBatchForget || operation == fuseInterrupt {
			continue
		}
		if f.silent.Load() {
			f.requests.Add(1)
			continue
		}
		body, errno := f.answer(operation, binary.NativeEndian.Uint64(request[16:]), request[40:n])
		reply := binary.NativeEndian.AppendUint32(nil, uint32(16+len(body)))
		reply = binary.NativeEndian.AppendUint32(reply, uint32(-int32(errno)))
		reply = append(append(reply, request[8:16]...), body...)
		_, _ = unix.Write(f.fd, reply)
	}
}

// answer returns the answer to a request about a node.
func (f *FileSystem) answer(operation uint32, node uint64, body []byte) (answer []byte, errno unix.Errno) {
	switch operation {
	case fuseInit:
		answer = make([]byte, 64)
		binary.NativeEndian.PutUint32(answer, 7)
		binary.NativeEndian.PutUint32(answer[4:], 31)
		binary.NativeEndian.PutUint32(answer[20:], 4096) // the longest write
		return answer, 0
	case fuseLookup:
		child, ok := map[string]uint64{"directory": fuseDirectory, "library": fuseLibrary}[string(body[:max(0, len(body)-1)])]
		if node != fuseRoot || !ok {
			return nil, unix.ENOENT
		}
		answer = make([]byte, 40)
		binary.NativeEndian.PutUint64(answer, child)
		binary.NativeEndian.PutUint64(answer[16:], f.valid)
		binary.NativeEndian.PutUint64(answer[24:], f.valid)
		return append(answer, f.attributes(child)...), 0
	case fuseGetattr:
		answer = make([]byte, 16)
		binary.NativeEndian.PutUint64(answer, f.valid)
		return append(answer, f.attributes(node)...), 0
	case fuseStatfs: // overlays need it
		answer = make([]byte, 80)
		binary.NativeEndian.PutUint32(answer[40:], 4096)
		binary.NativeEndian.PutUint32(answer[44:], 255) // the longest name
		return answer, 0
	case fuseOpen:
		return make([]byte, 16), 0
	case fuseRead:
		at, length := binary.NativeEndian.Uint64(body[8:]), uint64(binary.NativeEndian.Uint32(body[16:]))
		content := make([]byte, fuseFileSize)
		copy(content, "\x7fELF")
		return content[min(at, fuseFileSize):min(at+length, fuseFileSize)], 0
	}
	return nil, unix.ENOSYS
}

// attributes returns struct fuse_attr of a node.
func (f *FileSystem) attributes(node uint64) []byte {
	a := make([]byte, 88)
	mode, size := uint32(unix.S_IFDIR|0o755), uint64(0)
	if node == fuseLibrary {
		mode, size = unix.S_IFREG|0o755, fuseFileSize
	}
	binary.NativeEndian.PutUint64(a, node)
	binary.NativeEndian.PutUint64(a[8:], size)
	binary.NativeEndian.PutUint32(a[60:], mode)
	binary.NativeEndian.PutUint32(a[64:], 1) // links
	binary.NativeEndian.PutUint32(a[80:], 4096)
	return a
}
