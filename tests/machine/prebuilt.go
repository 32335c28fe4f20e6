// SPDX-License-Identifier: Apache-2.0

package machine

import "os"

// Prebuilt returns the directory of prebuilt programs, "" if tests must build them. Its
// subdirectory bin has crau-agent, crauctl, and the programs handshakes.c and
// session_keys.c of tests/wire; its subdirectory publishers has the publishers. The
// environment variable is set on a machine without compilers, see tests/vm/arm64.
func Prebuilt() string { return os.Getenv("CRAU_PREBUILT") }
