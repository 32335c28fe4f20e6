// SPDX-License-Identifier: Apache-2.0

package structure

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Documents name tests as proof of their statements, and files: all must exist.
func TestDocumentsNameExistingTestsAndFiles(t *testing.T) {
	exists := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	for _, dir := range []string{"bpf", "dbus", "src", "tests"} {
		err := filepath.WalkDir("../../"+dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range declared.FindAllSubmatch(text, -1) {
				exists[string(m[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	documents, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(documents) == 0 {
		t.Fatalf("%d documents, %v", len(documents), err)
	}
	for _, path := range append(documents, "../README.md", "../../README.md", "../../CONTRIBUTING.md", "../../CHANGELOG.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(string(text), -1) {
			if !exists[name[1]] {
				t.Errorf("%s names %s, which does not exist", filepath.Base(path), name[1])
			}
		}
		for _, name := range regexp.MustCompile(`-(?:run|fuzz) ((?:Test|Fuzz)\w+)`).FindAllStringSubmatch(string(text), -1) {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(exists)), func(test string) bool { return strings.HasPrefix(test, name[1]) }) {
				t.Errorf("%s runs %s, which does not exist", filepath.Base(path), name[1])
			}
		}
		if filepath.Base(path) == "instrumenting.md" {
			continue // it describes the trees of other projects
		}
		for _, name := range regexp.MustCompile("`((?:bpf|dbus|docs|src|systemd|tests)/[\\w./-]+)`").FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat("../../" + name[1]); err != nil {
				t.Errorf("%s names %s, which does not exist", filepath.Base(path), name[1])
			}
		}
	}
}
