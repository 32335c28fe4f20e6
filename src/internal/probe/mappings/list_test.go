// SPDX-License-Identifier: Apache-2.0

package mappings_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/opener/fusetest"
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
			t.Errorf("for process %d, mappings of others are listed: %v", pid, others)
		}
		if len(found) != 1 || found[0].Inode != stat.Ino || found[0].Device != stat.Dev || found[0].Start >= found[0].End || found[0].Mounts == 0 || found[0].File == 0 {
			t.Errorf("for process %d, %s with device %d and inode %d is listed as %+v", pid, self, stat.Dev, stat.Ino, found)
		}
	}
	if err := l.List(1<<22, func(m mappings.Mapped) { t.Errorf("for a process that does not exist, %+v is listed", m) }); err != nil {
		t.Error(err)
	}
}

// Programs see different inode numbers in two overlays, for the same underlying file.
func TestFilesOfOverlaysAreListedAsTheUnderlyingFile(t *testing.T) {
	l := newLister(t)
	directory := t.TempDir()
	for _, name := range []string{"lower", "other", "merged"} {
		if err := os.Mkdir(filepath.Join(directory, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if output, err := exec.Command("sh", "-c", `cp "$(command -v sleep)" `+directory+"/lower/overlaid").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	files := map[uint64]bool{}
	for range 2 {
		c := exec.Command("unshare", "--mount", "sh", "-ec", "cd "+directory+"; mount -t overlay -o lowerdir=lower:other none merged; exec merged/overlaid 1000")
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
		t.Errorf("one file is listed as %d files", len(files))
	}
}

// An overlay hides the file system of a file.
func TestFilesOnFUSEAreMarked(t *testing.T) {
	l := newLister(t)
	directory := t.TempDir()
	for _, name := range []string{"fuse", "layer", "merged"} {
		if err := os.Mkdir(filepath.Join(directory, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(directory, "layer/other"), make([]byte, 4096), 0o755); err != nil {
		t.Fatal(err)
	}
	fusetest.Mount(t, filepath.Join(directory, "fuse"), 1000)
	merged := filepath.Join(directory, "merged")
	if err := unix.Mount("none", merged, "overlay", 0, "lowerdir="+directory+"/layer:"+directory+"/fuse"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(merged, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	for name, want := range map[string]bool{"fuse/library": true, "merged/library": true, "layer/other": false, "merged/other": false} {
		t.Run(name, func(t *testing.T) {
			fd, err := unix.Open(filepath.Join(directory, name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			memory, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = unix.Munmap(memory) }()
			var found []bool
			err = l.List(os.Getpid(), func(m mappings.Mapped) {
				if filepath.Base(m.Path) == filepath.Base(name) {
					found = append(found, m.FUSE)
				}
			})
			if err != nil || len(found) != 1 || found[0] != want {
				t.Errorf("listed as on FUSE: %v, want one %v; %v", found, want, err)
			}
		})
	}
}
