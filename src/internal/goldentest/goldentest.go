// SPDX-License-Identifier: Apache-2.0

// Package goldentest compares the output of tests with golden files.
package goldentest

import (
	"os"
	"path/filepath"
	"testing"
)

// Compare fails the test if got differs from the file name in the directory testdata of the
// package. With UPDATE_GOLDEN=1 in the environment it writes the file first.
func Compare(t testing.TB, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") == "1" {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the output differs from %s (UPDATE_GOLDEN=1 rewrites it); got:\n%s\nwant:\n%s", file, got, want)
	}
}
