// SPDX-License-Identifier: Apache-2.0

package machine

import "os"

// Prebuilt returns the directory with the programs that tests otherwise build, "" if they
// are to build them: crau-agent, crauctl and, of programs of tests/wire, handshakes.c and session_keys.c
// in bin, the publishers in publishers. A machine without compilers has it in the environment, see
// tests/vm/arm64.
func Prebuilt() string { return os.Getenv("CRAU_PREBUILT") }
