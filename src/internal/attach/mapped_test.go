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

func TestAMappedFileIsFoundOnceIfItIsTheSameFile(t *testing.T) {
	folder := t.TempDir()
	looked := 0
	m := NewMapped(func(path string) bool {
		looked++
		return !strings.HasSuffix(path, "other")
	})
	note := func(name string, wrong uint64) string {
		path := filepath.Join(folder, name)
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
	m.Note(mappings.Mapping{PID: os.Getpid(), Path: folder + "/gone", Inode: 1})
	select {
	case <-m.Changed():
	default:
		t.Error("it is not notified")
	}
	for range 2 {
		if found := m.Find(); !slices.Equal(found.Paths, []string{want}) || !found.Optional {
			t.Errorf("found are %+v", found)
		}
	}
	if looked != 2 {
		t.Errorf("%d files were looked at, want 2", looked)
	}
}
