// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/config"
)

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKeysAreRead(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "agent.conf"), `
library = ["/usr/lib64/libgnutls.so.30", "/opt/*/libssl.so"]
log_dir = "/srv/log"
coalesce_window = 250
ring_size = "16M"
sync_interval = "1s"
segment_size = 1048576
segment_age = "1h30m"
rate_limit = 0
context_key_lifetime = "12h"
max_size = 1073741824
keep_free = "2G"
max_age = "720h"
`)
	got, err := config.LoadAgent(file)
	want := config.Agent{
		Library: []string{"/usr/lib64/libgnutls.so.30", "/opt/*/libssl.so"}, LogDir: "/srv/log",
		CoalesceWindow: config.Duration{Duration: 250 * time.Millisecond}, RingSize: 16 << 20,
		SyncInterval: config.Duration{Duration: time.Second}, SegmentSize: 1 << 20, SegmentAge: config.Duration{Duration: 90 * time.Minute},
		ContextKeyLifetime: config.Duration{Duration: 12 * time.Hour},
		MaxSize:            config.Limit{Size: 1 << 30}, KeepFree: config.Limit{Size: 2 << 30}, MaxAge: config.Duration{Duration: 720 * time.Hour},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}

func TestBadFilesAreRefusedByFileAndLine(t *testing.T) {
	cases := map[string]struct {
		text, problem string
		line          int
	}{
		"unknown key":           {"log_dir = \"/x\"\nlibrarry = []\n", `unknown key "librarry"`, 2},
		"key of the other tool": {"\n\nlog_file = \"/x\"\n", "log_dir", 3},
		"wrong type":            {"library = 5\n", "library", 1},
		"bad duration":          {"\ncoalesce_window = \"soon\"\n", `"soon" is no length of time`, 2},
		"negative duration":     {"coalesce_window = \"-1s\"\n", "no length of time", 1},
		"bad size":              {"ring_size = \"8Q\"\n", "is no size", 1},
		"huge size":             {"ring_size = \"99999999999T\"\n", "is no size", 1},
		"ring no power of two":  {"\nring_size = 5000\n", "power of two", 2},
		"key in another case":   {"log_dir = \"/x\"\nRing_Size = 5000\n", "power of two", 2},
		"no TOML":               {"library = [\n", "", 1},
		"bad glob":              {"# here\n\nlibrary = [\"/x/[\"]\n", "no path or glob", 3},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			file := write(t, filepath.Join(t.TempDir(), "agent.conf"), c.text)
			_, err := config.LoadAgent(file)
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

func TestDropInsFollowTheMainFileByName(t *testing.T) {
	etc, usr := t.TempDir(), t.TempDir()
	write(t, filepath.Join(usr, "agent.conf"), "")
	write(t, filepath.Join(usr, "agent.conf.d/10-a.conf"), "")
	shadowed := filepath.Join(usr, "agent.conf.d/20-b.conf")
	write(t, shadowed, "")
	want := []string{
		write(t, filepath.Join(etc, "agent.conf"), ""),
		filepath.Join(usr, "agent.conf.d/10-a.conf"),
		write(t, filepath.Join(etc, "agent.conf.d/20-b.conf"), ""),
	}
	write(t, filepath.Join(etc, "agent.conf.d/README"), "")
	got, err := config.Files("agent", etc, usr)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if _, err := config.LoadAgent(filepath.Join(etc, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestSizesPrintAsTheyAreWritten(t *testing.T) {
	for text, size := range map[string]config.Size{"8M": 8 << 20, "1G": 1 << 30, "5000": 5000, "0": 0} {
		if size.String() != text {
			t.Errorf("%d prints as %s, want %s", int64(size), size, text)
		}
	}
}

func FuzzAgent(f *testing.F) {
	f.Add("library = [\"/x\"]\ncoalesce_window = 5\nring_size = \"8M\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(t.TempDir(), "agent.conf")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.LoadAgent(file); err != nil && !strings.Contains(err.Error(), file) {
			t.Errorf("error does not name the file: %v", err)
		}
	})
}
