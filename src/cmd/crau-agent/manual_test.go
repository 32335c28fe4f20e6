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

// keys returns the names of the keys of a configuration, sorted.
func keys(configuration any) (names []string) {
	for _, field := range reflect.VisibleFields(reflect.TypeOf(configuration)) {
		if !field.Anonymous {
			names = append(names, field.Tag.Get("toml"))
		}
	}
	slices.Sort(names)
	return names
}

func TestEveryKeyIsDocumentedWithItsDefault(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		// line finds a key and its default, in TOML.
		line string
	}{
		"crypto-auditing-agent.conf(5)": {read(t, "docs/man/crypto-auditing-agent.conf.5.in"), `(?m)^\.It Ic (\w+) Li = (.*)$`},
		"agent.conf":                    {read(t, "systemd/agent.conf"), `(?m)^#(\w+) = (.*)$`},
		"crau-agent --help":             {newCommand(io.Discard, io.Discard).Long, `(?m)^  (\w+) = (.*?)(?: +#.*)?$`},
	} {
		t.Run(name, func(t *testing.T) {
			var found []string
			var file strings.Builder
			for _, match := range regexp.MustCompile(c.line).FindAllStringSubmatch(c.text, -1) {
				value := strings.ReplaceAll(match[2], `\(dq`, `"`)
				if quoted, ok := strings.CutPrefix(value, "Qq "); ok {
					value = `"` + quoted + `"`
				}
				found = append(found, match[1])
				fmt.Fprintf(&file, "%s = %s\n", match[1], value)
			}
			slices.Sort(found)
			if want := keys(config.Agent{}); !slices.Equal(found, want) {
				t.Errorf("documented are %q\nwant           %q", found, want)
			}
			path := filepath.Join(t.TempDir(), "agent.conf")
			if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			got, warnings, err := config.LoadAgent(path)
			if err != nil || len(warnings) > 0 {
				t.Fatalf("%v, %v in\n%s", err, warnings, file.String())
			}
			for _, list := range []*[]string{&got.Library, &got.Exclude} {
				if len(*list) == 0 {
					*list = nil
				}
			}
			if want := config.DefaultAgent(); !reflect.DeepEqual(got, want) {
				t.Errorf("the documented defaults are\n%+v\nwant\n%+v", got, want)
			}
		})
	}
}
