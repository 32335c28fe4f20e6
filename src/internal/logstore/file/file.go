// SPDX-License-Identifier: Apache-2.0

// Package file is the interface of the log store to the file system. All changes of the log
// directory go through it.
package file

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Mode is the mode of the files of the log.
const Mode = 0o640

// File is an append-only file. It is for use by one goroutine.
type File interface {
	// Commit writes the buffers one after another at offset and then, if sync is set,
	// waits until the data of the file is durable. It returns the number of bytes written,
	// in order from the first. It continues short writes and repeats interrupted ones. If
	// everything was written and the sync failed, the error is a *SyncError: data written
	// since the last successful sync is not durable, not even after a later successful
	// sync, unless it was written again.
	// The file owns the buffers until Commit returns.
	Commit(buffers [][]byte, offset int64, sync bool) (n int64, err error)
	// Touch sets the modification time of the file to the present.
	Touch() error
	// Is reports whether path names this file. It is not an error if the name or a
	// directory of the path does not exist.
	Is(path string) (bool, error)
	Close() error
}

// Starter is a File that can write asynchronously.
type Starter interface {
	File
	// Start starts a Commit without sync and returns. Another goroutine calls done when
	// it has finished, with the number of bytes written, which may be too small: the next
	// Commit then returns the reason. Until done is called, the file owns the buffers and
	// no other method may be called. Start returns false if it started nothing because it
	// would block.
	Start(buffers [][]byte, offset int64, done func(n int64)) bool
}

// System creates, renames and removes files.
type System interface {
	// Create creates a file that must not exist.
	Create(path string) (File, error)
	// Place renames a file to a name that must not exist. Otherwise the error is
	// fs.ErrExist.
	Place(from, to string) error
	// Rename renames a file and replaces an existing one.
	Rename(from, to string) error
	Remove(path string) error
	// SyncDirectory makes creations, renames and removals in a directory durable.
	SyncDirectory(path string) error
}

// SyncError is a failed sync.
type SyncError struct{ Err error }

func (e *SyncError) Error() string { return "cannot sync: " + e.Err.Error() }

func (e *SyncError) Unwrap() error { return e.Err }

// Plain is the System that writes files with pwritev(2).
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

// Touch implements File with futimens(3). It passes no times, because the current time
// requires only write permission.
func (f *opened) Touch() error {
	// A raw system call, because the functions of package unix take a path.
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

// Identity distinguishes files.
type Identity struct{ Device, Inode uint64 }

// IdentityOf returns the identity of the file at path without following links, or the zero
// value if there is none.
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
		// Some file systems do not support this flag. Links work on all others that have them.
		return placeByLink(from, to)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// placeByLink is Place in two steps. A crash between them leaves both names; the first one
// is removed at the next start.
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

// commitAll calls write until all buffers are written.
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

// advance returns the rest of buffers after the first n bytes, without empty ones. It does
// not change the caller's slice.
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
