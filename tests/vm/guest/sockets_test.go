// SPDX-License-Identifier: Apache-2.0

//go:build vm

package guest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The machine's kernel attaches programs to functions, other than those that the
// tests usually run on.
func TestConnectionsAreSeenAtTheFunctionsOfTheKernel(t *testing.T) {
	command := exec.Command("/opt/test/bin/sockets", "-test.v")
	command.Env = append(os.Environ(), "SOCKETS_FRONT_END=trampoline")
	follow(t, command, func(line string) {
		if strings.Contains(line, "--- SKIP") {
			t.Error(line)
		}
	})
}
