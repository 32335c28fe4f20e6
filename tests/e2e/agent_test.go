// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"crypto-auditing/tests/machine"
)

// setup configures an agent. Only libraries is required.
type setup struct {
	// libraries are the files to attach to.
	libraries []string
	// log is the directory of the log; empty: a new directory.
	log string
	// config is the text of the configuration file.
	config string
	// flags and environment are added to the command.
	flags, environment []string
	// process has the attributes of the process; nil: inherited from the test.
	process *syscall.SysProcAttr
	// version010: the program is version 0.1.0, which lacks the key sources.
	version010 bool
}

// agent is a running crau-agent.
type agent struct {
	log     string
	command *exec.Cmd
	stderr  *machine.Output
	exited  chan struct{} // closed when err is set
	err     error
}

// sockets numbers the notification sockets.
var sockets atomic.Uint64

// startAgent starts an agent and waits until it records.
func startAgent(t *testing.T, s setup) *agent {
	t.Helper()
	// An abstract name (unix(7)): a path may be too long.
	name := fmt.Sprintf("@crau-e2e-%d-%d", os.Getpid(), sockets.Add(1))
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	s.environment = append(s.environment, "NOTIFY_SOCKET="+name)
	a := launchAgent(t, s)
	ready := make(chan struct{})
	go func() {
		b := make([]byte, 4096)
		for sent := false; ; {
			n, err := socket.Read(b)
			if err != nil {
				return
			}
			if !sent && strings.Contains("\n"+string(b[:n])+"\n", "\nREADY=1\n") {
				sent = true
				close(ready)
			}
		}
	}()
	select {
	case <-ready:
	case <-a.exited:
		t.Fatalf("the agent ended before it was ready: %v\n%s", a.err, a.stderr)
	case <-time.After(patience):
		t.Fatalf("the agent is not ready after %v:\n%s", patience, a.stderr)
	}
	return a
}

// launchAgent starts an agent.
func launchAgent(t *testing.T, s setup) *agent {
	t.Helper()
	needRecording(t)
	// Ignore the machine's configuration and programs that do not belong to the test, and
	// keep the whole log, however full the disk is.
	directory := openDirectory(t)
	base, config := filepath.Join(directory, "base.conf"), filepath.Join(directory, "agent.conf")
	defaults := "max_size = 0\nkeep_free = 0\n"
	if !s.version010 {
		defaults += "sources = [\"usdt\"]\n"
	}
	for file, text := range map[string]string{base: defaults, config: s.config} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if s.log == "" {
		s.log = filepath.Join(t.TempDir(), "log")
	}
	arguments := []string{"--config", base, "--config", config, "--log-dir", s.log, "--coalesce-window", "20ms"}
	for _, library := range s.libraries {
		arguments = append(arguments, "--library", library)
	}
	a := &agent{log: s.log, stderr: &machine.Output{}, exited: make(chan struct{})}
	a.command = exec.Command(program("crau-agent"), append(arguments, s.flags...)...)
	a.command.Env = append(os.Environ(), s.environment...)
	a.command.Stderr = a.stderr
	a.command.SysProcAttr = s.process
	if err := a.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		a.err = a.command.Wait()
		close(a.exited)
	}()
	t.Cleanup(func() {
		if !a.ended() {
			a.command.Process.Kill()
			<-a.exited
		}
		if t.Failed() {
			t.Logf("the agent wrote:\n%s", a.stderr)
		}
	})
	return a
}

// openDirectory makes a directory that all users can read.
func openDirectory(t *testing.T) string {
	t.Helper()
	directory, err := os.MkdirTemp(filepath.Dir(built.bin), "open-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	return directory
}

func (a *agent) ended() bool {
	select {
	case <-a.exited:
		return true
	default:
		return false
	}
}

// stop stops the agent as the service manager does. It fails the test unless the
// agent exits with status 0 within the time.
func (a *agent) stop(t *testing.T, within time.Duration) totals {
	t.Helper()
	if status := a.terminate(t, within); status != 0 {
		t.Fatalf("the agent ended with exit status %d", status)
	}
	return a.totals(t)
}

// terminate sends SIGTERM and returns the exit status.
func (a *agent) terminate(t *testing.T, within time.Duration) int {
	t.Helper()
	if err := a.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("cannot stop the agent: %v", err)
	}
	select {
	case <-a.exited:
	case <-time.After(within):
		t.Fatalf("the agent still runs %v after SIGTERM", within)
	}
	return a.exit(t)
}

// exit waits until the agent ends and returns its exit status, -1 if a signal ended it.
func (a *agent) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-a.exited:
	case <-time.After(patience):
		t.Fatalf("the agent still runs after %v", patience)
	}
	var failed *exec.ExitError
	if a.err != nil && !errors.As(a.err, &failed) {
		t.Fatal(a.err)
	}
	return a.command.ProcessState.ExitCode()
}

// place is the place and the reason of a loss.
type place struct{ place, reason string }

// number counts hits and events: one event for each opened context and each value.
type number struct{ hits, events uint64 }

func (n *number) add(m number) { n.hits += m.hits; n.events += m.events }

// totals has the counts that an agent logs when it stops.
type totals struct {
	recorded number
	lost     map[place]number
}

// sum returns all losses.
func (s *totals) sum() (n number) {
	for _, m := range s.lost {
		n.add(m)
	}
	return n
}

// totals reads the totals that the agent logged when it stopped.
func (a *agent) totals(t *testing.T) totals {
	t.Helper()
	s := totals{lost: map[place]number{}}
	stopped := false
	for line := range strings.Lines(a.stderr.String()) {
		f := fields(line)
		count := func(name string) uint64 {
			n, err := strconv.ParseUint(f[name], 10, 64)
			if err != nil {
				t.Fatalf("the agent logged %q without a number %s", line, name)
			}
			return n
		}
		switch f["msg"] {
		case "stopped":
			stopped = true
			s.recorded = number{count("recorded_hits"), count("recorded_events")}
		case "lost":
			s.lost[place{f["place"], f["reason"]}] = number{count("lost_hits"), count("lost_events")}
		}
	}
	if !stopped {
		t.Fatal("the agent did not log its totals")
	}
	return s
}

// fields parses a log line of the agent: key=value, with values that have spaces in quotes.
func fields(line string) map[string]string {
	found := map[string]string{}
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimLeft(line, " ") {
		key, tail, ok := strings.Cut(line, "=")
		if !ok {
			break
		}
		value, err := strconv.QuotedPrefix(tail)
		if err != nil {
			value, _, _ = strings.Cut(tail, " ")
		}
		found[key], line = value, tail[len(value):]
		if text, err := strconv.Unquote(value); err == nil {
			found[key] = text
		}
	}
	return found
}

// logged counts the log lines with a message that contain all texts.
func (a *agent) logged(message string, texts ...string) int {
	n := 0
	for line := range strings.Lines(a.stderr.String()) {
		matches := fields(line)["msg"] == message
		for _, text := range texts {
			matches = matches && strings.Contains(line, text)
		}
		if matches {
			n++
		}
	}
	return n
}

// check compares the fired hits with the totals of a stopped agent and with its log:
// every hit must be either recorded or reported as lost. It returns the log.
func check(t *testing.T, a *agent, result totals, fired number) []group {
	t.Helper()
	return checkRuns(t, a.log, []totals{result}, fired)
}

// checkRuns is check for several runs with one log.
func checkRuns(t *testing.T, dir string, runs []totals, fired number) []group {
	t.Helper()
	result := totals{lost: map[place]number{}}
	for _, run := range runs {
		result.recorded.add(run.recorded)
		for p, n := range run.lost {
			n.add(result.lost[p])
			result.lost[p] = n
		}
	}
	accounted := result.recorded
	accounted.add(result.sum())
	if accounted != fired {
		t.Errorf("fired %+v, but recorded and lost %+v in total (recorded %+v, lost %+v)",
			fired, accounted, result.recorded, result.lost)
	}
	log := readLog(t, dir)
	compareLosses(t, log, result.lost)
	if n := countEvents(log); n != result.recorded.events {
		t.Errorf("the log holds %d events, the agent recorded %d", n, result.recorded.events)
	}
	return log
}

// switches returns how often the agent's threads went to sleep.
func (a *agent) switches(t *testing.T) (n uint64) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", a.command.Process.Pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("cannot list the agent's threads: %v", err)
	}
	for _, file := range files {
		status, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, count, _ := strings.Cut(string(status), "\nvoluntary_ctxt_switches:")
		var switches uint64
		if _, err := fmt.Sscan(count, &switches); err != nil {
			t.Fatalf("%s has no context switches: %v", file, err)
		}
		n += switches
	}
	return n
}
