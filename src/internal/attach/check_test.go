// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"crypto-auditing/src/internal/discover"
)

func TestCheckFindsMissingFilesAndFilesWithoutProbes(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.so")
	if err := os.WriteFile(text, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	n, problems := Check(discover.Named{filepath.Join(dir, "none*.so"), text, dir, self}, probes())
	if n != 0 || len(problems) != 4 {
		t.Fatalf("%d files can be recorded, the problems are %v", n, problems)
	}
	for i, want := range []string{"none*.so: no such file", "text.so: ", "not a regular file", "it has no probe of provider"} {
		if !strings.Contains(problems[i].Error(), want) {
			t.Errorf("problem %d is %q, want %q in it", i, problems[i], want)
		}
	}
}
