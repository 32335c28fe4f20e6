// SPDX-License-Identifier: Apache-2.0

// Package emulation determines what this kernel does to instructions under a probe that
// could harm programs.
package emulation

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Machine returns the architecture of the programs that this kernel runs.
func Machine() elf.Machine {
	if runtime.GOARCH == "arm64" {
		return elf.EM_AARCH64
	}
	return elf.EM_X86_64
}

// ReplacesFiveByteNops reports whether the kernel may replace five-byte no-ops by calls:
// Linux 6.18 and newer may, on x86-64.
func ReplacesFiveByteNops() bool { return hasUprobeCall() }

// BreaksShadowStacks reports whether programs may have a shadow stack on this machine, and
// the kernel may emulate calls, and returns of arm64, without it: Linux before 6.18.
func BreaksShadowStacks() bool {
	if runtime.GOARCH == "arm64" {
		var name unix.Utsname
		info, err := os.ReadFile("/proc/cpuinfo")
		return unix.Uname(&name) != nil || !isSince618(unix.ByteSliceToString(name.Release[:])) && (err != nil || hasFlag(info, "Features", "gcs"))
	}
	const archPrctl, shadowStackStatus = 158, 0x5005 // arch/x86/include/uapi/asm/prctl.h
	if runtime.GOARCH != "amd64" || hasUprobeCall() {
		return false
	}
	var features uint64
	// A kernel without shadow stacks for programs does not know the operation.
	if _, _, errno := unix.RawSyscall(archPrctl, shadowStackStatus, uintptr(unsafe.Pointer(&features)), 0); errno != 0 {
		return false
	}
	info, err := os.ReadFile("/proc/cpuinfo")
	return err != nil || hasFlag(info, "flags", "user_shstk")
}

// hasFlag reports whether processor and kernel offer a feature to programs, by the text of
// /proc/cpuinfo: shadow stacks are user_shstk on x86-64 and gcs on arm64
// (Documentation/arch/x86/shstk.rst and arm64/gcs.rst of the kernel).
func hasFlag(cpuinfo []byte, line, want string) bool {
	for text := range bytes.Lines(cpuinfo) {
		if name, flags, ok := bytes.Cut(text, []byte(":")); ok && string(bytes.TrimSpace(name)) == line {
			return slices.ContainsFunc(bytes.Fields(flags), func(flag []byte) bool { return string(flag) == want })
		}
	}
	return false
}

// isSince618 reports whether a release is Linux 6.18 or newer. On arm64, nothing else
// distinguishes these kernels.
func isSince618(release string) bool {
	var major, minor int
	_, err := fmt.Sscanf(release, "%d.%d", &major, &minor)
	return err == nil && (major > 6 || major == 6 && minor >= 18)
}

// hasUprobeCall reports whether the kernel has the system call uprobe, which only the
// trampolines of Linux 6.18 and newer on x86-64 may use. The kernel exempts it from system
// call filters (seccomp), so that a filter that denies unknown system calls only takes
// effect on kernels without it.
func hasUprobeCall() bool {
	const uprobe = 336
	if runtime.GOARCH != "amd64" {
		return false
	}
	_, _, errno := unix.RawSyscall(uprobe, 0, 0, 0)
	return errno != unix.ENOSYS && errno != unix.EPERM
}
