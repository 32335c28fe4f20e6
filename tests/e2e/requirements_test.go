// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"crypto-auditing/tests/machine"
)

// needRecording skips the test if this machine cannot record, and fails it if the machine
// can, but the build failed. No test is skipped on a machine that meets the requirements.
func needRecording(t *testing.T) {
	t.Helper()
	if missing := missingForRecording(); missing != "" {
		t.Skip(missing)
	}
	if missing := missingForBuilding(); missing != "" {
		if os.Geteuid() == 0 {
			t.Fatalf("%s: install it", missing)
		}
		t.Skip(missing)
	}
	if built.err != nil {
		t.Fatal(built.err)
	}
}

// needPerfEvent is needRecording for the profile that attaches site by site.
func needPerfEvent(t *testing.T) {
	t.Helper()
	needRecording(t)
	if !machine.Capable(machine.CapSysAdmin) {
		t.Skip("attaching by perf_event needs CAP_SYS_ADMIN")
	}
}

// needCommand skips the test if a command of the distribution is missing, or fails it for root.
func needCommand(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Geteuid() == 0 {
			t.Fatalf("the command %s is not installed: install it", name)
		}
		t.Skipf("the command %s is not installed", name)
	}
}

// missingForRecording returns the first requirement for recording that the kernel or this
// process does not meet, "" if none.
func missingForRecording() string {
	major, minor, err := kernel()
	if err != nil {
		return fmt.Sprintf("the version of the kernel is unknown: %v", err)
	}
	if major < 6 || major == 6 && minor < 1 {
		return fmt.Sprintf("the kernel is %d.%d, and 6.1 or newer is needed", major, minor)
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		return fmt.Sprintf("the kernel has no BTF: %v", err)
	}
	uprobeMulti := major > 6 || minor >= 6
	if !machine.Capable(machine.CapSysAdmin) && (!uprobeMulti || !machine.Capable(machine.CapBPF) || !machine.Capable(machine.CapPerfmon)) {
		return "this process has neither CAP_SYS_ADMIN nor, on kernel 6.6 or newer, CAP_BPF and CAP_PERFMON"
	}
	return ""
}

// missingForBuilding returns the first missing requirement for building, "" if none.
func missingForBuilding() string {
	if machine.Prebuilt() != "" {
		return ""
	}
	for _, name := range []string{"go", "make", "cc"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Sprintf("the command %s is not installed", name)
		}
	}
	if exec.Command("cc", "-fsyntax-only", "-include", "openssl/ssl.h", "-x", "c", "/dev/null").Run() != nil {
		return "the headers of OpenSSL (libssl-dev or openssl-devel) are not installed"
	}
	return ""
}

// profileOf returns the profile by which the agent attaches on this kernel.
func profileOf() string {
	if major, minor, err := kernel(); err != nil || major == 6 && minor < 6 {
		return "perf_event"
	}
	return "uprobe_multi"
}

// kernel returns the version of the kernel.
func kernel() (major, minor int, err error) {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return 0, 0, err
	}
	if _, err := fmt.Sscanf(string(release), "%d.%d", &major, &minor); err != nil {
		return 0, 0, fmt.Errorf("%q is not a version: %w", release, err)
	}
	return major, minor, nil
}
