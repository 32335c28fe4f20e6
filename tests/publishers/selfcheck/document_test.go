// SPDX-License-Identifier: Apache-2.0

package selfcheck

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// TestExamplesOfTheDocumentCompile compiles each block of C in docs/instrumenting.md, with
// and without probes.
func TestExamplesOfTheDocumentCompile(t *testing.T) {
	document, err := os.ReadFile("../../../docs/instrumenting.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```c\n(.*?)```").FindAllSubmatch(document, -1)
	if len(blocks) < 3 {
		t.Fatalf("%d blocks of C in the document, want at least 3", len(blocks))
	}
	for i, block := range blocks {
		source := filepath.Join(t.TempDir(), fmt.Sprintf("block%d.c", i+1))
		if err := os.WriteFile(source, block[1], 0o644); err != nil {
			t.Fatal(err)
		}
		for _, language := range languages {
			for name, flags := range enabling {
				t.Run(fmt.Sprintf("block %d, %s, %s", i+1, language, name), func(t *testing.T) {
					language.with(strict...).with("-O2", "-fPIC", "-c").with(flags...).compile(t, source)
				})
			}
		}
		object := build{"gcc", []string{"-O2", "-fPIC", "-c", "-DCRAU_ENABLE"}}.compile(t, source)
		if len(readSites(t, object)) == 0 {
			t.Errorf("block %d fires no probe", i+1)
		}
	}
}

func TestHeaderNeedsOnlyHeadersOfCompiler(t *testing.T) {
	own := run(t, exec.Command("gcc", "-print-file-name=include"))
	b := build{"gcc", []string{"-nostdinc", "-isystem", regexp.MustCompile(`\s`).ReplaceAllString(own, ""), "-ffreestanding", "-DCRAU_ENABLE", "-c"}}
	b.compile(t, "testdata/every.c")
}
