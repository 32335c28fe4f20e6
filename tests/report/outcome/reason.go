// SPDX-License-Identifier: Apache-2.0

package outcome

import (
	"regexp"
	"slices"
	"strings"
)

// ofRunner matches lines of the test runner, ofPanic the beginning of a panic or a race,
// frame and location the two lines of a stack frame of the runtime or the test runner.
var (
	ofRunner = regexp.MustCompile(`^\s*(===|---) |^\s*$|^(FAIL|PASS)$|^(FAIL|ok)\t|^exit status \d+$|^=+$|^# |^fuzz: `)
	ofPanic  = regexp.MustCompile(`^(panic: |fatal error: |WARNING: DATA RACE)`)
	frame    = regexp.MustCompile(`^\s*((created by )?(testing|runtime|runtime/debug|reflect|time)\.\S+|panic\()`)
	location = regexp.MustCompile(`^\s+/.*\.(go|s):\d+`)
)

// Reason returns the lines of a test's output that explain its failure. If there is a panic
// or a race, they begin there.
func Reason(output string) (lines []string) {
	all := strings.Split(output, "\n")
	if i := slices.IndexFunc(all, ofPanic.MatchString); i > 0 {
		all = all[i:]
	}
	for i := 0; i < len(all); i++ {
		if ofRunner.MatchString(all[i]) {
			continue
		}
		if frame.MatchString(all[i]) && i+1 < len(all) && location.MatchString(all[i+1]) {
			i++
			continue
		}
		lines = append(lines, strings.TrimRight(all[i], " \t\r"))
	}
	return lines
}
