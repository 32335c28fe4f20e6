// SPDX-License-Identifier: Apache-2.0

// Package boottime reads the clock of the records and of the log.
package boottime

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Now returns the time since boot, suspend included, in nanoseconds
// (CLOCK_BOOTTIME).
//
// The system call is a raw one because it never waits. Any other wakes the
// monitor of an idle Go runtime, which then looks every 20 µs whether the
// thread has come back.
func Now() uint64 {
	var t unix.Timespec
	// unsafe: the kernel fills in t, which does not move meanwhile. Every kernel
	// has this clock, so that the call cannot fail.
	_, _, _ = unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&t)), 0)
	return uint64(t.Nano())
}
