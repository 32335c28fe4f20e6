// SPDX-License-Identifier: Apache-2.0

package selinux

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTheModuleCompilesWithoutWarningsAndDoesNotChangeTheSources(t *testing.T) {
	need(t, "make", "checkmodule", "bzip2")
	before := listing(t)
	module := filepath.Join(t.TempDir(), "crypto_auditing.pp.bz2")
	output, err := run(".", filepath.Join(sources, "build.sh"), "default", module)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(output) {
		if lower := strings.ToLower(line); strings.Contains(lower, "warning") || strings.Contains(lower, "error") {
			t.Errorf("the compiler printed: %s", line)
		}
	}
	if _, err := run(".", "bzip2", "--test", module); err != nil {
		t.Error(err)
	}
	if after := listing(t); !slices.Equal(before, after) {
		t.Errorf("the directory of the sources has %v, want %v", after, before)
	}
}

// listing lists the directory of the sources.
func listing(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(sources, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestSelintFindsNothing(t *testing.T) {
	need(t, "selint")
	// It fails because it also reports that the files of a whole policy are missing.
	output, _ := run(".", "selint", "--config=selint.conf", "--recursive", "--summary", "--color=off", "--context="+devel+"/include", sources)
	if !strings.Contains(output, "Found the following issue counts:\n(none)") {
		t.Errorf("selint printed:\n%s", output)
	}
}
