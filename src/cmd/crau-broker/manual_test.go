// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"crypto-auditing/src/internal/config"
)

// read returns a file of the project.
func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// keysOf returns the sorted names of the keys of a configuration, including those of
// its tables.
func keysOf(configuration reflect.Type) (names []string) {
	for _, field := range reflect.VisibleFields(configuration) {
		if field.Anonymous {
			continue
		}
		if field.Type == reflect.TypeFor[config.Truncate]() {
			names = append(names, keysOf(field.Type)...)
		} else {
			names = append(names, field.Tag.Get("toml"))
		}
	}
	slices.Sort(names)
	return names
}

func TestEveryKeyIsDocumentedWithItsDefault(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		// line finds a key and its default, in TOML, or the table.
		line string
	}{
		"crypto-auditing-broker.conf(5)": {read(t, "docs/man/crypto-auditing-broker.conf.5.in"), `(?m)^\.It Ic (\w+) Li = (.*)$|^\.Ic (\[truncate\])$`},
		"broker.conf":                    {read(t, "systemd/broker.conf"), `(?m)^#(\w+) = (.*)$|^(\[truncate\])$`},
		"crau-broker --help":             {newCommand(io.Discard, io.Discard).Long, `(?m)^  (\w+) = (\S+)|^  (\[truncate\])`},
	} {
		t.Run(name, func(t *testing.T) {
			var found []string
			var file strings.Builder
			for _, match := range regexp.MustCompile(c.line).FindAllStringSubmatch(c.text, -1) {
				if match[3] != "" {
					fmt.Fprintln(&file, match[3])
					continue
				}
				value := match[2]
				if quoted, ok := strings.CutPrefix(value, "Qq "); ok {
					value = `"` + quoted + `"`
				}
				found = append(found, match[1])
				fmt.Fprintf(&file, "%s = %s\n", match[1], value)
			}
			slices.Sort(found)
			if want := keysOf(reflect.TypeFor[config.Broker]()); !slices.Equal(found, want) {
				t.Errorf("documented are %q\nwant           %q", found, want)
			}
			path := filepath.Join(t.TempDir(), "broker.conf")
			if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			got, warnings, err := config.LoadBroker(path)
			if err != nil || len(warnings) > 0 {
				t.Fatalf("%v, %v in\n%s", err, warnings, file.String())
			}
			if want := config.DefaultBroker(); !reflect.DeepEqual(got, want) {
				t.Errorf("the documented defaults are\n%+v\nwant\n%+v", got, want)
			}
		})
	}
}
