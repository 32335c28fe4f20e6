// SPDX-License-Identifier: Apache-2.0

package structure

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// maxPackage is the maximum number of lines of Go in a package, without tests and generated
// files. A larger package does more than one thing.
const maxPackage = 2000

func TestPackagesAreSmall(t *testing.T) {
	lines := map[string]int{}
	err := filepath.WalkDir("../../src", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || !production(path) {
			return err
		}
		text, err := os.ReadFile(path)
		lines[filepath.Dir(path)] += bytes.Count(text, []byte("\n"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, n := range lines {
		if n > maxPackage {
			t.Errorf("%s has %d lines, more than %d: split it", dir, n, maxPackage)
		}
	}
}
