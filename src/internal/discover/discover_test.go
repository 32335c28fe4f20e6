// SPDX-License-Identifier: Apache-2.0

package discover

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestAbsentNamedFilesAreErrors(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"libx.so.1", "libx.so.2", "libx.so.3;692b8f3c", "other"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	absent := filepath.Join(dir, "none*")
	f := Named{filepath.Join(dir, "libx.so.*"), absent}.Find()
	if want := []string{filepath.Join(dir, "libx.so.1"), filepath.Join(dir, "libx.so.2")}; !slices.Equal(f.Paths, want) {
		t.Errorf("found %q, want %q", f.Paths, want)
	}
	var e *AbsentError
	if len(f.Errors) != 1 || !errors.As(f.Errors[0], &e) || e.Pattern != absent {
		t.Errorf("the errors are %v, want an AbsentError of %s", f.Errors, absent)
	}
	if !slices.Contains(f.Directories, dir) || !slices.Equal(f.Names, []string{"libx.so.*", "none*"}) || f.Optional {
		t.Errorf("the directories are %q, the names %q, optional %v", f.Directories, f.Names, f.Optional)
	}
	if f := (Named{"["}).Find(); len(f.Errors) != 1 || errors.As(f.Errors[0], &e) {
		t.Errorf("the errors of a bad glob are %v", f.Errors)
	}
}

func TestUsualLibrariesAreOptional(t *testing.T) {
	f := Usual{}.Find()
	if !f.Optional || len(f.Errors) > 0 {
		t.Errorf("optional %v, errors %v", f.Optional, f.Errors)
	}
	for name, want := range map[string]bool{
		"libssl.so": true, "libssl.so.3": true, "libssl.so.3.0.9": true, "ld.so.cache": true, "libssl.software": false, "libz.so.1": false,
	} {
		if got := slices.ContainsFunc(f.Names, func(glob string) bool { ok, _ := filepath.Match(glob, name); return ok }); got != want {
			t.Errorf("%s matches a name: %v", name, got)
		}
	}
}
