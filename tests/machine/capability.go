// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Capabilities by their bit numbers (include/uapi/linux/capability.h).
const (
	CapSysPtrace = 19
	CapSysAdmin  = 21
	CapLease     = 28
	CapPerfmon   = 38
	CapBPF       = 39
)

// Capable reports whether this process has a capability in effect.
func Capable(capability int) bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		if mask, ok := strings.CutPrefix(line, "CapEff:"); ok {
			bits, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			return err == nil && bits>>capability&1 == 1
		}
	}
	return false
}

// MissingForBPF returns the reason why this process cannot load and attach BPF programs, ""
// if it can.
func MissingForBPF() string {
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		return fmt.Sprintf("the kernel has no BTF: %v", err)
	}
	if !Capable(CapSysAdmin) && (!Capable(CapBPF) || !Capable(CapPerfmon)) {
		return "this process has neither CAP_SYS_ADMIN nor CAP_BPF and CAP_PERFMON"
	}
	return ""
}
