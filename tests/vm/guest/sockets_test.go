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
	output, err := command.CombinedOutput()
	for line := range strings.Lines(string(output)) {
		if strings.Contains(line, "--- SKIP") {
			t.Error(line)
		}
	}
	if err != nil {
		t.Errorf("%v\n%s", err, output)
	}
	t.Logf("%s", output)
}
