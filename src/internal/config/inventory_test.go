// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/config"
)

func TestKeysOfTheInventoryAreRead(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "inventory.conf"), `
state_dir = "/srv/inventory"
idle_timeout = 0
retention = "2years"
hold = false
`)
	got, warnings, err := config.LoadInventory(file)
	want := config.Inventory{StateDir: "/srv/inventory", Retention: config.For(2 * (365*24 + 6) * time.Hour)}
	if err != nil || len(warnings) > 0 || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, %v\nwant %+v", got, warnings, err, want)
	}
}

func TestBadFilesOfTheInventoryAreRefusedByFileAndLine(t *testing.T) {
	for name, c := range map[string]struct {
		text, problem string
		line          int
	}{
		"unknown key":     {"state_dir = \"/x\"\nlog_dir = \"/y\"\n", `unknown key "log_dir"`, 2},
		"wrong type":      {"hold = \"yes\"\n", "hold", 1},
		"short retention": {"\nretention = \"1week\"\n", "at least 40d", 2},
		"no directory":    {"state_dir = \"\"\n", "must name a directory", 1},
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, filepath.Join(t.TempDir(), "inventory.conf"), c.text)
			_, _, err := config.LoadInventory(file)
			var bad *config.Error
			if !errors.As(err, &bad) {
				t.Fatalf("error %v, want a *config.Error", err)
			}
			if bad.File != file || bad.Line != c.line || !strings.Contains(bad.Problem, c.problem) {
				t.Errorf("%v: want line %d and %q", err, c.line, c.problem)
			}
		})
	}
}
