// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Where things are in a world.
const (
	opt       = "/opt/publishers"
	logDir    = "/var/log/crypto-auditing"
	busSocket = "/run/dbus/system_bus_socket"
	agentPath = "/run/crypto-auditing/org.cryptoauditing.Agent"
)

// The users of a world, see world.sh.
const (
	root     = "root"
	brokers  = "crypto-auditing-broker"
	member   = "member"   // of the group crypto-auditing
	stranger = "stranger" // of no group
)

// world is a machine without a service manager, with a system bus.
type world struct {
	daemon  string
	init    *exec.Cmd // its process 1
	says    *output
	bus     *exec.Cmd
	busSays *output
	journal net.PacketConn // where dbus-broker-launch writes its log to
	// agent and keeper, which starts the broker, are there after record.
	agent, keeper *service
}

// output collects what a program writes, while others read it.
type output struct {
	mu    sync.Mutex
	bytes bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes.String()
}

// newWorld makes a world with what is below the stages in it.
func newWorld(script, folder, daemon string, stages ...string) (*world, error) {
	if err := os.Mkdir(folder, 0o755); err != nil {
		return nil, err
	}
	w := &world{daemon: daemon, says: &output{}, busSays: &output{}}
	w.init = exec.Command(script, append([]string{folder}, stages...)...)
	w.init.Stdout, w.init.Stderr = w.says, w.says
	w.init.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC,
		Setsid:     true,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := w.init.Start(); err != nil {
		return nil, fmt.Errorf("cannot start a world: %w", err)
	}
	for end := time.Now().Add(patience); !strings.Contains(w.says.String(), "ready\n"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.end()
			return nil, fmt.Errorf("the world does not begin:\n%s", w.says)
		}
	}
	return w, nil
}

// end ends the world and everything in it.
func (w *world) end() {
	if w.journal != nil {
		w.journal.Close()
	}
	// The kernel kills the rest of a PID namespace with its process 1. A world
	// may end twice.
	_ = w.init.Process.Kill()
	_ = w.init.Wait()
	if w.bus != nil {
		_ = w.bus.Wait()
	}
}

// restartBus ends the bus and everybody's connections, and starts another one.
func (w *world) restartBus(t *testing.T) {
	t.Helper()
	(&service{command: w.bus}).signal(syscall.SIGKILL)
	_ = w.bus.Wait()
	if err := os.Remove(w.path(busSocket)); err != nil {
		t.Fatal(err)
	}
	if err := w.startBus(); err != nil {
		t.Fatal(err)
	}
}

// path returns where the host sees a file of the world.
func (w *world) path(name string) string {
	return filepath.Join(fmt.Sprintf("/proc/%d/root", w.init.Process.Pid), name)
}

// command returns a command that a user runs in the world.
func (w *world) command(ctx context.Context, user string, arguments ...string) *exec.Cmd {
	enter := []string{
		"-t", strconv.Itoa(w.init.Process.Pid), "--mount", "--ipc", "--pid", "--root", "--wd",
		"env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8",
		"SYSTEMD_PAGER=", "TERM=dumb",
	}
	if user != root {
		enter = append(enter, "setpriv", "--reuid", user, "--regid", user, "--init-groups", "--inh-caps=-all", "--bounding-set=-all")
	}
	c := exec.CommandContext(ctx, "nsenter", append(enter, arguments...)...)
	c.WaitDelay = time.Second
	return c
}

// result is what a command came to.
type result struct {
	stdout, stderr string
	code           int
}

// as has a user run a command in the world.
func (w *world) as(t *testing.T, user string, arguments ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	c := w.command(ctx, user, arguments...)
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s has not ended after %v:\n%s%s", strings.Join(arguments, " "), patience, &stdout, &stderr)
	}
	if _, failed := err.(*exec.ExitError); err != nil && !failed {
		t.Fatalf("%s: %v", strings.Join(arguments, " "), err)
	}
	return result{stdout.String(), stderr.String(), c.ProcessState.ExitCode()}
}

// must has a user run a command that succeeds and returns what it prints.
func (w *world) must(t *testing.T, user string, arguments ...string) string {
	t.Helper()
	r := w.as(t, user, arguments...)
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("%s, run %s: exit code %d\n%s%s", user, strings.Join(arguments, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// startBus starts the bus. It is there when it returns.
func (w *world) startBus() error {
	ctx := context.Background()
	if w.daemon == "dbus-daemon" {
		w.bus = w.command(ctx, root, "dbus-daemon", "--system", "--nofork", "--nopidfile", "--nosyslog")
	} else {
		if w.journal == nil {
			if err := w.listenAsJournal(); err != nil {
				return err
			}
		}
		w.bus = w.command(ctx, root, "/usr/bin/python3", "-c", launch)
	}
	w.bus.Stdout, w.bus.Stderr = w.busSays, w.busSays
	if err := w.bus.Start(); err != nil {
		return fmt.Errorf("cannot start the bus: %w", err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if w.command(ctx, root, "busctl", "list").Run() == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s does not start:\n%s", w.daemon, w.busSays)
		}
	}
}

// launch does what systemd does for dbus-broker: it passes the socket.
const launch = `
import os, socket
s = socket.socket(socket.AF_UNIX)
s.bind("` + busSocket + `")
os.chmod("` + busSocket + `", 0o666)
s.listen(128)
os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execvp("dbus-broker-launch", ["dbus-broker-launch", "--scope", "system"])
`

// listenAsJournal takes the log of dbus-broker-launch, which needs a journal.
func (w *world) listenAsJournal() error {
	folder := w.path("/run/systemd/journal")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	journal, err := net.ListenPacket("unixgram", filepath.Join(folder, "socket"))
	if err != nil {
		return fmt.Errorf("cannot listen as the journal: %w", err)
	}
	if err := os.Chmod(filepath.Join(folder, "socket"), 0o666); err != nil {
		return err
	}
	w.journal = journal
	go func() {
		b := make([]byte, 64<<10)
		for {
			n, _, err := journal.ReadFrom(b)
			if err != nil {
				return
			}
			for line := range strings.Lines(string(b[:n])) {
				if message, ok := strings.CutPrefix(line, "MESSAGE="); ok {
					fmt.Fprint(w.busSays, message)
				}
			}
		}
	}()
	return nil
}

// address is that of the bus, for the host.
func (w *world) address() string { return "unix:path=" + w.path(busSocket) }

// service is a program that runs in a world until it is ended.
type service struct {
	command *exec.Cmd
	says    *output
	exited  chan struct{} // closed when err is set
	err     error
}

// start has a user start a program that runs until the test ends.
func (w *world) start(t *testing.T, user string, arguments ...string) *service {
	t.Helper()
	s := w.launch(t, user, arguments...)
	t.Cleanup(func() {
		s.signal(syscall.SIGKILL)
		<-s.exited
		if t.Failed() {
			t.Logf("%s wrote:\n%s", strings.Join(arguments, " "), s.says)
		}
	})
	return s
}

// launch starts a program that runs as long as the world.
func (w *world) launch(t *testing.T, user string, arguments ...string) *service {
	t.Helper()
	s := &service{command: w.command(context.Background(), user, arguments...), says: &output{}, exited: make(chan struct{})}
	s.command.Stdout, s.command.Stderr = s.says, s.says
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		s.err = s.command.Wait()
		close(s.exited)
	}()
	return s
}

// signal sends a signal to the program, which is the child of nsenter.
func (s *service) signal(signal syscall.Signal) {
	pid := s.command.Process.Pid
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return // it has ended
	}
	if fields := strings.Fields(string(children)); len(fields) > 0 {
		if pid, err = strconv.Atoi(fields[0]); err != nil {
			return
		}
	}
	_ = syscall.Kill(pid, signal)
	if signal == syscall.SIGKILL {
		// nsenter stops with a child that stops itself, and would not see its end.
		_ = syscall.Kill(s.command.Process.Pid, syscall.SIGCONT)
	}
}

// waitToSay waits until the program has written a text.
func (s *service) waitToSay(t *testing.T, text string) {
	t.Helper()
	waitFor(t, fmt.Sprintf("%q of %v", text, s.command.Args), func() bool {
		select {
		case <-s.exited:
			t.Fatalf("%v ended: %v\n%s", s.command.Args, s.err, s.says)
		default:
		}
		return strings.Contains(s.says.String(), text)
	})
}
