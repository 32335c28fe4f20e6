// SPDX-License-Identifier: Apache-2.0

// Package bustest runs private buses with the bus policy of the project.
package bustest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Kind is the name of a bus program.
type Kind string

// The kinds.
const (
	Daemon Kind = "dbus-daemon"
	Broker Kind = "dbus-broker-launch"
)

// Bus is a private bus that ends with the test.
type Bus struct {
	// Address is the address for clients, Dir a directory for files.
	Address, Dir string
	process      *exec.Cmd
}

// Start starts a bus. It skips the test if the program is not installed, or the user is
// not root: the policy allows no other user to own the broker's name.
func Start(t testing.TB, kind Kind) *Bus {
	t.Helper()
	program, err := exec.LookPath(string(kind))
	if err != nil {
		t.Skipf("there is no %s: install it", kind)
	}
	if os.Geteuid() != 0 {
		t.Skip("the bus policy lets root and the broker's user own the name: run it as root")
	}
	b := &Bus{Dir: t.TempDir()}
	socket := filepath.Join(b.Dir, "bus")
	b.Address = "unix:path=" + socket
	services := filepath.Join(b.Dir, "services")
	policies := filepath.Join(Root(t), "dbus")
	file := filepath.Join(b.Dir, "bus.conf")
	open(t, b.Dir)
	if err := os.Mkdir(services, 0o755); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(Root(t), "tests/data/bus.conf.in"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("@SOCKET@", socket, "@SERVICES@", services, "@POLICIES@", policies).Replace(string(config))
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if kind == Broker {
		b.launch(t, program, file, socket)
	} else {
		b.process = exec.Command(program, "--config-file="+file, "--nofork", "--nopidfile", "--nosyslog")
	}
	var log bytes.Buffer
	b.process.Stdout, b.process.Stderr = &log, &log
	b.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// The kernel sends the signal when the thread that started the process ends.
	runtime.LockOSThread()
	err = b.process.Start()
	runtime.UnlockOSThread()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range b.process.ExtraFiles {
		f.Close()
	}
	t.Cleanup(func() {
		_ = b.process.Process.Kill() // it may have ended
		_ = b.process.Wait()
		if t.Failed() {
			t.Logf("%s printed:\n%s", kind, log.String())
		}
	})
	for range 6000 {
		if answers(socket) {
			return b
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s did not start: %s", kind, log.String())
	return nil
}

// answers reports whether a bus answers on a socket.
func answers(socket string) bool {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := c.Write([]byte("\x00AUTH\r\n")); err != nil {
		return false
	}
	n, err := c.Read(make([]byte, 100))
	return err == nil && n > 0
}

// launch makes a command for dbus-broker-launch, which expects its socket from the
// service manager (sd_listen_fds(3)).
func (b *Bus) launch(t testing.TB, program, file, socket string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	// No other process may listen after the bus has ended.
	l.SetUnlinkOnClose(false)
	l.Close()
	// It does not run without a journal, so it gets a socket whose messages are
	// discarded.
	journal, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(b.Dir, "journal"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { journal.Close() })
	go func() {
		for b := make([]byte, 4096); ; {
			if _, err := journal.Read(b); err != nil {
				return
			}
		}
	}()
	// The shell knows the process id for LISTEN_PID.
	b.process = exec.Command("unshare", "--mount", "/bin/sh", "-ec", `
		mkdir -p /run/systemd
		mount -t tmpfs none /run/systemd
		mkdir /run/systemd/journal
		ln -s "$2" /run/systemd/journal/socket
		LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" --scope system --config-file="$1"
	`, program, file, filepath.Join(b.Dir, "journal"))
	// It also connects to its own bus as a client.
	b.process.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+b.Address)
	b.process.ExtraFiles = []*os.File{f}
}

// open lets other users reach the bus.
func open(t testing.TB, dir string) {
	t.Helper()
	for ; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// Activate makes the bus start a program on demand for its name.
func (b *Bus) Activate(t testing.TB, name, command string) {
	t.Helper()
	text := fmt.Sprintf("[D-BUS Service]\nName=%s\nExec=%s\nUser=root\n", name, command)
	if err := os.WriteFile(filepath.Join(b.Dir, "services", name+".service"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := b.process.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

// Resident returns the resident memory of the bus, in bytes.
func (b *Bus) Resident(t testing.TB) uint64 {
	t.Helper()
	sum := Resident(t, b.process.Process.Pid)
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", b.process.Process.Pid))
	for child := range strings.FieldsSeq(string(children)) {
		if pid, err := strconv.Atoi(child); err == nil {
			sum += Resident(t, pid)
		}
	}
	return sum
}

// Resident returns the resident memory of a process, in bytes.
func Resident(t testing.TB, pid int) uint64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	var size, resident uint64
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		t.Fatal(err)
	}
	return resident * uint64(os.Getpagesize())
}

// Root returns the directory of the project.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("this is not below the directory with go.mod")
	return ""
}
