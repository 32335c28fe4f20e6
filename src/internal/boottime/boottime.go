// SPDX-License-Identifier: Apache-2.0

// Package boottime reads the clock of the records and of the log.
package boottime

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Now returns the time since boot including suspend, in nanoseconds (CLOCK_BOOTTIME).
//
// It uses a raw system call because the call never blocks. Any other system call wakes the
// monitor of an idle Go runtime, which then polls every 20 µs for the thread's return.
func Now() uint64 {
	var t unix.Timespec
	// unsafe: the kernel fills in t, which does not move during the call. Every kernel
	// has this clock, so the call cannot fail.
	_, _, _ = unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&t)), 0)
	return uint64(t.Nano())
}
