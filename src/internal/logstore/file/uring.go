// SPDX-License-Identifier: Apache-2.0

package file

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Uring is the System whose files are written through io_uring: a write and
// the fdatasync linked to it take one system call. A file gets a ring of its
// own; where the kernel refuses one it is written like those of Plain.
//
// A write that makes the file longer is handed to a worker of the kernel (ext4,
// Linux 6.18): 13 µs of CPU for 1 KiB, where pwritev takes 2 µs. With a sync
// both take as long, and pwrite still less CPU. At the ten chunks a second of a
// busy agent neither matters.
type Uring struct{ Plain }

var _ System = Uring{}

// Best returns Uring where the kernel allows io_uring
// (sysctl kernel.io_uring_disabled, seccomp), else Plain and why.
func Best() (System, error) {
	r, err := newRing()
	if err != nil {
		return Plain{}, err
	}
	if err := r.close(); err != nil {
		return Plain{}, fmt.Errorf("cannot close io_uring: %w", err)
	}
	return Uring{}, nil
}

// Create implements System.
func (u Uring) Create(path string) (File, error) {
	r, err := newRing()
	if err != nil {
		return u.Plain.Create(path)
	}
	f, err := create(path)
	if err != nil {
		_ = r.close()
		return nil, err
	}
	return &uringFile{f, r}, nil
}

type uringFile struct {
	opened
	ring *ring
}

// Commit implements File.
func (f *uringFile) Commit(buffers [][]byte, offset int64, sync bool) (done int64, err error) {
	fd := int(f.file.Fd())
	rest := advance(buffers, 0)
	for len(rest) > 0 || sync {
		result, err := f.ring.run(fd, rest, offset+done, sync && len(rest) <= maxBuffers)
		if err != nil {
			return done, f.failed("io_uring_enter", err)
		}
		if len(rest) > 0 {
			n, err := taken(result.write)
			if err != nil {
				return done, f.failed("writev", err)
			}
			done += int64(n)
			if rest = advance(rest, n); len(rest) > 0 {
				continue // a short write cancelled the sync
			}
			if !sync {
				return done, nil
			}
		}
		switch errno := unix.Errno(-result.sync); errno {
		case 0:
			return done, nil
		case unix.ECANCELED, unix.EINTR, unix.EAGAIN:
		default:
			return done, &SyncError{Err: &os.PathError{Op: "fdatasync", Path: f.file.Name(), Err: errno}}
		}
	}
	return done, nil
}

// taken turns the result of a write into bytes; none if it has to be repeated.
func taken(result int32) (int, error) {
	switch errno := unix.Errno(-result); {
	case result > 0:
		return int(result), nil
	case errno == unix.EINTR || errno == unix.EAGAIN:
		return 0, nil
	case result == 0:
		return 0, unix.EIO
	default:
		return 0, errno
	}
}

func (f *uringFile) failed(op string, err error) error {
	return fmt.Errorf("cannot write segment: %w", &os.PathError{Op: op, Path: f.file.Name(), Err: err})
}

// Close implements File.
func (f *uringFile) Close() error {
	err := f.ring.close()
	if closeErr := f.file.Close(); err == nil {
		err = closeErr
	}
	return err
}
