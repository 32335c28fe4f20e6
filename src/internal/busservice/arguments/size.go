// SPDX-License-Identifier: Apache-2.0

package arguments

import (
	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/busservice/dictionary"
)

// Max bounds the decoded arguments of a call, in bytes: the largest valid filter
// takes a third of it. A bus accepts messages a thousand times as large, and a
// call may wait long for polkit or for a free slot.
const Max = 128 << 10

// CheckSize returns an error for arguments that are too large to keep.
func CheckSize(arguments []any) error {
	if !dictionary.Fits(arguments, Max) {
		return &fault.LimitError{Resource: "bytes of arguments", Max: Max}
	}
	return nil
}
