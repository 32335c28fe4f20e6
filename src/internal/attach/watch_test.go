// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"os"
	"path/filepath"
	"testing"

	"crypto-auditing/src/internal/boottime"
	"crypto-auditing/src/internal/discover"
)

func TestNamesOfFilesThatMayBecomeLibraries(t *testing.T) {
	l := New(Options{Finder: discover.Named{"/usr/lib64/libx.so.*"}})
	l.find()
	l.linked = map[string]bool{"libreal.so.3.1": true}
	for name, want := range map[string]struct{ temporary, concerns, mayBecome bool }{
		"libx.so.3":              {false, true, true},
		"libx.so.3;692b8f3c":     {true, false, true},
		"libx.so.3;":             {false, true, true},
		"libx.so.3;nothex":       {false, true, true},
		"libx.so.3.dpkg-new":     {true, false, true},
		"libx.so.3.dpkg-tmp":     {true, false, true},
		".libx.so.3.AbCdEf":      {false, false, true},
		"libreal.so.3.1":         {false, true, true},
		"libreal.so.3.1.new":     {false, false, true},
		"libother.so.3;692b8f3c": {true, false, false},
		"libother.so":            {false, false, false},
	} {
		path := filepath.Join("/usr/lib64", name)
		if got := discover.Temporary(path); got != want.temporary {
			t.Errorf("%s: temporary is %v", name, got)
		}
		if got := l.concerns(path); got != want.concerns {
			t.Errorf("%s: concerns is %v", name, got)
		}
		if got := l.mayBecome(name); got != want.mayBecome {
			t.Errorf("%s: mayBecome is %v", name, got)
		}
	}
}

// A rename changes the renamed file, which therefore has the time of the rename.
func TestTheTimeOfASwitchedPathIsBracketed(t *testing.T) {
	// The time of a change is the last tick of the kernel's clock.
	const tick = 20_000_000
	dir := t.TempDir()
	library, link := filepath.Join(dir, "libx.so"), filepath.Join(dir, "link.so")
	if err := os.WriteFile(library+".new", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	before := boottime.Now()
	if err := os.Rename(library+".new", library); err != nil {
		t.Fatal(err)
	}
	if at := switched(library); at+tick < before || at > boottime.Now() {
		t.Errorf("renamed after %d and before %d, but switched at %d", before, boottime.Now(), at)
	}
	before = boottime.Now()
	if err := os.Symlink(library, link); err != nil {
		t.Fatal(err)
	}
	if at := switched(link); at+tick < before || at > boottime.Now() {
		t.Errorf("linked after %d and before %d, but switched at %d", before, boottime.Now(), at)
	}
}
