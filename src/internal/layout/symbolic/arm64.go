// SPDX-License-Identifier: Apache-2.0

package symbolic

type arm64 struct{}

func (arm64) result() int           { return 0 }
func (arm64) arguments() [6]int     { return [6]int{0, 1, 2, 3, 4, 5} }
func (arm64) stack() int            { return 31 }
func (arm64) saved(r int) bool      { return r >= 19 && r <= 29 || r == 31 }
func (arm64) step(_ *run, s *state) { s.fail("arm64 is not supported") }
