// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"crypto-auditing/src/internal/inventory/coverage"
)

// TimeLayout is the layout of times in sentences, as in other output of crauctl.
const TimeLayout = "2006-01-02 15:04"

// mostNames bounds the programs that a sentence lists.
const mostNames = 8

// Completeness adds sentences about gaps in the coverage.
func Completeness(c *coverage.Coverage) Coverage {
	all := Coverage{Coverage: *c, Gaps: []string{}}
	if c.Empty() {
		all.Gaps = append(all.Gaps, "Nothing was recorded: all verdicts are unknown.")
		return all
	}
	var down, partly []coverage.Span // nothing was recorded, or a library was not
	for _, d := range c.Down {
		if d.Library == "" {
			down = append(down, d)
		} else {
			partly = append(partly, d)
		}
	}
	if len(down) > 0 {
		all.Gaps = append(all.Gaps, downSentence("No recording", down))
	}
	if len(partly) > 0 {
		all.Gaps = append(all.Gaps, downSentence("No recording of a library", partly))
	}
	if total, reasons := losses(c.Lost); total > 0 {
		all.Gaps = append(all.Gaps, fmt.Sprintf("%s could not be recorded: %s.", Counted(total, "event"), reasons))
	}
	if c.Missing > 0 {
		all.Gaps = append(all.Gaps, fmt.Sprintf("%s removed or damaged before being counted.", Counted(c.Missing, "entry")))
	}
	all.Gapless = len(all.Gaps) == 0
	return all
}

// downSentence returns a sentence about times without recording.
func downSentence(subject string, down []coverage.Span) string {
	var sum time.Duration
	longest := down[0]
	for _, s := range down {
		sum += s.To.Sub(s.From)
		if s.To.Sub(s.From) > longest.To.Sub(longest.From) {
			longest = s
		}
	}
	text := subject + " for " + duration(sum)
	if len(down) > 1 {
		text += fmt.Sprintf(" in %s, the longest", Counted(uint64(len(down)), "time"))
	}
	text += fmt.Sprintf(" from %s to %s UTC", longest.From.UTC().Format(TimeLayout), longest.To.UTC().Format(TimeLayout))
	if about := strings.TrimSpace(longest.Library + " " + longest.Reason); about != "" {
		text += " (" + about + ")"
	}
	return text + "."
}

// duration returns a duration without parts that are zero.
func duration(d time.Duration) string {
	text := d.Round(time.Second).String()
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		text = short + "m"
	}
	if short, ok := strings.CutSuffix(text, "h0m"); ok {
		text = short + "h"
	}
	return text
}

func losses(lost map[string]uint64) (total uint64, reasons string) {
	var list []string
	for _, reason := range slices.Sorted(maps.Keys(lost)) {
		if lost[reason] > 0 {
			total += lost[reason]
			list = append(list, reason+" "+Grouped(lost[reason]))
		}
	}
	return total, strings.Join(list, ", ")
}

// Handshakes sums the handshakes of all programs, and those with known values.
func (c *Coverage) Handshakes() (all, keyExchange, authentication uint64) {
	for i := range c.Programs {
		p := &c.Programs[i]
		all, keyExchange, authentication = all+p.Handshakes, keyExchange+p.KeyExchange, authentication+p.Authentication
	}
	return all, keyExchange, authentication
}

// Lines are sentences about the coverage: the gaps first.
func (c *Coverage) Lines() []string {
	lines := slices.Clone(c.Gaps)
	if c.Gapless {
		lines = append(lines, "No gap in the recording is on record.")
	}
	if c.Empty() {
		return append(lines, c.Unseen...)
	}
	if c.Sources == nil {
		lines = append(lines, "Which sources were on is not known.")
	} else {
		lines = append(lines, "Sources that are on: "+strings.Join(c.Sources, ", ")+".")
	}
	if len(c.Libraries) > 0 {
		hit := 0
		for i := range c.Libraries {
			if c.Libraries[i].Operations > 0 {
				hit++
			}
		}
		lines = append(lines, fmt.Sprintf("Libraries: %d known, %d of them with operations.", len(c.Libraries), hit))
	}
	if all, keyExchange, authentication := c.Handshakes(); all > 0 {
		lines = append(lines, fmt.Sprintf("Of %s, the key exchange of %s and a signature of %s are recorded.",
			Counted(all, "handshake"), share(keyExchange, all), share(authentication, all)))
	}
	if names := c.socketOnly(); len(names) > 0 {
		if n := len(names); n > mostNames {
			names = append(names[:mostNames], "and "+strconv.Itoa(n-mostNames)+" more")
		}
		lines = append(lines, "Only sockets showed TLS handshakes of "+strings.Join(names, ", ")+
			": what else their libraries do, such as signatures, is not recorded.")
	}
	return append(lines, c.Unseen...)
}

// socketOnly returns the programs with handshakes captured only at a socket, in descending order of their number.
func (c *Coverage) socketOnly() (names []string) {
	handshakes := map[string]uint64{}
	for i := range c.Programs {
		if p := &c.Programs[i]; p.Socket > 0 && p.Executable != "" {
			handshakes[p.Executable] += p.Socket
		}
	}
	return slices.SortedFunc(maps.Keys(handshakes), func(x, y string) int {
		return cmp.Or(cmp.Compare(handshakes[y], handshakes[x]), cmp.Compare(x, y))
	})
}

// share returns a part of a whole as a number and a percentage.
func share(part, whole uint64) string {
	if whole == 0 {
		return "0"
	}
	return fmt.Sprintf("%s (%s)", Grouped(part), Percent(part, whole))
}

// Words splits a text at the blanks where lines may be broken: not within a percentage.
func Words(text string) []string {
	words := strings.Fields(text)
	for i := len(words) - 1; i > 0; i-- {
		if strings.HasPrefix(words[i], "%") {
			words[i-1] += " " + words[i]
			words = slices.Delete(words, i, i+1)
		}
	}
	return words
}

// Percent returns a percentage that is 0 or 100 only if it is exactly that.
func Percent(part, whole uint64) string {
	switch p := 100 * float64(part) / float64(max(whole, 1)); {
	case part > 0 && p < 1:
		return "<1 %"
	case part < whole && p > 99:
		return ">99 %"
	default:
		return strconv.FormatFloat(p, 'f', 0, 64) + " %"
	}
}

// Counted returns a number with a noun in its right form.
func Counted(n uint64, noun string) string {
	if n != 1 {
		if stem, ok := strings.CutSuffix(noun, "ry"); ok {
			noun = stem + "rie"
		}
		noun += "s"
	}
	return Grouped(n) + " " + noun
}

// Grouped returns a number with its digits in groups of three.
func Grouped(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}
