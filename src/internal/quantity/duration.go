// SPDX-License-Identifier: Apache-2.0

package quantity

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Infinity is the value of "infinity".
const Infinity = time.Duration(math.MaxInt64)

const (
	day  = 24 * time.Hour
	week = 7 * day
	year = 365*day + 6*time.Hour
	// month has the length that systemd uses, a twelfth of a year.
	month = year / 12
)

// unit is a unit of time.
type unit struct {
	name   string
	length time.Duration
}

// units returns the units of time, each before the units that are a prefix of its name.
// Case matters: M is a month, m a minute.
func units() []unit {
	return []unit{
		{"seconds", time.Second}, {"second", time.Second}, {"sec", time.Second}, {"s", time.Second},
		{"minutes", time.Minute}, {"minute", time.Minute}, {"min", time.Minute},
		{"months", month}, {"month", month}, {"M", month},
		{"msec", time.Millisecond}, {"ms", time.Millisecond}, {"m", time.Minute},
		{"hours", time.Hour}, {"hour", time.Hour}, {"hr", time.Hour}, {"h", time.Hour},
		{"days", day}, {"day", day}, {"d", day},
		{"weeks", week}, {"week", week}, {"w", week},
		{"years", year}, {"year", year}, {"y", year},
		{"usec", time.Microsecond}, {"us", time.Microsecond},
		{"μs", time.Microsecond}, {"µs", time.Microsecond}, // U+03BC, U+00B5
	}
}

// DurationHelp is a list of valid durations for errors and help.
const DurationHelp = `30d, 2weeks or "1h 30min"`

const (
	notADuration = "is not a valid duration: use for example " + DurationHelp
	tooLong      = "is too long: use at most 290 years, or infinity"
	noUnit       = "has no unit: use for example "
)

// ParseDuration parses a duration: a sum of numbers, each with a unit, such as "30d",
// "2weeks" or "1h 30min", or "infinity". The resolution is a microsecond. A number without
// a unit is in units of bare; if bare is 0, it is an error, except zero. The error is an
// *Error.
func ParseDuration(text string, bare time.Duration) (time.Duration, error) {
	bad := func(problem string) (time.Duration, error) { return 0, &Error{Text: clip(text), Problem: problem} }
	const space = " \t\r\n"
	rest := strings.Trim(text, space)
	switch {
	case rest == "" || len(text) > maxText:
		return bad(notADuration)
	case rest == "infinity":
		return Infinity, nil
	case bare == 0 && digits(rest) == len(rest) && strings.Trim(rest, "0") != "":
		return 0, &Error{Text: text, Problem: noUnit + DurationHelp, NoUnit: true}
	}
	var sum time.Duration
	for rest != "" {
		whole, fraction, after, ok := number(rest)
		if !ok {
			return bad(notADuration)
		}
		length, name := bare, ""
		trimmed := strings.TrimLeft(after, space)
		for _, u := range units() {
			if strings.HasPrefix(trimmed, u.name) {
				length, name = u.length, u.name
				break
			}
		}
		rest = strings.TrimLeft(trimmed[len(name):], space)
		switch {
		case name == "" && trimmed == after && after != "":
			return bad(notADuration) // such as 12.34.56
		case length == 0 && (strings.Trim(whole, "0") != "" || strings.Trim(fraction, "0") != ""):
			return bad(notADuration)
		}
		part, ok := times(whole, fraction, length)
		if !ok || part > math.MaxInt64-1-sum {
			return bad(tooLong)
		}
		sum += part
	}
	return sum, nil
}

// number splits a number off a text: digits with an optional sign + and an optional
// fraction. A number without a fraction needs a digit; so does a fraction.
func number(text string) (whole, fraction, rest string, ok bool) {
	if len(text) > 1 && text[0] == '+' && digits(text[1:]) > 0 {
		text = text[1:]
	}
	n := digits(text)
	whole, rest = text[:n], text[n:]
	if strings.HasPrefix(rest, ".") {
		n = digits(rest[1:])
		fraction, rest = rest[1:1+n], rest[1+n:]
		return whole, fraction, rest, n > 0
	}
	return whole, "", rest, n > 0
}

// times multiplies a number by a length. Fractions of a microsecond are truncated. ok is
// false on overflow.
func times(whole, fraction string, length time.Duration) (product time.Duration, ok bool) {
	n := int64(0)
	if whole != "" {
		var err error
		if n, err = strconv.ParseInt(whole, 10, 64); err != nil {
			return 0, false
		}
	}
	if length > 0 && n > (math.MaxInt64-1)/int64(length) {
		return 0, false
	}
	product = time.Duration(n) * length
	micro := int64(length / time.Microsecond)
	part := int64(0)
	for _, c := range []byte(fraction) {
		micro /= 10
		part += int64(c-'0') * micro
	}
	if time.Duration(part) > (math.MaxInt64-1-product)/time.Microsecond {
		return 0, false
	}
	return product + time.Duration(part)*time.Microsecond, true
}

// FormatDuration formats a duration for ParseDuration, in days and smaller units: "30d",
// "1h 30min". Fractions of a microsecond are truncated; a negative duration becomes "0".
func FormatDuration(d time.Duration) string {
	if d == Infinity {
		return "infinity"
	}
	var parts []string
	for _, u := range []struct {
		name   string
		length time.Duration
	}{
		{"d", day}, {"h", time.Hour}, {"min", time.Minute},
		{"s", time.Second}, {"ms", time.Millisecond}, {"us", time.Microsecond},
	} {
		if n := d / u.length; n > 0 {
			parts = append(parts, strconv.FormatInt(int64(n), 10)+u.name)
			d %= u.length
		}
	}
	if len(parts) == 0 {
		return "0"
	}
	return strings.Join(parts, " ")
}
