// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/discover"
	"crypto-auditing/src/internal/probe"
)

// Check returns one error for each problem with the files that a finder finds, as far
// as the calling user may access them, and the number n of files that can be recorded
// from one of the sources. It does not attach.
func Check(finder discover.Finder, sources []capture.Source) (n int, problems []error) {
	found := finder.Find()
	problems = found.Errors
	for _, path := range found.Paths {
		if err := probe.Check(path, sources); err != nil {
			problems = append(problems, err)
		} else {
			n++
		}
	}
	return n, problems
}
