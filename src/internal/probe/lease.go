// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel keeps probes by file and offset. A file that is overwritten keeps
// them at their old offsets, in the middle of other instructions, where they
// change what programs execute. So the tracer holds a read lease (fcntl(2),
// F_SETLEASE) on every file that it is attached to: whoever opens the file for
// writing waits until the tracer has detached and gives up the lease, for at
// most /proc/sys/fs/lease-break-time. Opening for reading, mapping and
// executing do not touch a read lease.
//
// The kernel grants a read lease only on a file that is not open for writing,
// so a leased file is complete. Some file systems have no leases, and a file of
// another user takes CAP_LEASE. What is attached then has to be watched.

// LeaseSignal is the signal by which the kernel asks for leases. The signal does not
// name the file: see Library.Changing.
const LeaseSignal = unix.SIGIO

// ErrChanging tells that a file cannot be attached to because it is open for
// writing or, where there is no lease to rely on, was changed a moment ago.
var ErrChanging = errors.New("the file is being written")

const (
	// unchangedFor is how long a file without a lease must not have changed
	// before it is attached to.
	unchangedFor = 200 * time.Millisecond
	// yieldLimit is how long a writer waits for records to be read, at most.
	// Records are read every flush window.
	yieldLimit = 2 * time.Second
)

// version is what changes when the content of a file does.
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

// lease takes a lease on the library's file or, where that cannot be, notes why
// in LeaseError. It fails with ErrChanging.
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
	// A server's clock may be ahead.
	if age := time.Since(time.Unix(v.change.Unix())); age >= 0 && age < unchangedFor {
		return ErrChanging
	}
	return nil
}

// onNFS reports whether the file is on NFS, where a lease also fails because
// the server gives none.
func (l *Library) onNFS() bool {
	var s unix.Statfs_t
	return unix.Fstatfs(int(l.open.Fd()), &s) == nil && s.Type == unix.NFS_SUPER_MAGIC
}

// Changing reports whether a program waits to write to the file, or whether a
// file without a lease has changed.
func (l *Library) Changing() bool {
	if l.LeaseError == nil {
		// The type that the lease is to become once it is being broken.
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

// content is the part of a version that changes with the content alone: a file
// that gets another name has another change time.
func (v version) content() version { return version{size: v.size, modified: v.modified} }

// Yield detaches a library whose file is to change, and lets the program that
// waits for that continue. The records that the library has made are read
// before, because their strings may be in the file; what is not read in time
// and not remembered counts as unreadable.
func (t *Tracer) Yield(l *Library) {
	t.remove(l)
	position := t.ring.producerPosition()
	for end := time.Now().Add(yieldLimit); t.ring.consumerPosition().Load() < position && time.Now().Before(end); {
		t.ring.Wake()
		time.Sleep(time.Millisecond)
	}
	l.unlease()
}

// unlease gives up the lease. The file can change then.
func (l *Library) unlease() {
	if l.LeaseError == nil {
		// It fails only if the kernel has taken the lease away.
		_, _ = l.fcntl(unix.F_SETLEASE, unix.F_UNLCK)
	}
}

// fcntl calls fcntl(2) for the library's file, which may be closed meanwhile.
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
