// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"os"
	"strconv"
	"strings"
)

// Capabilities, by their bits (include/uapi/linux/capability.h).
const (
	CapSysAdmin = 21
	CapLease    = 28
	CapPerfmon  = 38
	CapBPF      = 39
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
