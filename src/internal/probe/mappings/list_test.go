// SPDX-License-Identifier: Apache-2.0

package mappings_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"crypto-auditing/src/internal/probe/mappings"
)

func newLister(t *testing.T) *mappings.Lister {
	t.Helper()
	needRoot(t)
	l, err := mappings.NewLister()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func TestMappingsOfAProcessAreListed(t *testing.T) {
	l := newLister(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(self)
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	for _, pid := range []int{os.Getpid(), 0} {
		var found []mappings.Mapped
		others := false
		err := l.List(pid, func(m mappings.Mapped) {
			others = others || m.PID != os.Getpid()
			if m.PID == os.Getpid() && m.Path == self {
				found = append(found, m)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if others != (pid == 0) {
			t.Errorf("of process %d, mappings of others are listed: %v", pid, others)
		}
		if len(found) != 1 || found[0].Inode != stat.Ino || found[0].Device != stat.Dev || found[0].Start >= found[0].End || found[0].Mounts == 0 || found[0].File == 0 {
			t.Errorf("of process %d, %s with device %d and inode %d is listed as %+v", pid, self, stat.Dev, stat.Ino, found)
		}
	}
	if err := l.List(1<<22, func(m mappings.Mapped) { t.Errorf("of no process, %+v is listed", m) }); err != nil {
		t.Error(err)
	}
}

// Programs see different numbers of the files of two overlays, which are one file below.
func TestFilesOfOverlaysAreTheFileBelow(t *testing.T) {
	l := newLister(t)
	folder := t.TempDir()
	for _, name := range []string{"lower", "other", "merged"} {
		if err := os.Mkdir(filepath.Join(folder, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if output, err := exec.Command("sh", "-c", `cp "$(command -v sleep)" `+folder+"/lower/overlaid").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	files := map[uint64]bool{}
	for range 2 {
		c := exec.Command("unshare", "--mount", "sh", "-ec", "cd "+folder+"; mount -t overlay -o lowerdir=lower:other none merged; exec merged/overlaid 1000")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = c.Process.Kill()
			_ = c.Wait()
		})
		for found, tries := false, 0; !found; tries++ {
			if tries == 1000 {
				t.Fatal("the program is not listed")
			}
			time.Sleep(10 * time.Millisecond)
			err := l.List(c.Process.Pid, func(m mappings.Mapped) {
				if filepath.Base(m.Path) == "overlaid" {
					found, files[m.File] = true, true
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(files) != 1 {
		t.Errorf("one file is listed as %d", len(files))
	}
}
