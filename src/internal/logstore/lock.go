// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/logstore/file"
)

const lockName = ".lock"

// LockedError reports that the store already has a writer.
type LockedError struct{ Dir string }

func (e *LockedError) Error() string {
	return fmt.Sprintf("log directory %s is in use by another writer", e.Dir)
}

// lock is the exclusive right to write a store. Its file also has the note of the last
// writer.
type lock struct {
	file *os.File
	id   file.Identity
}

// takeLock locks dir and returns the note of the last writer.
func takeLock(dir string) (l *lock, lastNote note, err error) {
	// Any process that can open the file, even read-only, can lock it. Readers do not
	// need it, and must not be able to block the next writer.
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, note{}, fmt.Errorf("cannot open lock of log directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, note{}, &LockedError{Dir: dir}
		}
		return nil, note{}, fmt.Errorf("cannot lock log directory %s: %w", dir, err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, note{}, fmt.Errorf("cannot stat lock of log directory: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxNote))
	if err != nil {
		f.Close()
		return nil, note{}, fmt.Errorf("cannot read lock of log directory: %w", err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	return &lock{f, file.Identity{Device: stat.Dev, Inode: stat.Ino}}, parseNote(string(text)), nil
}

// holds reports whether the lock file in dir is the locked one. If not, another writer may
// lock that file.
func (l *lock) holds(dir string) (bool, error) {
	id, err := file.IdentityOf(filepath.Join(dir, lockName))
	return id == l.id, err
}

// writeNote replaces the note and makes it durable.
func (l *lock) writeNote(n note) error {
	err := l.file.Truncate(0)
	if err == nil {
		_, err = l.file.WriteAt([]byte(n.String()), 0)
	}
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("cannot write lock of log directory: %w", err)
	}
	return nil
}

func (l *lock) release() error { return l.file.Close() }
