// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"crypto-auditing/src/internal/probe/mappings"
)

func TestAMappedFileIsFoundOnceUnlessItWasReplaced(t *testing.T) {
	dir := t.TempDir()
	checked := 0
	m := NewMapped(func(path string) bool {
		checked++
		return !strings.HasSuffix(path, "other")
	})
	note := func(name string, wrong uint64) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		m.Note(mappings.Mapping{PID: os.Getpid(), Path: path, Inode: info.Sys().(*syscall.Stat_t).Ino + wrong})
		return path
	}
	want := note("library", 0)
	note("library", 0)
	note("other", 0)
	note("replaced", 1<<40)
	m.Note(mappings.Mapping{PID: os.Getpid(), Path: dir + "/gone", Inode: 1})
	select {
	case <-m.Changed():
	default:
		t.Error("no change was notified")
	}
	for range 2 {
		if found := m.Find(); !slices.Equal(found.Paths, []string{want}) || !found.Optional {
			t.Errorf("found %+v", found)
		}
	}
	if checked != 2 {
		t.Errorf("%d files were checked, want 2", checked)
	}
}
