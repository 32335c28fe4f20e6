// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"crypto-auditing/src/internal/quantity"
)

// Duration is a length of time. It is a struct because the TOML decoder does not call
// UnmarshalText of integer types.
type Duration struct {
	time.Duration
	// number is a number without a unit, in decimal digits, until the whole file is
	// read: its meaning depends on the key.
	number string
}

// For returns a Duration.
func For(d time.Duration) Duration { return Duration{Duration: d} }

// UnmarshalText implements encoding.TextUnmarshaler. A number without a unit does not
// change the value.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := quantity.ParseDuration(string(text), 0)
	var bad *quantity.Error
	if errors.As(err, &bad) && bad.NoUnit {
		d.number = string(text)
		return nil
	}
	if err != nil {
		return err
	}
	*d = Duration{Duration: v}
	return nil
}

// String returns the duration in its notation in a file.
func (d Duration) String() string { return quantity.FormatDuration(d.Duration) }

// Size is a number of bytes.
type Size int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	n, err := parseSize(string(text), quantity.SizeHelp)
	if err != nil {
		return err
	}
	*s = Size(n)
	return nil
}

// parseSize also accepts a number without a unit; load warns about it.
func parseSize(text, help string) (int64, error) {
	n, err := quantity.ParseSize(text, help)
	var bad *quantity.Error
	if errors.As(err, &bad) && bad.NoUnit {
		return quantity.ParseSize(text+"B", help)
	}
	return n, err
}

// String returns the size in its notation in a file.
func (s Size) String() string { return quantity.FormatSize(int64(s)) }

// number is the meaning of a number without a unit for a key. The zero value:
// milliseconds or bytes, as in version 0.1.0, with a warning.
type number int

const (
	// milliseconds, as in the public project.
	milliseconds number = iota + 1
	// ignored, with a warning, as if the key were not set: version 0.1.0 reads
	// milliseconds, which would remove the log.
	ignored
)

// quantityKey is a key whose value is a duration or a size.
type quantityKey struct {
	name string
	// duration points to the value; it is nil for a size.
	duration *Duration
	number   number
	// off reports that 0 and "infinity" disable the limit.
	off bool
}

// Deprecated is a value that this version accepts or ignores, and the next version
// rejects.
type Deprecated struct {
	File string
	Line int
	Key  string
	// Problem describes the error in the value and its current meaning; Replacement
	// is the new notation.
	Problem, Replacement string
}

func (d Deprecated) String() string {
	return fmt.Sprintf("%s:%d: %s: write %s", d.File, d.Line, d.Problem, d.Replacement)
}

// settle resolves numbers without a unit and infinity in the file that was just read
// into p.
func (p places) settle(file string, keys []quantityKey) (deprecated []Deprecated, err error) {
	for _, k := range keys {
		at := p[k.name]
		if at.file != file {
			continue
		}
		if d := k.duration; d != nil && d.Duration == quantity.Infinity {
			if !k.off {
				return nil, &Error{file, at.line, fmt.Sprintf(`%s must not be "infinity": use for example %s`, k.name, quantity.DurationHelp)}
			}
			d.Duration = 0
		}
		text := at.number()
		if text == "" {
			continue
		}
		problem, replacement, err := k.settle(text)
		if err != nil {
			return nil, &Error{file, at.line, err.Error()}
		}
		if problem != "" {
			deprecated = append(deprecated, Deprecated{
				File: file, Line: at.line, Key: k.name,
				Problem: fmt.Sprintf("%s = %s has no unit %s", k.name, text, problem), Replacement: k.name + " = " + replacement,
			})
		}
	}
	return deprecated, nil
}

// settle sets a key to the meaning of a number without a unit. The problem is empty if
// this notation is valid for the key.
func (k *quantityKey) settle(text string) (problem, replacement string, err error) {
	if k.duration == nil {
		n, err := parseSize(text, quantity.SizeHelp)
		return "and is taken for bytes", strconv.Quote(Size(n).String()), err
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ms > int64(math.MaxInt64/time.Millisecond)-1 {
		return "", "", fmt.Errorf("%s %q is not a valid duration: use for example %s", k.name, text, quantity.DurationHelp)
	}
	v := For(time.Duration(ms) * time.Millisecond)
	replacement = strconv.Quote(v.String())
	if k.number == ignored {
		k.duration.number = ""
		if v.Duration < time.Hour {
			replacement = fmt.Sprintf(`"%sd" for days, or %s`, text, replacement)
		}
		return "and is ignored, since version 0.1.0 took it for milliseconds", replacement, nil
	}
	*k.duration = v
	if k.number == milliseconds {
		return "", "", nil
	}
	return "and is taken for milliseconds", replacement, nil
}

// number returns the value if it is a positive number in decimal digits, else "".
func (p place) number() string {
	value := strings.ReplaceAll(strings.Trim(p.value, `"'`), "_", "")
	if strings.Trim(value, "0123456789") != "" || strings.Trim(value, "0") == "" {
		return ""
	}
	return value
}
