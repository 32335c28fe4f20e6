// SPDX-License-Identifier: Apache-2.0

package modules

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// listed returns the linked modules of a project with their licences, one per line.
func listed(t *testing.T, project string) (output string, err error) {
	t.Helper()
	dir, err := filepath.Abs(project)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "go", "run", "./licences", dir)
	command.Dir = root + "/tests/tools"
	text, err := command.CombinedOutput()
	return string(text), err
}

func TestEveryLinkedModuleIsListedWithItsLicence(t *testing.T) {
	output, err := listed(t, root)
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	var modules []string
	for line := range strings.Lines(output) {
		match := regexp.MustCompile(`^(\S+) v\S+ ([A-Za-z0-9.-]+( AND [A-Za-z0-9.-]+)*)\n$`).FindStringSubmatch(line)
		if match == nil {
			t.Fatalf("invalid line %q", line)
		}
		modules = append(modules, match[1])
	}
	if !slices.IsSorted(modules) {
		t.Errorf("the modules are not sorted: %q", modules)
	}
	// Programs contain a list of the modules that were linked.
	var linked []string
	for _, program := range []string{"crauctl", "crau-agent", "crau-broker", "crau-inventory", "crau-opener"} {
		file := filepath.Join(t.TempDir(), program)
		if output, err := exec.CommandContext(t.Context(), "go", "build", "-o", file, root+"/src/cmd/"+program).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
		text, err := exec.CommandContext(t.Context(), "go", "version", "-m", file).Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); fields[0] == "dep" {
				linked = append(linked, fields[1])
			}
		}
	}
	slices.Sort(linked)
	if linked = slices.Compact(linked); !slices.Equal(modules, linked) {
		t.Errorf("the listed modules are %q\nthe linked modules are %q", modules, linked)
	}
}

func TestUnacceptedLicencesAreRefused(t *testing.T) {
	text := func(name string) string {
		licence, err := os.ReadFile(root + "/LICENSES/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(licence)
	}
	for name, c := range map[string]struct{ licence, want string }{
		"an accepted licence":    {text("Apache-2.0.txt"), "example.com/other other Apache-2.0"},
		"a copyleft licence":     {text("GPL-2.0-or-later.txt"), "its licence GPL-2.0"},
		"an unknown licence":     {"You may use this if you are nice to us.\n", "0 % of "},
		"two licences in a file": {text("MIT.txt") + text("GPL-2.0-or-later.txt"), "its licence GPL-2.0"},
		"no licence":             {"", "it has no licence file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			files := map[string]string{
				"go.mod":                  "module example.com/project\n\nrequire example.com/other v1.0.0\n\nreplace example.com/other => ./other\n",
				"src/cmd/p/p.go":          "package main\n\nimport _ \"example.com/other/deep/down\"\n\nfunc main() {}\n",
				"other/go.mod":            "module example.com/other\n",
				"other/deep/down/down.go": "package down\n",
			}
			if c.licence != "" {
				files["other/LICENSE"] = c.licence
			}
			for name, text := range files {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			output, err := listed(t, dir)
			if accepted := strings.HasPrefix(c.want, "example.com/"); (err == nil) != accepted || !strings.Contains(output, c.want) {
				t.Errorf("%v:\n%s\nwant %q", err, output, c.want)
			}
		})
	}
}
