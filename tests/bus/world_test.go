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
	"syscall"
	"testing"
	"time"

	"crypto-auditing/tests/machine"
)

// Paths in a world.
const (
	opt       = machine.Opt
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
	*machine.Space
	daemon    string
	bus       *exec.Cmd
	busOutput *machine.Output
	journal   net.PacketConn // the log of dbus-broker-launch
	// agent and restarter are nil until they are started. restarter starts the broker on
	// dbus-broker.
	agent, restarter *service
}

// newWorld makes a world with the files below the stages.
func newWorld(directory, daemon string, stages ...string) (*world, error) {
	if err := os.Mkdir(directory, 0o755); err != nil {
		return nil, err
	}
	space, err := machine.World(directory, stages...)
	if err != nil {
		return nil, err
	}
	return &world{Space: space, daemon: daemon, busOutput: &machine.Output{}}, nil
}

// end ends the world and all its processes.
func (w *world) end() {
	if w.journal != nil {
		w.journal.Close()
	}
	w.End() // may be called twice
	if w.bus != nil {
		_ = w.bus.Wait()
	}
}

// restartBus ends the bus and all connections, and starts the bus again.
func (w *world) restartBus(t *testing.T) {
	t.Helper()
	(&service{command: w.bus}).signal(syscall.SIGKILL)
	_ = w.bus.Wait()
	if err := os.Remove(w.Path(busSocket)); err != nil {
		t.Fatal(err)
	}
	if err := w.startBus(); err != nil {
		t.Fatal(err)
	}
}

// command returns a command that runs in the world as a user.
func (w *world) command(ctx context.Context, user string, arguments ...string) *exec.Cmd {
	if user != root {
		setpriv := []string{"setpriv", "--reuid", user, "--regid", user, "--init-groups", "--inh-caps=-all", "--bounding-set=-all"}
		arguments = append(setpriv, arguments...)
	}
	c := w.CommandContext(ctx, arguments...)
	c.WaitDelay = time.Second
	return c
}

// result is the result of a command.
type result struct {
	stdout, stderr string
	code           int
}

// as runs a command in the world as a user.
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

// must runs a command as a user and returns its output. The command must succeed without
// writing to standard error.
func (w *world) must(t *testing.T, user string, arguments ...string) string {
	t.Helper()
	r := w.as(t, user, arguments...)
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("%s runs %s: exit code %d\n%s%s", user, strings.Join(arguments, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// startBus starts the bus and waits until it accepts connections.
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
		w.bus = w.command(ctx, root, "/usr/bin/python3", "-c", startDBusBroker)
	}
	w.bus.Stdout, w.bus.Stderr = w.busOutput, w.busOutput
	if err := w.bus.Start(); err != nil {
		return fmt.Errorf("cannot start the bus: %w", err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if w.command(ctx, root, "busctl", "list").Run() == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s does not start:\n%s", w.daemon, w.busOutput)
		}
	}
}

// startDBusBroker passes the socket to dbus-broker, as systemd does.
const startDBusBroker = `
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

// listenAsJournal receives the log of dbus-broker-launch, which needs a journal.
func (w *world) listenAsJournal() error {
	directory := w.Path("/run/systemd/journal")
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	journal, err := net.ListenPacket("unixgram", filepath.Join(directory, "socket"))
	if err != nil {
		return fmt.Errorf("cannot listen as the journal: %w", err)
	}
	if err := os.Chmod(filepath.Join(directory, "socket"), 0o666); err != nil {
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
					fmt.Fprint(w.busOutput, message)
				}
			}
		}
	}()
	return nil
}

// address returns the address of the bus, for clients on the host.
func (w *world) address() string { return "unix:path=" + w.Path(busSocket) }

// service is a program that runs in a world until it is stopped.
type service struct {
	command *exec.Cmd
	output  *machine.Output
	exited  chan struct{} // closed when err is set
	err     error
}

// start starts a program as a user. It runs until the test ends.
func (w *world) start(t *testing.T, user string, arguments ...string) *service {
	t.Helper()
	s := w.launch(t, user, arguments...)
	t.Cleanup(func() {
		s.signal(syscall.SIGKILL)
		<-s.exited
		if t.Failed() {
			t.Logf("%s printed:\n%s", strings.Join(arguments, " "), s.output)
		}
	})
	return s
}

// launch starts a program as a user. It runs as long as the world.
func (w *world) launch(t *testing.T, user string, arguments ...string) *service {
	t.Helper()
	s := &service{command: w.command(context.Background(), user, arguments...), output: &machine.Output{}, exited: make(chan struct{})}
	s.command.Stdout, s.command.Stderr = s.output, s.output
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
		// nsenter stops together with its child, and a stopped one would not notice that
		// the child ends.
		_ = syscall.Kill(s.command.Process.Pid, syscall.SIGCONT)
	}
}

// waitForOutput waits until the program has printed a text.
func (s *service) waitForOutput(t *testing.T, text string) {
	t.Helper()
	waitFor(t, fmt.Sprintf("%q of %v", text, s.command.Args), func() bool {
		select {
		case <-s.exited:
			t.Fatalf("%v ended: %v\n%s", s.command.Args, s.err, s.output)
		default:
		}
		return strings.Contains(s.output.String(), text)
	})
}
