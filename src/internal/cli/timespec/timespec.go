// SPDX-License-Identifier: Apache-2.0

// Package timespec parses times of the command line, in the formats of systemd.time(7).
package timespec

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"crypto-auditing/src/internal/quantity"
)

// Help lists the accepted formats in one sentence.
const Help = `RFC 3339, "YYYY-MM-DD HH:MM:SS" with or without a time zone, only a date or a time, ` +
	`now, today, yesterday, tomorrow, @SECONDS since the epoch, -1h30min, "2 hours ago"`

// Error reports a text that is not a valid time.
type Error struct{ Text, Problem string }

func (e *Error) Error() string { return fmt.Sprintf("bad time %q: %s", e.Text, e.Problem) }

// Parse parses a time relative to now, in the location of now if text has no time zone.
// The error is an *Error.
func Parse(text string, now time.Time) (time.Time, error) {
	t, problem := parse(strings.TrimSpace(text), now)
	if problem != "" {
		return time.Time{}, &Error{text, problem}
	}
	return t, nil
}

// maxText bounds the length of a text; the longest valid format is far shorter.
const maxText = 128

func parse(text string, now time.Time) (t time.Time, problem string) {
	lower := strings.ToLower(text)
	switch {
	case text == "":
		return t, "it is empty"
	case len(text) > maxText:
		return t, "it is too long"
	case lower == "now":
		return now, ""
	case lower == "today":
		return midnight(now, 0), ""
	case lower == "yesterday":
		return midnight(now, -1), ""
	case lower == "tomorrow":
		return midnight(now, 1), ""
	case text[0] == '@':
		return epoch(text[1:])
	case text[0] == '+' || text[0] == '-':
		return relative(now, text[1:], text[0] == '-')
	}
	if i := strings.LastIndexByte(text, ' '); i > 0 {
		switch {
		case strings.EqualFold(text[i+1:], "ago"):
			return relative(now, text[:i], true)
		case strings.EqualFold(text[i+1:], "left"):
			return relative(now, text[:i], false)
		}
	}
	return absolute(text, now)
}

// midnight returns the beginning of the day that is days after now's.
func midnight(now time.Time, days int) time.Time {
	y, m, d := now.Date()
	return time.Date(y, m, d+days, 0, 0, 0, 0, now.Location())
}

// The supported years: nanoseconds since the epoch must fit 64 bits.
const minYear, maxYear = 1678, 2261

func inRange(t time.Time) (time.Time, string) {
	if y := t.UTC().Year(); y < minYear || y > maxYear {
		return t, fmt.Sprintf("it lies outside the years %d to %d", minYear, maxYear)
	}
	return t, ""
}

// epoch parses seconds since the Unix epoch with an optional fraction.
func epoch(text string) (time.Time, string) {
	whole, fraction, _ := strings.Cut(text, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || strings.HasPrefix(whole, "+") {
		return time.Time{}, "after @ there must be seconds since the Unix epoch"
	}
	nanoseconds, ok := fractionNanoseconds(fraction)
	if !ok {
		return time.Time{}, "its fraction of a second is not a number"
	}
	if seconds < math.MinInt64/int64(time.Second) || seconds > math.MaxInt64/int64(time.Second) {
		return time.Time{}, fmt.Sprintf("it lies outside the years %d to %d", minYear, maxYear)
	}
	if strings.HasPrefix(whole, "-") {
		nanoseconds = -nanoseconds
	}
	return inRange(time.Unix(seconds, nanoseconds))
}

// fractionNanoseconds parses the digits after a decimal point.
func fractionNanoseconds(digits string) (int64, bool) {
	ns, scale := int64(0), int64(1e8)
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, false
		}
		ns += int64(c-'0') * scale
		scale /= 10
	}
	return ns, true
}

func relative(now time.Time, text string, past bool) (time.Time, string) {
	// As in systemd.time(7), a number without a unit is in seconds.
	span, err := quantity.ParseDuration(text, time.Second)
	var bad *quantity.Error
	switch {
	case errors.As(err, &bad):
		return time.Time{}, fmt.Sprintf("%q %s", bad.Text, bad.Problem)
	case span == quantity.Infinity:
		return time.Time{}, fmt.Sprintf("it lies outside the years %d to %d", minYear, maxYear)
	}
	if past {
		span = -span
	}
	return inRange(now.Add(span))
}

// absolute parses a date, a time of day, or both, with an optional time zone.
func absolute(text string, now time.Time) (time.Time, string) {
	const problem = "the forms are " + Help
	text = withoutWeekday(text)
	if t, err := time.Parse(time.RFC3339Nano, strings.Replace(text, " ", "T", 1)); err == nil {
		return inRange(t)
	}
	location := now.Location()
	body := text
	if i := strings.LastIndexByte(text, ' '); i >= 0 {
		if l := zone(text[i+1:], now); l != nil {
			location, body = l, strings.TrimSpace(text[:i])
		}
	} else if z := strings.TrimRight(text, "Zz"); z != text && len(text)-len(z) == 1 {
		location, body = time.UTC, z
	}
	now = now.In(location)
	body = strings.Replace(body, "T", " ", 1)
	for _, layout := range []string{"2006-1-2 15:4:5", "2006-1-2 15:4", "2006-1-2"} {
		if t, err := time.ParseInLocation(layout, body, location); err == nil {
			return inRange(t)
		}
	}
	for _, layout := range []string{"15:4:5", "15:4"} {
		if t, err := time.ParseInLocation(layout, body, location); err == nil {
			y, m, d := now.Date()
			return time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), location), ""
		}
	}
	switch body {
	case "now":
		return now, ""
	case "today":
		return midnight(now, 0), ""
	case "yesterday":
		return midnight(now, -1), ""
	case "tomorrow":
		return midnight(now, 1), ""
	}
	return time.Time{}, problem
}

// withoutWeekday removes the day of the week, which is redundant.
func withoutWeekday(text string) string {
	first, rest, ok := strings.Cut(text, " ")
	if !ok {
		return text
	}
	for day := time.Sunday; day <= time.Saturday; day++ {
		if name := day.String(); strings.EqualFold(first, name) || strings.EqualFold(first, name[:3]) {
			return strings.TrimSpace(rest)
		}
	}
	return text
}

// zone returns the location with a name, nil if there is none: UTC, an offset such as
// +02:00, an entry of the time zone database such as Europe/Prague, or an abbreviation
// that now's location uses.
func zone(name string, now time.Time) *time.Location {
	if name == "UTC" || name == "Z" || name == "GMT" {
		return time.UTC
	}
	for _, layout := range []string{"-07:00", "-0700", "-07"} {
		if t, err := time.Parse(layout, name); err == nil {
			return t.Location()
		}
	}
	for _, month := range []time.Month{time.January, time.July} {
		abbreviation, offset := time.Date(now.Year(), month, 1, 0, 0, 0, 0, now.Location()).Zone()
		if name == abbreviation && (name[0] < '0' || name[0] > '9') {
			return time.FixedZone(name, offset)
		}
	}
	if strings.Contains(name, "/") {
		if l, err := time.LoadLocation(name); err == nil {
			return l
		}
	}
	return nil
}
