// SPDX-License-Identifier: Apache-2.0

// Package config reads the configuration files: TOML, with drop-ins, strict.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// ExitConfig is the exit status of a program whose configuration is bad:
// EX_CONFIG of sysexits.h.
const ExitConfig = 78

// Error says what is wrong where in a configuration file.
type Error struct {
	// File is the path; Line counts from 1 and is 0 where the error is not in
	// one line.
	File string
	Line int
	// Problem says what is wrong and what to do.
	Problem string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Problem)
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Problem)
}

// Duration is a length of time: a text such as "100ms", or a number of
// milliseconds. It is a struct because the TOML decoder asks only those that
// are no integers how to read one.
type Duration struct{ time.Duration }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	if strings.Trim(string(text), "0123456789") == "" && len(text) > 0 {
		text = append(bytes.Clone(text), "ms"...)
	}
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf(`%q is no length of time: write for example "100ms" or "1h30m", or a number of milliseconds`, text)
	}
	d.Duration = v
	return nil
}

// Size is a number of bytes: a number, or a text such as "128M", in powers of
// 1024.
type Size int64

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	digits := strings.TrimRight(string(text), "KMGTkmgtiB")
	unit := strings.TrimSuffix(strings.TrimSuffix(string(text[len(digits):]), "B"), "i")
	shift := 0
	if unit != "" {
		shift = 10 * (1 + strings.Index("KMGT", strings.ToUpper(unit)))
	}
	var v int64
	if _, err := fmt.Sscanf(digits, "%d", &v); err != nil || fmt.Sprint(v) != digits ||
		v < 0 || len(unit) > 1 || v > (1<<62)>>shift {
		return fmt.Errorf(`%q is no size: write for example "128M" or a number of bytes`, text)
	}
	*s = Size(v << shift)
	return nil
}

// String returns the size as it is written in a file.
func (s Size) String() string {
	for shift, unit := range map[int]string{40: "T", 30: "G", 20: "M", 10: "K"} {
		if s != 0 && s&(1<<shift-1) == 0 && s>>shift < 1024 {
			return fmt.Sprintf("%d%s", s>>shift, unit)
		}
	}
	return fmt.Sprint(int64(s))
}

// Limit is a size, or "auto".
type Limit struct {
	Size Size
	Auto bool
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Limit) UnmarshalText(text []byte) error {
	if string(text) == "auto" {
		*l = Limit{Auto: true}
		return nil
	}
	*l = Limit{}
	return l.Size.UnmarshalText(text)
}

// String returns the limit as it is written in a file.
func (l Limit) String() string {
	if l.Auto {
		return "auto"
	}
	return l.Size.String()
}

// Bytes returns the limit as a number of bytes, negative for "auto".
func (l Limit) Bytes() int64 {
	if l.Auto {
		return -1
	}
	return int64(l.Size)
}

// load reads files in order into v; a later file overrides what it names. Then
// it checks the values.
func load(files []string, v interface{ Check() error }) error {
	set := places{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("cannot read configuration: %w", err)
		}
		if err := decode(file, b, v); err != nil {
			return err
		}
		set.note(file, b)
	}
	err := v.Check()
	var bad *ValueError
	if errors.As(err, &bad) {
		return set.locate(bad)
	}
	return err
}

// decode reads one file. Its error is an *Error.
func decode(file string, b []byte, v any) error {
	err := toml.NewDecoder(bytes.NewReader(b)).DisallowUnknownFields().Decode(v)
	if err == nil {
		return nil
	}
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
		line, _ := unknown.Errors[0].Position()
		key := strings.Join(unknown.Errors[0].Key(), ".")
		return &Error{file, line, fmt.Sprintf("unknown key %q: %s", key, remedy(key))}
	}
	var bad *toml.DecodeError
	if errors.As(err, &bad) {
		line, _ := bad.Position()
		problem := strings.TrimPrefix(bad.Error(), "toml: ")
		if key := strings.Join(bad.Key(), "."); key != "" {
			problem = fmt.Sprintf("key %q: %s", key, problem)
		}
		return &Error{file, line, problem}
	}
	return &Error{file, 0, strings.TrimPrefix(err.Error(), "toml: ")}
}

// remedy says what to do about an unknown key.
func remedy(key string) string {
	switch key {
	case "log_file":
		return "the log is a directory, named by log_dir"
	case "user":
		return "the service manager chooses the user"
	case "max_events":
		return "segments end by segment_size and segment_age"
	}
	return "see the manual page for the keys there are"
}

// Files returns the configuration files of a program in the order they are
// read: NAME.conf in the first of dirs that has one, then the drop-ins
// NAME.conf.d/*.conf of all dirs by file name; a drop-in hides those of the
// same name in later dirs. The convention is that of systemd (systemd-system.conf(5)).
func Files(name string, dirs ...string) ([]string, error) {
	var files []string
	dropIns := map[string]string{}
	for _, dir := range dirs {
		main := filepath.Join(dir, name+".conf")
		if len(files) == 0 && exists(main) {
			files = append(files, main)
		}
		entries, err := os.ReadDir(main + ".d")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cannot read configuration: %w", err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".conf") && dropIns[e.Name()] == "" {
				dropIns[e.Name()] = filepath.Join(main+".d", e.Name())
			}
		}
	}
	names := make([]string, 0, len(dropIns))
	for n := range dropIns {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		files = append(files, dropIns[n])
	}
	return files, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Folders are where configuration is looked for, the administrator's first.
func Folders() []string {
	return []string{"/etc/crypto-auditing", "/usr/lib/crypto-auditing"}
}
