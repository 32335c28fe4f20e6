// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel stores probes by file and offset. If a file is overwritten, its probes
// remain at the old offsets, inside of other instructions, and corrupt what programs
// execute. Therefore the tracer holds a read lease (fcntl(2), F_SETLEASE) on every
// attached file: a program that opens the file for writing waits until the tracer has
// detached and given up the lease, for at most /proc/sys/fs/lease-break-time. Opening
// for reading, mapping and executing do not break a read lease.
//
// The kernel grants a read lease only on a file that is not open for writing, so a
// leased file is complete. Some file systems do not support leases, and a lease on
// another user's file requires CAP_LEASE. Files attached without a lease must be
// watched.

// LeaseSignal is the signal by which the kernel breaks leases. The signal does not
// identify the file: see Library.Changing.
const LeaseSignal = unix.SIGIO

// ErrChanging reports that a file cannot be attached because it is open for writing or,
// without a lease, was changed a moment ago.
var ErrChanging = errors.New("the file is being written")

const (
	// unchangedFor is how long a file without a lease must be unchanged before it is
	// attached.
	unchangedFor = 200 * time.Millisecond
	// yieldLimit is how long a writer waits at most until records are read. Records
	// are read every flush window.
	yieldLimit = 2 * time.Second
)

// version changes with the content of a file.
type version struct {
	size             int64
	modified, change unix.Timespec
}

func versionOf(f *os.File) (version, error) {
	var s unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &s); err != nil {
		return version{}, err
	}
	return version{s.Size, s.Mtim, s.Ctim}, nil
}

// lease takes a lease on the library's file or, where that is not possible, sets
// LeaseError. It fails with ErrChanging.
func (l *Library) lease() error {
	_, err := l.fcntl(unix.F_SETLEASE, unix.F_RDLCK)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EAGAIN) && !l.onNFS():
		return ErrChanging
	}
	l.LeaseError = fmt.Errorf("cannot take a lease: %w", err)
	v, err := versionOf(l.open)
	if err != nil {
		return err
	}
	// The clock of a file server may be ahead.
	if age := time.Since(time.Unix(v.change.Unix())); age >= 0 && age < unchangedFor {
		return ErrChanging
	}
	return nil
}

// onNFS reports whether the file is on NFS, where a lease fails with EAGAIN also if the
// server does not grant one.
func (l *Library) onNFS() bool {
	var s unix.Statfs_t
	return unix.Fstatfs(int(l.open.Fd()), &s) == nil && s.Type == unix.NFS_SUPER_MAGIC
}

// Changing reports whether a program waits to write to the file, or whether a file
// without a lease has changed.
func (l *Library) Changing() bool {
	if l.LeaseError == nil {
		// While a lease is being broken, F_GETLEASE returns the type it will have.
		kind, err := l.fcntl(unix.F_GETLEASE, 0)
		return err != nil || kind != unix.F_RDLCK
	}
	return l.changed()
}

// changed reports whether the file has changed since it was read.
func (l *Library) changed() bool {
	v, err := versionOf(l.open)
	return err != nil || v.content() != l.version.content()
}

// content returns the part of a version that only depends on the content: renaming a
// file updates its change time.
func (v version) content() version { return version{size: v.size, modified: v.modified} }

// Yield detaches a library whose file is about to change, and lets the waiting writer
// continue. The library's records are read first, because their strings may be in the
// file; strings that are neither read in time nor cached count as unreadable.
func (t *Tracer) Yield(l *Library) {
	t.remove(l)
	position := t.ring.Written()
	for end := time.Now().Add(yieldLimit); t.ring.Taken() < position && time.Now().Before(end); {
		t.ring.Wake()
		time.Sleep(time.Millisecond)
	}
	l.unlease()
}

// Release detaches a library like Detach, and closes its file once the library's records
// were read: the file system of the file can be unmounted then.
func (t *Tracer) Release(l *Library) {
	t.Yield(l)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reclaim()
}

// unlease gives up the lease. The file can change afterwards.
func (l *Library) unlease() {
	if l.LeaseError == nil {
		// It fails only if the kernel has revoked the lease.
		_, _ = l.fcntl(unix.F_SETLEASE, unix.F_UNLCK)
	}
}

// fcntl calls fcntl(2) for the library's file, which may be closed concurrently.
func (l *Library) fcntl(command, argument int) (result int, err error) {
	conn, err := l.open.SyscallConn()
	if err != nil {
		return 0, err
	}
	closed := conn.Control(func(fd uintptr) { result, err = unix.FcntlInt(fd, command, argument) })
	if closed != nil {
		return 0, closed
	}
	return result, err
}
