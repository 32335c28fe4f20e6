// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"crypto-auditing/src/internal/discover"
	"crypto-auditing/src/internal/probe"
)

// Check reports what is wrong with the files that a finder finds, as the calling
// user sees them: one error each. n is how many can be recorded. It attaches to
// nothing.
func Check(finder discover.Finder) (n int, problems []error) {
	found := finder.Find()
	problems = found.Errors
	for _, path := range found.Paths {
		if err := probe.Check(path, probes()); err != nil {
			problems = append(problems, err)
		} else {
			n++
		}
	}
	return n, problems
}
