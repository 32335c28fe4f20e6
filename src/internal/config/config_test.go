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
	"crypto-auditing/src/internal/retention"
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
sources = ["usdt", "wire-udp"]
record_unit = false
exclude = ["unit=backup-*.service", "executable=curl", "user=1000"]
suspected_relays = ["tunnel*"]
connection_limit = 7
library = ["/usr/lib64/libgnutls.so.30", "/opt/*/libssl.so"]
log_dir = "/srv/log"
coalesce_window = 250
ring_size = "16M"
sync_interval = "1s"
segment_size = "1M"
segment_age = "1h 30min"
rate_limit = 0
context_key_lifetime = "infinity"
max_size = "1G"
keep_free = "20%"
max_age = "4weeks"
`)
	got, warnings, err := config.LoadAgent(file)
	want := config.Agent{
		Sources: []string{"usdt", "wire-udp"},
		Exclude: []string{"unit=backup-*.service", "executable=curl", "user=1000"}, SuspectedRelays: []string{"tunnel*"}, ConnectionLimit: 7,
		Library: []string{"/usr/lib64/libgnutls.so.30", "/opt/*/libssl.so"}, LogDir: "/srv/log",
		CoalesceWindow: config.For(250 * time.Millisecond), RingSize: 16 << 20,
		SyncInterval: config.For(time.Second), SegmentSize: 1 << 20, SegmentAge: config.For(90 * time.Minute),
		Retention: config.Retention{
			MaxSize: config.Limit{Limit: retention.Limit{Bytes: 1 << 30}}, KeepFree: config.Limit{Limit: retention.Limit{Percent: 20}},
			MaxAge: config.For(28 * 24 * time.Hour),
		},
	}
	if err != nil || len(warnings) > 0 || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, %v\nwant %+v", got, warnings, err, want)
	}
}

func TestBadFilesAreRefusedByFileAndLine(t *testing.T) {
	cases := map[string]struct {
		text, problem string
		line          int
	}{
		"unknown key":          {"log_dir = \"/x\"\nlibrarry = []\n", `unknown key "librarry"`, 2},
		"key of another tool":  {"\n\nlog_file = \"/x\"\n", "log_dir", 3},
		"not an exclusion":     {"\nexclude = [\"user=0\", \"curl\"]\n", `exclude "curl" is not an exclusion: write "unit=GLOB"`, 2},
		"a bad exclusion":      {"exclude = [\n\"executable=[\",\n]\n", `"executable=[" has no valid pattern`, 1},
		"no such user":         {"exclude = [\"user=no-such-user-here\"]\n", `names no user of this machine: write the number of one, as in "user=1000"`, 1},
		"a relay with a path":  {"suspected_relays = [\"/usr/bin/ssh\"]\n", `"/usr/bin/ssh" is not a pattern for the base name`, 1},
		"wrong type":           {"library = 5\n", "library", 1},
		"bad duration":         {"\ncoalesce_window = \"soon\"\n", `"soon" is not a valid duration: use for example 30d, 2weeks or "1h 30min"`, 2},
		"negative duration":    {"coalesce_window = \"-1s\"\n", "not a valid duration", 1},
		"bad size":             {"ring_size = \"8Q\"\n", `"8Q" is not a valid size: use for example 512M or 4G`, 1},
		"bad limit":            {"max_size = \"1 gigabyte\"\n", `"1 gigabyte" is not a valid size: use for example 512M, 4G or 10%`, 1},
		"share of the ring":    {"ring_size = \"10%\"\n", "not a valid size", 1},
		"more than all":        {"keep_free = \"101%\"\n", "not a valid size", 1},
		"endless window":       {"\nsync_interval = \"infinity\"\n", `sync_interval must not be "infinity"`, 2},
		"fractions":            {"max_age = 1.5\n", "not a valid duration", 1},
		"number without unit":  {"max_age = \"1h 30\"\n", "not a valid duration", 1},
		"endless milliseconds": {"sync_interval = 9999999999999\n", "not a valid duration", 1},
		"negative number":      {"max_age = -30\n", "not a valid duration", 1},
		"huge size":            {"ring_size = \"99999999999T\"\n", "not a valid size", 1},
		"not a power of two":   {"\nring_size = \"5000B\"\n", "power of two", 2},
		"key in another case":  {"log_dir = \"/x\"\nRing_Size = 5000\n", "power of two", 2},
		"not TOML":             {"library = [\n", "", 1},
		"unknown source":       {"\nsources = [\"usdt\", \"pcap\"]\n", `"pcap" is not a source: want some of usdt, function, wire, wire-udp`, 2},
		"no source":            {"sources = []\n", "must name at least one of usdt, function, wire, wire-udp", 1},
		"bad glob":             {"# here\n\nlibrary = [\"/x/[\"]\n", "not a path or glob", 3},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			file := write(t, filepath.Join(t.TempDir(), "agent.conf"), c.text)
			_, _, err := config.LoadAgent(file)
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
	if _, _, err := config.LoadAgent(filepath.Join(etc, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestSizesRoundTrip(t *testing.T) {
	for text, size := range map[string]config.Size{"8M": 8 << 20, "1G": 1 << 30, "5000B": 5000, "0": 0} {
		if size.String() != text {
			t.Errorf("%d prints as %s, want %s", int64(size), size, text)
		}
	}
}

// Version 0.1.0 took numbers without a unit for milliseconds and bytes. max_age = 30
// must not remove the log.
func TestNumbersWithoutAUnitAreAWarningForOneVersion(t *testing.T) {
	dir := t.TempDir()
	first := write(t, filepath.Join(dir, "agent.conf"), "sync_interval = 2000\nmax_age = \"30d\"\nmax_size = 1073741824\n")
	second := write(t, filepath.Join(dir, "agent.conf.d/a.conf"), strings.Join([]string{
		`max_age = 30`, `segment_age = "3600000"`, `context_key_lifetime = 0`, `coalesce_window = "50"`, `keep_free = "5000000000"`, `ring_size = 8_388_608`,
	}, "\n"))
	got, warnings, err := config.LoadAgent(first, second)
	want := config.DefaultAgent()
	want.SyncInterval, want.SegmentAge, want.MaxAge = config.For(2*time.Second), config.For(time.Hour), config.For(30*24*time.Hour)
	want.ContextKeyLifetime, want.CoalesceWindow = config.For(0), config.For(50*time.Millisecond)
	want.MaxSize, want.KeepFree = config.Limit{Limit: retention.Limit{Bytes: 1 << 30}}, config.Limit{Limit: retention.Limit{Bytes: 5_000_000_000}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	wanted := []string{
		first + `:1: sync_interval = 2000 has no unit and is taken for milliseconds: write sync_interval = "2s"`,
		first + `:3: max_size = 1073741824 has no unit and is taken for bytes: write max_size = "1G"`,
		second + `:6: ring_size = 8388608 has no unit and is taken for bytes: write ring_size = "8M"`,
		second + `:2: segment_age = 3600000 has no unit and is taken for milliseconds: write segment_age = "1h"`,
		second + `:5: keep_free = 5000000000 has no unit and is taken for bytes: write keep_free = "5000000000B"`,
		second + `:1: max_age = 30 has no unit and is ignored, since version 0.1.0 took it for milliseconds: write max_age = "30d" for days, or "30ms"`,
	}
	var texts []string
	for _, w := range warnings {
		texts = append(texts, w.String())
	}
	if !reflect.DeepEqual(texts, wanted) {
		t.Errorf("warnings\n%s\nwant\n%s", strings.Join(texts, "\n"), strings.Join(wanted, "\n"))
	}
}

func FuzzAgent(f *testing.F) {
	f.Add("library = [\"/x\"]\ncoalesce_window = 5\nring_size = \"8M\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(t.TempDir(), "agent.conf")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := config.LoadAgent(file); err != nil && !strings.Contains(err.Error(), file) {
			t.Errorf("error does not name the file: %v", err)
		}
	})
}
