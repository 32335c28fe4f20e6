// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/probe/mappings"
)

// world simulates processes, and an opener for their files, which are empty.
type world struct {
	t      *testing.T
	list   []mappings.Mapped
	absent bool
	// gone makes processes end before their files are opened.
	gone           bool
	connected      int
	opened, missed []string
	near           []string
	plain          map[string]bool
}

func (w *world) foreign() *Foreign {
	dir := w.t.TempDir()
	f := NewForeign(ForeignOptions{
		List: func(pid int, do func(mappings.Mapped)) error {
			for _, m := range w.list {
				if pid == 0 || pid == m.PID {
					do(m)
				}
			}
			return nil
		},
		Connect: func() (Opener, error) {
			w.connected++
			if w.absent {
				return nil, unix.ENOENT
			}
			return opener{w, dir}, nil
		},
		Check: func(string) error {
			if name := w.opened[len(w.opened)-1]; w.plain[name] {
				return &capture.NoSitesError{}
			}
			return nil
		},
		Near:   func(m mappings.Mapping) { w.near = append(w.near, m.Path) },
		Usual:  func(name string) bool { return strings.HasPrefix(name, "libssl") },
		Missed: func(name string, _ uint64) { w.missed = append(w.missed, name) },
		Log:    slog.New(slog.DiscardHandler),
	})
	w.t.Cleanup(f.Close)
	return f
}

type opener struct {
	*world
	dir string
}

func (o opener) Close() {}

func (o opener) Open(pid int, start, _ uint64) (*os.File, error) {
	if o.gone {
		return nil, unix.ESRCH
	}
	for _, m := range o.list {
		if m.PID == pid && m.Start == start {
			o.opened = append(o.opened, m.Path)
			return os.Create(filepath.Join(o.dir, "file"))
		}
	}
	return nil, unix.ENOENT
}

// Process 1 belongs to the host; the process of these tests is in a container.
func mapping(pid int, mounts uint32, file uint64, path string) mappings.Mapped {
	return mappings.Mapped{PID: pid, Mounts: mounts, Start: file << 12, End: file<<12 + 4096, File: file, Device: 1, Inode: 1 << 40 * file, Path: path}
}

func names(f *Foreign) (found, unreachable []string) {
	f.Search()
	result := f.Find()
	for _, path := range result.Paths {
		found = append(found, result.Foreign[path].Name)
	}
	for _, u := range result.Unreachable {
		unreachable = append(unreachable, u.Name)
	}
	slices.Sort(found)
	return found, unreachable
}

func TestForeignFilesAreFoundOncePerInode(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var own unix.Stat_t
	if err := unix.Stat(self, &own); err != nil {
		t.Fatal(err)
	}
	pid := os.Getpid()
	w := &world{t: t, plain: map[string]bool{"/in/libc.so": true}, list: []mappings.Mapped{
		{PID: 1, Mounts: 7, Start: 1, End: 2, File: 99, Device: own.Dev, Inode: own.Ino, Path: self},
		mapping(pid, 8, 1, "/in/libssl.so.3"), mapping(pid, 8, 2, "/in/libc.so"), mapping(pid, 9, 1, "/elsewhere/libssl.so.3"),
	}}
	f := w.foreign()
	for range 2 {
		if found, unreachable := names(f); !slices.Equal(found, []string{"mnt:[8]/in/libssl.so.3"}) || len(unreachable) > 0 {
			t.Errorf("found %q, unreachable %q", found, unreachable)
		}
	}
	if want := []string{"/in/libssl.so.3", "/in/libc.so"}; !slices.Equal(w.opened, want) || !slices.Equal(w.near, []string{self}) {
		t.Errorf("opened %q, want %q; near %q", w.opened, want, w.near)
	}

	// After the first container has ended, the file is found through the other.
	w.list = append(w.list[:1], w.list[3:]...)
	f.Retry()
	if found, _ := names(f); !slices.Equal(found, []string{"mnt:[9]/elsewhere/libssl.so.3"}) {
		t.Errorf("found %q", found)
	}
	// A container whose process has ended keeps the file for the next process.
	w.list[1] = mapping(pid, 9, 3, "/elsewhere/sleep")
	w.plain["/elsewhere/sleep"] = true
	f.Retry()
	if found, _ := names(f); len(found) != 1 {
		t.Errorf("found %q", found)
	}
	w.list = w.list[:1]
	f.Retry()
	if found, _ := names(f); len(found) > 0 {
		t.Errorf("found %q after all have ended", found)
	}
}

func TestWithoutAnOpenerUsualLibrariesAreReported(t *testing.T) {
	w := &world{t: t, absent: true, list: []mappings.Mapped{mapping(os.Getpid(), 8, 1, "/in/libssl.so.3"), mapping(os.Getpid(), 8, 2, "/in/app")}}
	f := w.foreign()
	for range 2 {
		if found, unreachable := names(f); len(found) > 0 || !slices.Equal(unreachable, []string{"mnt:[8]/in/libssl.so.3"}) {
			t.Errorf("found %q, unreachable %q", found, unreachable)
		}
	}
	if !f.Without() || w.connected != 1 {
		t.Errorf("the opener is missing: %v, after %d connections", f.Without(), w.connected)
	}
	w.absent = false
	f.Retry()
	if found, unreachable := names(f); len(found) != 2 || len(unreachable) > 0 || f.Without() {
		t.Errorf("with the opener: found %q, unreachable %q", found, unreachable)
	}
}

func TestFilesOfProgramsAreNotOpened(t *testing.T) {
	onFUSE := mapping(os.Getpid(), 8, 1, "/in/libssl.so.3")
	onFUSE.FUSE = true
	w := &world{t: t, list: []mappings.Mapped{onFUSE, mapping(os.Getpid(), 8, 2, "/in/libssl.so.4")}}
	found, unreachable := names(w.foreign())
	if !slices.Equal(found, []string{"mnt:[8]/in/libssl.so.4"}) || !slices.Equal(unreachable, []string{"mnt:[8]/in/libssl.so.3"}) || !slices.Equal(w.opened, []string{"/in/libssl.so.4"}) {
		t.Errorf("found %q, unreachable %q, opened %q", found, unreachable, w.opened)
	}
}

func TestProcessesThatEndTooEarlyAreReported(t *testing.T) {
	w := &world{t: t, list: []mappings.Mapped{mapping(os.Getpid(), 8, 1, "/in/sleep")}, plain: map[string]bool{"/in/sleep": true}}
	f := w.foreign()
	names(f)
	note := func(name string) {
		f.Note(mappings.Mapping{PID: 1 << 29, Path: "/in/" + name, Device: 1, Inode: 5})
		names(f)
	}
	note("app")
	note("libssl.so.3")
	if !slices.Equal(w.missed, []string{"libssl.so.3"}) {
		t.Errorf("missed %q", w.missed)
	}
	// The file is still mapped when the process is listed, but not when it is opened.
	w.gone = true
	m := mapping(os.Getpid(), 8, 6, "/in/libssl.so.4")
	w.list = append(w.list, m)
	f.Note(mappings.Mapping{PID: m.PID, Path: m.Path, Device: m.Device, Inode: m.Inode})
	if found, unreachable := names(f); len(found) > 0 || len(unreachable) > 0 || !slices.Contains(w.missed, "libssl.so.4") {
		t.Errorf("found %q, unreachable %q, missed %q", found, unreachable, w.missed)
	}
	w.gone = false
	f.Note(mappings.Mapping{PID: m.PID, Path: m.Path, Device: m.Device, Inode: m.Inode})
	if found, _ := names(f); len(found) != 1 {
		t.Errorf("found %q after the next process", found)
	}
}

func TestAfterAFailureTheOpenerIsReconnected(t *testing.T) {
	w := &world{t: t, list: []mappings.Mapped{mapping(os.Getpid(), 8, 1, "/in/libssl.so.3"), mapping(os.Getpid(), 8, 2, "/in/libssl.so.4")}}
	f := w.foreign()
	broken := errors.New("broken")
	connect := f.options.Connect
	f.options.Connect = func() (Opener, error) {
		o, err := connect()
		if w.connected == 1 {
			return failing{broken}, err
		}
		return o, err
	}
	found, unreachable := names(f)
	if len(found) != 1 || len(unreachable) != 1 || w.connected != 2 {
		t.Errorf("found %q, unreachable %q, after %d connections", found, unreachable, w.connected)
	}
}

type failing struct{ err error }

func (failing) Close() {}

func (o failing) Open(int, uint64, uint64) (*os.File, error) { return nil, o.err }
