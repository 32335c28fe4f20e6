// SPDX-License-Identifier: Apache-2.0

// Package quantity parses and formats durations, as described in systemd.time(7), and
// sizes in bytes.
package quantity

import "fmt"

// maxText limits the length of input and of the text that an error repeats. The longest
// sensible input is far shorter.
const maxText = 128

// Error reports a text that is not a valid quantity.
type Error struct {
	Text string
	// Problem completes the sentence that starts with the text. It names valid input.
	Problem string
	// NoUnit reports that the text is a plain number.
	NoUnit bool
}

func (e *Error) Error() string { return fmt.Sprintf("%q %s", e.Text, e.Problem) }

// clip shortens a text for an error message.
func clip(text string) string {
	if len(text) > maxText {
		return text[:maxText] + "…"
	}
	return text
}

// digits returns the number of leading decimal digits of a text.
func digits(text string) int {
	n := 0
	for n < len(text) && text[n] >= '0' && text[n] <= '9' {
		n++
	}
	return n
}
