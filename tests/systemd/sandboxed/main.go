// SPDX-License-Identifier: Apache-2.0

// Command sandboxed replaces the program of a service and prints what its sandbox
// allows: the errors of system calls, with arguments that have no effect if a call is
// allowed, and whether files in some directories can be written and executed.
package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// none is not a valid file descriptor, process or user.
const none = ^uintptr(0)

// calls are system calls with invalid arguments.
var calls = map[string][4]uintptr{
	"bind":              {unix.SYS_BIND, none},
	"capset":            {unix.SYS_CAPSET, 0},
	"fchmodat":          {unix.SYS_FCHMODAT, none},
	"fchownat":          {unix.SYS_FCHOWNAT, none},
	"execveat":          {unix.SYS_EXECVEAT, none},
	"fsetxattr":         {unix.SYS_FSETXATTR, none},
	"fsync":             {unix.SYS_FSYNC, none},
	"io_uring_setup":    {unix.SYS_IO_URING_SETUP, 1, 0},
	"keyctl":            {unix.SYS_KEYCTL, none},
	"kill":              {unix.SYS_KILL, 1 << 30, 0},
	"linkat":            {unix.SYS_LINKAT, none},
	"listen":            {unix.SYS_LISTEN, none},
	"memfd_create":      {unix.SYS_MEMFD_CREATE, 0},
	"mkdirat":           {unix.SYS_MKDIRAT, none},
	"mknodat":           {unix.SYS_MKNODAT, none},
	"mount":             {unix.SYS_MOUNT},
	"perf_event_open":   {unix.SYS_PERF_EVENT_OPEN, 0},
	"pidfd_open":        {unix.SYS_PIDFD_OPEN, none, none},
	"pipe2":             {unix.SYS_PIPE2, 0, none},
	"process_vm_readv":  {unix.SYS_PROCESS_VM_READV, 1 << 30},
	"ptrace":            {unix.SYS_PTRACE, unix.PTRACE_ATTACH, 1 << 30},
	"setpriority":       {unix.SYS_SETPRIORITY, none},
	"setresuid":         {unix.SYS_SETRESUID, none, none, none},
	"shmget":            {unix.SYS_SHMGET, 1 << 20, 0, 0},
	"symlinkat":         {unix.SYS_SYMLINKAT, 0, none},
	"unlinkat":          {unix.SYS_UNLINKAT, none},
	"waitid":            {unix.SYS_WAITID, none},
	"a call to come":    {1 << 12},
	"socket of AF_INET": {unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM},
}

func main() {
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		a := calls[name]
		_, _, errno := unix.RawSyscall(a[0], a[1], a[2], a[3])
		fmt.Printf("%s: %s\n", name, unix.ErrnoName(errno))
	}
	for _, dir := range os.Args[1:] {
		fmt.Printf("a file in %s: %s\n", dir, file(dir))
	}
	fmt.Println("end:")
}

// file reports whether a program can be written to a directory and executed.
func file(dir string) string {
	path := filepath.Join(dir, "sandboxed")
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err.Error()
	}
	if os.WriteFile(path, program, 0o700) != nil {
		return "is not written"
	}
	defer func() { _ = os.Remove(path) }() // nothing uses it afterwards
	// access(2) also checks the options of the mount.
	if unix.Access(path, unix.X_OK) != nil {
		return "is not executed"
	}
	return "is executed"
}
