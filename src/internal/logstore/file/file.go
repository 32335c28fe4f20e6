// SPDX-License-Identifier: Apache-2.0

// Package file is the seam between the log store and the file system. All
// that changes the log directory goes through it.
package file

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Mode is that of the files of the log.
const Mode = 0o640

// File is a file that is only appended to. It is for one goroutine.
type File interface {
	// Commit writes the buffers one after another from offset on and then,
	// if sync is set, waits until the data of the file is durable. It returns
	// how many bytes were written, in order from the first. Short writes are
	// continued, interrupted ones repeated. If all was written and the sync
	// failed, the error is a *SyncError: nothing since the last good sync
	// counts as durable, not even after a later good one, unless it has been
	// written again.
	// The buffers belong to the file until Commit returns.
	Commit(buffers [][]byte, offset int64, sync bool) (n int64, err error)
	// Touch sets the modification time of the file to the present.
	Touch() error
	// Is reports whether path names this file. That nothing has the name, or
	// no directory leads to it, is no error.
	Is(path string) (bool, error)
	Close() error
}

// Starter is a File that can write while nobody waits.
type Starter interface {
	File
	// Start begins what Commit does without a sync, and returns. done is called
	// by another goroutine when it is over, with the number of bytes written,
	// which may be too small: the next Commit meets the reason. Until then the
	// buffers belong to the file, and nothing else may be called. Start returns
	// false if it has begun nothing, because it would have to wait.
	Start(buffers [][]byte, offset int64, done func(n int64)) bool
}

// System makes, renames and removes files.
type System interface {
	// Create creates a file that must not exist.
	Create(path string) (File, error)
	// Place renames a file to a name that must not exist; else the error is
	// fs.ErrExist.
	Place(from, to string) error
	// Rename replaces what has the name.
	Rename(from, to string) error
	Remove(path string) error
	// SyncDirectory makes creations, renames and removals in a directory
	// durable.
	SyncDirectory(path string) error
}

// SyncError is a failed sync.
type SyncError struct{ Err error }

func (e *SyncError) Error() string { return "cannot sync: " + e.Err.Error() }

func (e *SyncError) Unwrap() error { return e.Err }

// Plain is the System whose files are written by pwritev.
type Plain struct{}

var _ System = Plain{}

// Create implements System.
func (Plain) Create(path string) (File, error) {
	f, err := create(path)
	if err != nil {
		return nil, err
	}
	return &plainFile{f}, nil
}

// opened is an open file and its identity.
type opened struct {
	file *os.File
	id   Identity
}

func create(path string) (opened, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, Mode)
	if err != nil {
		return opened{}, fmt.Errorf("cannot create segment: %w", err)
	}
	var s unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &s); err != nil {
		f.Close()
		return opened{}, fmt.Errorf("cannot create segment: %w", &os.PathError{Op: "fstat", Path: path, Err: err})
	}
	return opened{f, Identity{Device: s.Dev, Inode: s.Ino}}, nil
}

// Touch implements File with futimens(3). It gives the kernel no times, so
// that the right to write the file is enough.
func (f *opened) Touch() error {
	// A raw system call: the wrappers of package unix take a path.
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, f.file.Fd(), 0, 0, 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("cannot set the time of the segment: %w", &os.PathError{Op: "utimensat", Path: f.file.Name(), Err: errno})
	}
	return nil
}

// Is implements File.
func (f *opened) Is(path string) (bool, error) {
	id, err := IdentityOf(path)
	return id == f.id, err
}

// Identity tells files apart.
type Identity struct{ Device, Inode uint64 }

// IdentityOf returns the identity of the file that path names, links not
// followed; the zero value if there is none.
func IdentityOf(path string) (Identity, error) {
	var s unix.Stat_t
	err := unix.Lstat(path, &s)
	for err == unix.EINTR {
		err = unix.Lstat(path, &s)
	}
	if err == unix.ENOENT || err == unix.ENOTDIR {
		return Identity{}, nil
	}
	if err != nil {
		return Identity{}, fmt.Errorf("cannot look for a file of the log: %w", &os.PathError{Op: "lstat", Path: path, Err: err})
	}
	return Identity{Device: s.Dev, Inode: s.Ino}, nil
}

// Place implements System.
func (Plain) Place(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL || err == unix.ENOSYS {
		// Some file systems cannot, but all that have links can do this.
		return placeByLink(from, to)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// placeByLink is Place in two steps. A crash in between leaves both names: the
// first is removed at the next start.
func placeByLink(from, to string) error {
	if err := os.Link(from, to); err != nil {
		return err
	}
	return os.Remove(from)
}

// Rename implements System.
func (Plain) Rename(from, to string) error { return os.Rename(from, to) }

// Remove implements System.
func (Plain) Remove(path string) error { return os.Remove(path) }

// SyncDirectory implements System.
func (Plain) SyncDirectory(path string) error {
	d, err := os.Open(filepath.Clean(path))
	if err != nil {
		return fmt.Errorf("cannot open directory to sync: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("cannot sync directory: %w", err)
	}
	return nil
}

type plainFile struct{ opened }

// Commit implements File.
func (f *plainFile) Commit(buffers [][]byte, offset int64, sync bool) (int64, error) {
	fd := int(f.file.Fd())
	n, err := commitAll(buffers, func(rest [][]byte, done int64) (int, error) {
		return unix.Pwritev(fd, rest, offset+done)
	})
	if err != nil {
		return n, fmt.Errorf("cannot write segment: %w", &os.PathError{Op: "pwritev", Path: f.file.Name(), Err: err})
	}
	if !sync {
		return n, nil
	}
	for {
		err := unix.Fdatasync(fd)
		if err == nil {
			return n, nil
		}
		if err != unix.EINTR {
			return n, &SyncError{Err: &os.PathError{Op: "fdatasync", Path: f.file.Name(), Err: err}}
		}
	}
}

// Close implements File.
func (f *plainFile) Close() error { return f.file.Close() }

// commitAll calls write until it has taken all buffers.
func commitAll(buffers [][]byte, write func(rest [][]byte, done int64) (int, error)) (done int64, err error) {
	for rest := advance(buffers, 0); len(rest) > 0; {
		n, err := write(rest[:min(len(rest), maxBuffers)], done)
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
			continue
		case err != nil:
			return done, err
		case n == 0:
			return done, unix.EIO
		}
		done += int64(n)
		rest = advance(rest, n)
	}
	return done, nil
}

// advance returns what is left of buffers behind their first n bytes, without
// empty ones. The caller's slice is not changed.
func advance(buffers [][]byte, n int) [][]byte {
	for len(buffers) > 0 && n >= len(buffers[0]) {
		n -= len(buffers[0])
		buffers = buffers[1:]
	}
	if n == 0 && !slices.ContainsFunc(buffers, func(b []byte) bool { return len(b) == 0 }) {
		return buffers
	}
	rest := make([][]byte, 0, len(buffers))
	for _, b := range buffers {
		if b = b[n:]; len(b) > 0 {
			rest = append(rest, b)
		}
		n = 0
	}
	return rest
}
