// SPDX-License-Identifier: Apache-2.0

package varlinkservice

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// childVariable makes the test program act as a child of a service manager.
const childVariable = "VARLINKSERVICE_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		runActivated()
		return
	}
	os.Exit(m.Run())
}

// runActivated prints the result of Activated and answers one connection.
func runActivated() {
	l, err := Activated("varlink")
	if err != nil || l == nil {
		fmt.Printf("%v, %v\n", l, err)
		return
	}
	fmt.Println("listening")
	c, err := l.Accept()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprint(c, "hello")
	c.Close()
}

// socketFile returns the file of a listening socket.
func socketFile(t *testing.T, network, address string) *os.File {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestTheSocketOfTheServiceManagerIsUsed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	unix := func() *os.File { return socketFile(t, "unix", path) }
	fresh := func() *os.File { return socketFile(t, "unix", filepath.Join(t.TempDir(), "s")) }
	tcp := func() *os.File { return socketFile(t, "tcp", "127.0.0.1:0") }
	cases := map[string]struct {
		names string
		files []*os.File
		want  string
	}{
		"one":               {"varlink", []*os.File{unix()}, "listening"},
		"none":              {"", nil, "<nil>, <nil>"},
		"one, wrong name":   {"crau.socket", []*os.File{fresh()}, "write FileDescriptorName=varlink in its unit"},
		"an additional one": {"varlink:x", []*os.File{fresh(), fresh()}, "cannot use the socket x of the service manager"},
		"two":               {"varlink:varlink", []*os.File{fresh(), fresh()}, "write ListenStream= once in their unit"},
		"a TCP socket":      {"varlink", []*os.File{tcp()}, "write ListenStream= with a path in its unit"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			// Only the process itself knows its id.
			command := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0"`, os.Args[0])
			command.Env = append(os.Environ(), childVariable+"=1", "LISTEN_FDNAMES="+c.names, fmt.Sprintf("LISTEN_FDS=%d", len(c.files)))
			command.ExtraFiles = c.files
			out, err := command.StdoutPipe()
			if err == nil {
				err = command.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "listening" {
				conn, err := net.Dial("unix", path)
				if err != nil {
					t.Fatal(err)
				}
				b := make([]byte, 10)
				if n, _ := conn.Read(b); string(b[:n]) != "hello" {
					t.Errorf("the socket sent %q", b[:n])
				}
				conn.Close()
			}
			var printed strings.Builder
			b := make([]byte, 4096)
			for n, err := out.Read(b); err == nil; n, err = out.Read(b) {
				printed.Write(b[:n])
			}
			if err := command.Wait(); err != nil {
				t.Error(err)
			}
			if !strings.Contains(printed.String(), c.want) {
				t.Errorf("the process printed %q, want %q", printed.String(), c.want)
			}
		})
	}
}

func TestOnlyOwnerAndGroupMayConnectToTheSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	var gid *uint32
	if os.Geteuid() == 0 {
		other := uint32(54321)
		gid = &other
	}
	l, err := Listen(path, gid)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("the mode is %v", info.Mode())
	}
	if got := info.Sys().(*syscall.Stat_t).Gid; gid != nil && got != *gid {
		t.Errorf("the group is %d, want %d", got, *gid)
	}
	l.Close()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket was not removed: %v", err)
	}
}

func TestListenReplacesOnlyAnUnusedSocket(t *testing.T) {
	cases := map[string]struct {
		// put creates a file at the path.
		put func(t *testing.T, path string)
		err string // empty: the file is replaced
	}{
		"nothing": {func(*testing.T, string) {}, ""},
		"a socket without a listener": {func(t *testing.T, path string) {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			l.Close()
		}, ""},
		"a socket in use": {func(t *testing.T, path string) {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}, "another process listens there: stop it first"},
		"a file": {func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "a file that is not a socket has that name: move it away"},
		"a link to a file": {func(t *testing.T, path string) {
			if err := os.Symlink("/etc/passwd", path); err != nil {
				t.Fatal(err)
			}
		}, "a file that is not a socket has that name: move it away"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			c.put(t, path)
			before, _ := os.Lstat(path)
			l, err := Listen(path, nil)
			if err == nil {
				defer l.Close()
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), path)) {
				t.Fatalf("the error is %v, want %q", err, c.err)
			}
			if after, _ := os.Lstat(path); c.err != "" && !os.SameFile(before, after) {
				t.Error("the file at the path was replaced")
			}
		})
	}
}

func TestTheErrorForAMissingDirectoryHasARemedy(t *testing.T) {
	_, err := Listen(filepath.Join(t.TempDir(), "none", "s"), nil)
	if err == nil || !strings.Contains(err.Error(), "create the directory") || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
}

func TestThePeerIsTheConnectedUser(t *testing.T) {
	c := serve(t, nil).connect(t)
	c.send(call("Who", "{}"))
	text, _ := c.reply()
	var got struct {
		Parameters struct {
			UID, GID int
			Groups   []int
		}
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	groups, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(groups)
	slices.Sort(got.Parameters.Groups)
	if p := got.Parameters; p.UID != os.Getuid() || p.GID != os.Getgid() || !slices.Equal(p.Groups, groups) {
		t.Errorf("the peer is %+v, want %d, %d, %v", p, os.Getuid(), os.Getgid(), groups)
	}
}

func TestAMissingSocketHasNoPeer(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, err := PeerOf(a); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("the error is %v", err)
	}
}
