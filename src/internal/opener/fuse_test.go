// SPDX-License-Identifier: Apache-2.0

package opener

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/opener/fusetest"
)

// A FUSE program that never answers could block the opener. It must not be asked, wherever its
// file system is on the path of a file.
func TestProgramsOfFileSystemsAreNeverAsked(t *testing.T) {
	needRoot(t)
	library := append([]byte("\x7fELF"), make([]byte, 8192)...)
	write := func(t *testing.T, path string) string {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, library, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const long = 1000000
	for name, c := range map[string]struct {
		valid uint64
		// prepare returns the path of a library.
		prepare func(t *testing.T, f *fusetest.FileSystem, directory string) string
		want    error
	}{
		"a library on FUSE":                   {0, func(_ *testing.T, f *fusetest.FileSystem, _ string) string { return f.Path + "/library" }, unix.ESTALE},
		"a cached library on FUSE":            {long, func(_ *testing.T, f *fusetest.FileSystem, _ string) string { return f.Path + "/library" }, unix.EOPNOTSUPP},
		"a library mounted below FUSE":        {0, belowFUSE(write), unix.ESTALE},
		"a library mounted below cached FUSE": {long, belowFUSE(write), nil},
		"an overlay with a layer on FUSE":     {0, overFUSE(write, "directory/library"), unix.ESTALE},
		"an overlay's directory not on FUSE":  {0, overFUSE(write, "other/library"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			socket := serve(t, uint32(os.Geteuid()))
			directory := t.TempDir()
			at := filepath.Join(directory, "fuse")
			if err := os.Mkdir(at, 0o755); err != nil {
				t.Fatal(err)
			}
			f := fusetest.Mount(t, at, c.valid)
			path := c.prepare(t, f, directory)
			start, end := mapFile(t, path, unix.PROT_READ|unix.PROT_EXEC)
			f.Silence()
			opened, err := dial(t, socket).Open(os.Getpid(), start, end)
			if err == nil {
				opened.Close()
			}
			if !errors.Is(err, c.want) {
				t.Errorf("the answer is %v, want %v", err, c.want)
			}
			if n := f.Requests(); n != 0 {
				t.Errorf("the program was asked %d times", n)
			}
		})
	}
}

// belowFUSE puts a library into a file system that is mounted on a directory of FUSE.
func belowFUSE(write func(*testing.T, string) string) func(*testing.T, *fusetest.FileSystem, string) string {
	return func(t *testing.T, f *fusetest.FileSystem, _ string) string {
		t.Helper()
		// It is unmounted together with FUSE.
		if err := unix.Mount("none", f.Path+"/directory", "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		return write(t, f.Path+"/directory/library")
	}
}

// overFUSE puts a library into a layer of an overlay. Another layer is FUSE.
func overFUSE(write func(*testing.T, string) string, name string) func(*testing.T, *fusetest.FileSystem, string) string {
	return func(t *testing.T, f *fusetest.FileSystem, directory string) string {
		t.Helper()
		write(t, filepath.Join(directory, "layer", name))
		merged := filepath.Join(directory, "merged")
		if err := os.Mkdir(merged, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("none", merged, "overlay", 0, "lowerdir="+directory+"/layer:"+f.Path); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(merged, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		return filepath.Join(merged, name)
	}
}
