// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// CopyLibraries copies the libraries of a program whose names begin with one of the prefixes
// to a directory, and returns the copies in the order of ldd(1). Other programs of the
// machine continue to use the originals. There must be one library for each prefix.
func CopyLibraries(t *testing.T, program, directory string, prefixes ...string) (copies []string) {
	t.Helper()
	output, err := exec.Command("ldd", program).CombinedOutput()
	if err != nil {
		t.Fatalf("cannot list the libraries of %s: %v\n%s", program, err, output)
	}
	for line := range strings.Lines(string(output)) {
		name, path, ok := strings.Cut(strings.TrimSpace(line), " => ")
		if !ok || !slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			continue
		}
		path, _, _ = strings.Cut(path, " ")
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(directory, name)
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		copies = append(copies, file)
	}
	if len(copies) != len(prefixes) {
		t.Fatalf("copied %q, want one library for each of %q:\n%s", copies, prefixes, output)
	}
	return copies
}
