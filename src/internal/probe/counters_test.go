// SPDX-License-Identifier: Apache-2.0

package probe

import "testing"

func TestEveryLossOfTheProgramsHasAReasonInTheKernel(t *testing.T) {
	for number, reason := range lossReasons() {
		if reason.Place() != "kernel" {
			t.Errorf("the loss %d has the reason %q, which is one of %q", number, reason, reason.Place())
		}
	}
}
