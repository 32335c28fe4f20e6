// SPDX-License-Identifier: Apache-2.0

// Package quantity reads and writes durations, as systemd.time(7) describes
// them, and sizes in bytes.
package quantity

import "fmt"

// maxText bounds what is parsed and what an error repeats; the longest sensible
// form is far shorter.
const maxText = 128

// Error is a text that is not a valid quantity.
type Error struct {
	Text string
	// Problem completes the sentence that the text begins, and says what is
	// valid.
	Problem string
	// NoUnit says that the text is a plain number.
	NoUnit bool
}

func (e *Error) Error() string { return fmt.Sprintf("%q %s", e.Text, e.Problem) }

// clip shortens a text for an error.
func clip(text string) string {
	if len(text) > maxText {
		return text[:maxText] + "…"
	}
	return text
}

// digits returns the number of decimal digits that a text begins with.
func digits(text string) int {
	n := 0
	for n < len(text) && text[n] >= '0' && text[n] <= '9' {
		n++
	}
	return n
}
