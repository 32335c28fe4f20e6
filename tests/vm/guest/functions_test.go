// SPDX-License-Identifier: Apache-2.0

//go:build vm

package guest

import (
	"os/exec"
	"strings"
	"testing"
)

// The verifier of this kernel follows less of a program than newer ones.
func TestTheKernelAcceptsTheProgramsAtFunctions(t *testing.T) {
	output, err := exec.Command("/opt/test/bin/probe", "-test.v", "-test.run", "TestTheProgramsAtFunctionsAreAccepted").CombinedOutput()
	if err != nil || !strings.Contains(string(output), "--- PASS") {
		t.Errorf("%v\n%s", err, output)
	}
}
