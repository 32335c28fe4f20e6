// SPDX-License-Identifier: Apache-2.0

//go:build vm

package guest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The machine's kernel can attach programs to its functions, in contrast to those on
// which the tests usually run.
func TestConnectionsAreSeenAtTheFunctionsOfTheKernel(t *testing.T) {
	command := exec.Command("/opt/test/bin/sockets", "-test.v")
	command.Env = append(os.Environ(), "SOCKETS_FRONT_END=trampoline")
	follow(t, command, func(line string) {
		if strings.Contains(line, "--- SKIP") {
			t.Error(line)
		}
	})
}
