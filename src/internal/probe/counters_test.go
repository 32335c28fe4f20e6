// SPDX-License-Identifier: Apache-2.0

package probe

import "testing"

func TestEveryLossOfTheProgramsHasAKernelReason(t *testing.T) {
	for number, reason := range lossReasons() {
		if reason.Place() != "kernel" {
			t.Errorf("loss %d has the reason %q, whose place is %q", number, reason, reason.Place())
		}
	}
}
