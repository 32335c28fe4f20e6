// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"crypto-auditing/src/internal/config"
	"crypto-auditing/src/internal/program"
)

func TestEveryKeyIsDocumentedWithItsDefault(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join("../../..", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	keys := reflect.TypeFor[config.Inventory]().NumField()
	for name, c := range map[string]struct{ text, line string }{
		"crypto-auditing-inventory.conf(5)": {read("docs/man/crypto-auditing-inventory.conf.5.in"), `(?m)^\.It Ic (\w+) Li = (.*)$`},
		"inventory.conf":                    {read("systemd/inventory.conf"), `(?m)^#(\w+) = (.*)$`},
		"crau-inventory --help":             {newCommand(io.Discard, io.Discard).Long, `(?m)^  (\w+) = (\S+)`},
	} {
		t.Run(name, func(t *testing.T) {
			var file strings.Builder
			found := regexp.MustCompile(c.line).FindAllStringSubmatch(c.text, -1)
			for _, match := range found {
				value := match[2]
				if quoted, ok := strings.CutPrefix(value, "Qq "); ok {
					value = `"` + quoted + `"`
				}
				fmt.Fprintf(&file, "%s = %s\n", match[1], value)
			}
			path := filepath.Join(t.TempDir(), "inventory.conf")
			if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			got, warnings, err := config.LoadInventory(path)
			if want := config.DefaultInventory(); err != nil || len(warnings) > 0 || len(found) != keys || got != want {
				t.Errorf("%d of %d keys: %+v, %v, %v\nwant %+v\nin\n%s", len(found), keys, got, warnings, err, want, file.String())
			}
		})
	}
}

func TestCheckPrintsTheCheckedFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "inventory.conf")
	for text, status := range map[string]int{"retention = \"100d\"\n": 0, "retention = \"1d\"\n": config.ExitConfig} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var stderr strings.Builder
		if got := program.Run(newCommand(io.Discard, &stderr), []string{"--check", "--config", path}, &stderr); got != status {
			t.Errorf("%s: status %d, want %d: %s", text, got, status, stderr.String())
		}
	}
}
