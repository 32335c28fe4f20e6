// SPDX-License-Identifier: Apache-2.0

package opener

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// serve starts a server for a user and returns its socket.
func serve(t *testing.T, uid uint32) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "opener") // short enough for the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: socket, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- (&Server{UID: uid, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}).Serve(ctx, l)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return socket
}

func dial(t *testing.T, socket string) *Client {
	t.Helper()
	c, err := Dial(socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// mapFile maps a page of a file and returns its addresses.
func mapFile(t *testing.T, path string, protection int) (start, end uint64) {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) // see fusetest.Mount
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	memory, err := unix.Mmap(fd, 0, unix.Getpagesize(), protection, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(memory) })
	return addresses(t, path, protection&unix.PROT_EXEC != 0)
}

// addresses returns the addresses of this process's mapping of a file.
func addresses(t *testing.T, path string, executable bool) (start, end uint64) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		fields := strings.Fields(line)
		if len(fields) == 6 && fields[5] == path && strings.Contains(fields[1], "x") == executable {
			return parseRange(t, fields[0])
		}
	}
	t.Fatalf("%s is not mapped:\n%s", path, maps)
	return 0, 0
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may open files of processes")
	}
}

func TestAMappedLibraryIsOpened(t *testing.T) {
	needRoot(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	start, end := addresses(t, self, true)
	f, err := dial(t, serve(t, uint32(os.Geteuid()))).Open(os.Getpid(), start, end)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want, err := os.Stat(self)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f.Stat(); err != nil || !os.SameFile(got, want) {
		t.Errorf("another file was opened: %v, %v", got, err)
	}
	if mode, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0); err != nil || mode&unix.O_ACCMODE != unix.O_RDONLY {
		t.Errorf("the mode is %#x, %v", mode, err)
	}
}

func TestOtherFilesAreNotOpened(t *testing.T) {
	needRoot(t)
	directory := t.TempDir()
	text, program := filepath.Join(directory, "text"), filepath.Join(directory, "program")
	if err := os.WriteFile(text, bytes.Repeat([]byte("text"), 4096), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, append([]byte("\x7fELF"), make([]byte, 8192)...), 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const executable = unix.PROT_READ | unix.PROT_EXEC
	type ranged struct{ start, end uint64 }
	at := func(start, end uint64) ranged { return ranged{start, end} }
	own := at(addresses(t, self, true))
	pid := os.Getpid()
	other := exec.Command("sleep", "1000")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	}()
	for name, c := range map[string]struct {
		pid  int
		at   ranged
		want syscall.Errno
	}{
		"a file mapped as data":        {pid, at(mapFile(t, program, unix.PROT_READ)), unix.EACCES},
		"a file that is not ELF":       {pid, at(mapFile(t, text, executable)), unix.ENOEXEC},
		"a device":                     {pid, at(mapFile(t, "/dev/zero", executable)), unix.EINVAL},
		"a part of a mapping":          {pid, ranged{own.start + uint64(unix.Getpagesize()), own.end}, unix.ENOENT},
		"a missing mapping":            {pid, ranged{4096, 8192}, unix.ENOENT},
		"a missing process":            {maxPID, own, unix.ESRCH},
		"a mapping of another process": {other.Process.Pid, own, unix.ENOENT},
		"a mapping of a kernel thread": {2, own, unix.ENOENT},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := dial(t, serve(t, uint32(os.Geteuid()))).Open(c.pid, c.at.start, c.at.end)
			if err == nil {
				f.Close()
			}
			if !errors.Is(err, c.want) {
				t.Errorf("the answer is %v, want %v", err, c.want)
			}
		})
	}
}

func TestLinksAreNotFollowed(t *testing.T) {
	directory := t.TempDir()
	for _, err := range []error{
		os.Mkdir(filepath.Join(directory, "in"), 0o755), os.WriteFile(filepath.Join(directory, "in/file"), nil, 0o644),
		os.Symlink("in", filepath.Join(directory, "link")), os.Symlink("/etc/passwd", filepath.Join(directory, "in/link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]error{
		"in/file": nil, "link/file": unix.ESTALE, "in/link": unix.EINVAL, "in/../in/file": unix.ESTALE, "in/none": unix.ESTALE, "in/file/x": unix.ESTALE, "in": unix.EINVAL,
	} {
		directory, err := unix.Open(directory, unix.O_PATH, 0)
		if err != nil {
			t.Fatal(err)
		}
		fd, err := reach(directory, path)
		unix.Close(directory)
		if err == nil {
			var s unix.Stat_t
			if err := unix.Fstat(fd, &s); err != nil {
				t.Fatal(err)
			}
			err = (&mapping{device: s.Dev, inode: s.Ino}).suits(fd, func(uint64) (string, error) { return "ext4", nil })
			unix.Close(fd)
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", path, err, want)
			}
		} else if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}

func TestAnotherUserIsNotServed(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	start, end := addresses(t, self, true)
	f, err := dial(t, serve(t, uint32(os.Geteuid())+1)).Open(os.Getpid(), start, end)
	if err == nil {
		f.Close()
	}
	var answer syscall.Errno
	if err == nil || errors.As(err, &answer) && answer != unix.EPIPE && answer != unix.ECONNRESET {
		t.Errorf("the answer is %v", err)
	}
}

func TestAHostileRequestEndsTheConnection(t *testing.T) {
	socket := serve(t, uint32(os.Geteuid()))
	valid := request{1, 4096, 8192}.encode()
	for name, message := range map[string][]byte{
		"too short":           valid[:23],
		"too long":            append(bytes.Clone(valid), 0),
		"far too long":        append(bytes.Clone(valid), make([]byte, 60000)...),
		"process 0":           request{0, 4096, 8192}.encode(),
		"a negative process":  request{-1, 4096, 8192}.encode(),
		"a too high process":  request{maxPID + 1, 4096, 8192}.encode(),
		"an end before start": request{1, 8192, 4096}.encode(),
		"an empty range":      request{1, 4096, 4096}.encode(),
		"unaligned addresses": request{1, 4097, 8192}.encode(),
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, socket)
			if _, err := c.call(message); !errors.Is(err, unix.EINVAL) {
				t.Errorf("the answer is %v", err)
			}
			if _, err := c.call(valid); err == nil || errors.Is(err, unix.ENOENT) {
				t.Errorf("the next answer is %v", err)
			}
		})
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(request{1, 4096, 8192}.encode())
	f.Add(make([]byte, requestSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := parse(b)
		if ok && !bytes.Equal(r.encode(), b) {
			t.Errorf("%x is read as %+v", b, r)
		}
		if ok && (r.pid < 1 || r.pid > maxPID || r.start >= r.end) {
			t.Errorf("the invalid request %+v is accepted", r)
		}
	})
}

func FuzzMappings(f *testing.F) {
	r := request{1, 0x1000, 0x2000}
	f.Add("00001000-00002000 r-xp 00000000 fe:00 12 /lib/x.so\n")
	f.Add("00001000-00002000 r--p 00000000 fe:00 12 /lib/x.so\n")
	f.Add("00001000-00002000 r-xp 00000000 00:00 0\n")
	f.Fuzz(func(t *testing.T, maps string) {
		m, err := find(strings.NewReader(maps), r)
		if err == nil && (m.path[0] != '/' || !strings.Contains(maps, "00001000-00002000 ") || !strings.Contains(maps, m.path)) {
			t.Errorf("%q results in %+v", maps, m)
		}
	})
}

func FuzzMounts(f *testing.F) {
	f.Add("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n")
	f.Add("36 35 0:50 / /a\\040-\\040b rw shared:7 master:1 - fuse.x name rw\n")
	f.Add("36 35 0:50 / / rw -\n")
	f.Fuzz(func(t *testing.T, mounts string) {
		kind, err := findMount(strings.NewReader(mounts), 36)
		found := err != nil
		for line := range strings.Lines(mounts) {
			fields := strings.Fields(line)
			found = found || len(fields) > 7 && fields[0] == "36" && slices.Contains(fields[7:], kind)
		}
		if !found {
			t.Errorf("%q results in %q", mounts, kind)
		}
	})
}

func parseRange(t *testing.T, text string) (start, end uint64) {
	t.Helper()
	from, to, _ := strings.Cut(text, "-")
	for text, n := range map[string]*uint64{from: &start, to: &end} {
		var err error
		if *n, err = strconv.ParseUint(text, 16, 64); err != nil {
			t.Fatal(err)
		}
	}
	return start, end
}
