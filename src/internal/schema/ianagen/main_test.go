// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCommittedTablesAreUpToDate(t *testing.T) {
	directory, err := download()
	if err != nil {
		t.Skipf("the source of the tables is not available: %v", err)
	}
	want, err := generate(filepath.Join(directory, "dicttls"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../iana.toml")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error("iana.toml differs from the output of ianagen: run go generate ./src/internal/schema")
	}
}
