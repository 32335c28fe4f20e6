// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/logstore/cursor"
)

const lockName = ".lock"

// LockedError says that a store has a writer already.
type LockedError struct{ Dir string }

func (e *LockedError) Error() string {
	return fmt.Sprintf("log directory %s is in use by another writer", e.Dir)
}

// lock is the right to write a store. Its file also remembers the cursor at
// which the last writer left in good order.
type lock struct{ file *os.File }

// takeLock locks dir and returns what the last writer left in the lock file.
func takeLock(dir string) (l *lock, left string, err error) {
	// Whoever can open it, if only to read, can lock it. No reader needs it, and
	// none may keep the next writer out.
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, "", fmt.Errorf("cannot open lock of log directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, "", &LockedError{Dir: dir}
		}
		return nil, "", fmt.Errorf("cannot lock log directory %s: %w", dir, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, cursor.Length+1))
	if err != nil {
		f.Close()
		return nil, "", fmt.Errorf("cannot read lock of log directory: %w", err)
	}
	return &lock{file: f}, string(text), nil
}

// leave records text and makes it durable.
func (l *lock) leave(text string) error {
	err := l.file.Truncate(0)
	if err == nil {
		_, err = l.file.WriteAt([]byte(text), 0)
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
