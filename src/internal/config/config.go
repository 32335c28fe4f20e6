// SPDX-License-Identifier: Apache-2.0

// Package config reads the configuration: TOML files with drop-ins. Unknown keys are
// errors.
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

	"github.com/pelletier/go-toml/v2"

	"crypto-auditing/src/internal/mistake"
	"crypto-auditing/src/internal/quantity"
)

// ExitConfig is the exit status after an invalid configuration: EX_CONFIG of
// sysexits.h.
const ExitConfig = 78

// Error is an error in a configuration file.
type Error struct {
	// File is the path. Line counts from 1; it is 0 if the error does not belong to
	// one line.
	File string
	Line int
	// Problem describes the error and its remedy.
	Problem string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Problem)
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Problem)
}

// values is a configuration.
type values interface {
	Check() error
	// quantities returns the keys whose values are durations or sizes.
	quantities() []quantityKey
}

// load reads files in order into v; a later file overrides the keys that it sets. Then
// it checks the values. Deprecated lists the values that the next version rejects.
func load(files []string, v values) (deprecated []Deprecated, err error) {
	set := places{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("cannot read configuration: %w", err)
		}
		if err := decode(file, b, v); err != nil {
			return nil, err
		}
		set.note(file, b)
		more, err := set.settle(file, v.quantities())
		if err != nil {
			return nil, err
		}
		deprecated = append(deprecated, more...)
	}
	err = v.Check()
	var bad *ValueError
	if errors.As(err, &bad) {
		err = set.locate(bad)
	}
	return deprecated, err
}

// decode reads one file. Its error is an *Error.
func decode(file string, b []byte, v values) error {
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
		return &Error{file, line, mistake.Describe(bad)}
	}
	// The decoder gives no position for a number where it expects a string.
	var invalid *quantity.Error
	if errors.As(err, &invalid) {
		set := places{}
		set.note(file, b)
		for _, k := range v.quantities() {
			if at, ok := set[k.name]; ok && at.value == invalid.Text {
				return &Error{file, at.line, fmt.Sprintf("key %q: %v", k.name, invalid)}
			}
		}
	}
	return &Error{file, 0, strings.TrimPrefix(err.Error(), "toml: ")}
}

// remedy returns a hint for an unknown key.
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

// Files returns the configuration files of a program in reading order: NAME.conf from
// the first of dirs that has one, then the drop-ins NAME.conf.d/*.conf of all dirs,
// sorted by file name. A drop-in replaces drop-ins of the same name in later dirs. This
// is the convention of systemd (systemd-system.conf(5)).
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

// Directories returns the configuration directories, the administrator's first.
func Directories() []string {
	return []string{"/etc/crypto-auditing", "/usr/lib/crypto-auditing"}
}
