// SPDX-License-Identifier: Apache-2.0

// Package usage reads the resource use of a running process from the kernel.
package usage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CPU returns the processor time of a process, including threads that have ended
// (clock_getcpuclockid(3)). It fails if the process does not exist.
func CPU(pid int) (time.Duration, error) {
	const schedulerClock = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|schedulerClock, &t); err != nil {
		return 0, fmt.Errorf("cannot read the processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// Status returns the number in a field of a file like /proc/PID/status, in the unit that
// the file has: kB, which are 1024 bytes, for sizes of memory (proc_pid_status(5)). It
// fails if the file cannot be read or does not have the field.
func Status(path, name string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && key == name {
			return strconv.Atoi(strings.Fields(value)[0])
		}
	}
	return 0, fmt.Errorf("no %s in %s", name, path)
}

// Switches returns the number of context switches, voluntary or not, of the threads that
// a process has now. It fails if the process or one of the threads ends meanwhile.
func Switches(pid int) (sum int, err error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(threads) == 0 {
		return 0, errors.Join(err, fmt.Errorf("cannot list the threads of process %d", pid))
	}
	for _, t := range threads {
		for _, name := range []string{"voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"} {
			n, err := Status(t, name)
			if err != nil {
				return 0, fmt.Errorf("cannot count context switches: %w", err)
			}
			sum += n
		}
	}
	return sum, nil
}

// Resident returns the resident memory of a process in bytes. It fails if the process
// does not exist.
func Resident(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	var size, pages float64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		return 0, err
	}
	return pages * float64(os.Getpagesize()), nil
}
