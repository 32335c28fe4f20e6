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

// Duration is a length of time. It is a struct because the TOML decoder asks
// only those that are not integers how to read one.
type Duration struct {
	time.Duration
	// number is a number without a unit, in decimal digits, until the file is
	// read: whether it is valid depends on the key.
	number string
}

// For returns a Duration.
func For(d time.Duration) Duration { return Duration{Duration: d} }

// UnmarshalText implements encoding.TextUnmarshaler. A number without a unit
// leaves the value as it is.
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

// String returns the duration as it is written in a file.
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

// parseSize also takes a number without a unit, which load warns about.
func parseSize(text, help string) (int64, error) {
	n, err := quantity.ParseSize(text, help)
	var bad *quantity.Error
	if errors.As(err, &bad) && bad.NoUnit {
		return quantity.ParseSize(text+"B", help)
	}
	return n, err
}

// String returns the size as it is written in a file.
func (s Size) String() string { return quantity.FormatSize(int64(s)) }

// number is what a number without a unit means for a key. The zero value:
// milliseconds or bytes, as in version 0.1.0, with a warning.
type number int

const (
	// milliseconds, as the public project has it.
	milliseconds number = iota + 1
	// ignored: the key is as if it were not there, with a warning. What version
	// 0.1.0 took for milliseconds would remove the log.
	ignored
)

// quantityKey is a key whose value is a duration or a size.
type quantityKey struct {
	name string
	// duration is where the value is; nil: it is a size.
	duration *Duration
	number   number
	// off says that 0 and "infinity" turn off what the key limits.
	off bool
}

// Deprecated is a value that this version takes, or ignores, and the next one
// refuses.
type Deprecated struct {
	File string
	Line int
	Key  string
	// Problem says what is wrong with the value, and how it is taken;
	// Replacement is what to write instead.
	Problem, Replacement string
}

func (d Deprecated) String() string {
	return fmt.Sprintf("%s:%d: %s: write %s", d.File, d.Line, d.Problem, d.Replacement)
}

// settle decides about numbers without a unit and about infinity in the file
// that p was just read from.
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

// settle gives a key the value that a number without a unit means. The problem is
// empty if that is how to write it.
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

// number returns the value if it is a number above 0 in decimal digits.
func (p place) number() string {
	value := strings.ReplaceAll(strings.Trim(p.value, `"'`), "_", "")
	if strings.Trim(value, "0123456789") != "" || strings.Trim(value, "0") == "" {
		return ""
	}
	return value
}
