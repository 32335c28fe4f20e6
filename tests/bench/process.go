// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// startLimit is the time in which a program must be ready, stopLimit the time in which it
// must exit.
const (
	startLimit = 10 * time.Second
	stopLimit  = 30 * time.Second
)

// agent is a running crau-agent with its own log directory.
type agent struct {
	command *exec.Cmd
	dir     string
	stderr  bytes.Buffer
	exited  chan error
	// attachedIn is the time from the start to READY=1.
	attachedIn time.Duration
}

// settings is the text of an agent's configuration. Unless it begins with a line of
// sources, the agent records probes only.
type settings string

const (
	defaults settings = ""
	// unlimited disables the limit of hits per process.
	unlimited settings = "rate_limit = 0\n"
)

// startAgent starts an agent on the given libraries and returns when it is attached to
// them. It ignores the configuration of the machine.
func (b *bench) startAgent(set settings, libraries ...string) (*agent, error) {
	dir, err := os.MkdirTemp(b.work, "log-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a log directory: %w", err)
	}
	conf := filepath.Join(dir, "agent.conf")
	if !strings.HasPrefix(string(set), "sources") {
		set = "sources = [\"usdt\"]\n" + set
	}
	if err := os.WriteFile(conf, []byte(set), 0o644); err != nil {
		return nil, fmt.Errorf("cannot write a configuration: %w", err)
	}
	socket := filepath.Join(dir, "notify")
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("cannot listen for readiness: %w", err)
	}
	defer func() { _ = ready.Close() }() // no longer needed
	a := &agent{dir: filepath.Join(dir, "log"), exited: make(chan error, 1)}
	arguments := []string{"--config", conf, "--log-dir", a.dir}
	for _, l := range libraries {
		arguments = append(arguments, "--library", l)
	}
	a.command = exec.Command(b.agent, arguments...)
	a.command.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket)
	a.command.Stderr = &a.stderr
	begin := time.Now()
	if err := a.command.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the agent: %w", err)
	}
	go func() { a.exited <- a.command.Wait() }()
	notified := make(chan error, 1)
	go func() { notified <- awaitReady(ready) }()
	select {
	case err = <-notified:
	case err = <-a.exited:
		return nil, fmt.Errorf("cannot start the agent: %w\n%s", err, a.stderr.String())
	}
	a.attachedIn = time.Since(begin)
	if err != nil {
		_ = a.command.Process.Kill()
		return nil, fmt.Errorf("cannot start the agent: %w\n%s", err, a.stderr.String())
	}
	return a, nil
}

func awaitReady(c *net.UnixConn) error {
	if err := c.SetReadDeadline(time.Now().Add(startLimit)); err != nil {
		return err
	}
	for {
		var message [4096]byte
		n, err := c.Read(message[:])
		if err != nil {
			return fmt.Errorf("it did not get ready: %w", err)
		}
		if strings.Contains(string(message[:n]), "READY=1") {
			return nil
		}
	}
}

// stop ends the agent by SIGTERM. It must exit with status 0.
func (a *agent) stop() error {
	if err := a.command.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("cannot stop the agent: %w", err)
	}
	select {
	case err := <-a.exited:
		if err != nil {
			return fmt.Errorf("the agent failed: %w\n%s", err, a.stderr.String())
		}
		return nil
	case <-time.After(stopLimit):
		_ = a.command.Process.Kill()
		return fmt.Errorf("the agent did not stop within %v\n%s", stopLimit, a.stderr.String())
	}
}

// remove removes the agent's directory with its log.
func (a *agent) remove() error { return os.RemoveAll(filepath.Dir(a.dir)) }

// publisher is a running publisher that accepts commands.
type publisher struct {
	command *exec.Cmd
	stdin   *bufio.Writer
	stdout  *bufio.Reader
	close   func() error
}

// startPublisher starts a publisher with --commands.
func (b *bench) startPublisher(name string, arguments ...string) (*publisher, error) {
	command := exec.Command(b.publisher(name), append(arguments, "--commands")...)
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("cannot start publisher %s: %w", name, err)
	}
	p := &publisher{command: command, stdin: bufio.NewWriter(in), stdout: bufio.NewReader(out), close: in.Close}
	line, err := p.stdout.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "ready ") {
		return nil, fmt.Errorf("cannot start publisher %s: it printed %q: %w", name, line, errors.Join(err, p.stop()))
	}
	return p, nil
}

// fired is a publisher's report on a run.
type fired struct {
	cpu, wall    time.Duration
	hits, values int
}

// run fires n handshakes.
func (p *publisher) run(n int) (f fired, err error) {
	fmt.Fprintf(p.stdin, "run %d\n", n)
	if err := p.stdin.Flush(); err != nil {
		return f, fmt.Errorf("cannot send a command to a publisher: %w", err)
	}
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		return f, fmt.Errorf("cannot read from a publisher: %w", err)
	}
	var cpu, wall int64
	if _, err := fmt.Sscanf(line, "cpu_us %d wall_us %d hits %d values %d", &cpu, &wall, &f.hits, &f.values); err != nil {
		return f, fmt.Errorf("cannot parse a publisher's answer %q: %w", line, err)
	}
	f.cpu, f.wall = time.Duration(cpu)*time.Microsecond, time.Duration(wall)*time.Microsecond
	return f, nil
}

// stop ends the publisher.
func (p *publisher) stop() error {
	return errors.Join(p.close(), p.command.Wait())
}

// fire runs several processes of replay at a total rate for some seconds. The rate is in
// hits per second; 0 is full speed.
func (b *bench) fire(publishers, rate, seconds int) (f fired, err error) {
	commands := make([]*exec.Cmd, publishers)
	outputs := make([]bytes.Buffer, publishers)
	begin := time.Now()
	for i := range commands {
		commands[i] = exec.Command(b.publisher("replay"), "--fresh-ids",
			"--duration", strconv.Itoa(seconds), "--rate", strconv.Itoa(rate/publishers), b.trace)
		commands[i].Stdout, commands[i].Stderr = &outputs[i], os.Stderr
		if err := commands[i].Start(); err != nil {
			return f, fmt.Errorf("cannot start a publisher: %w", err)
		}
	}
	var errs []error
	for i := range commands {
		errs = append(errs, commands[i].Wait())
		f.cpu += commands[i].ProcessState.UserTime() + commands[i].ProcessState.SystemTime()
	}
	f.wall = time.Since(begin)
	for i := range outputs {
		m := regexp.MustCompile(`(?m)^hits (\d+) values (\d+)$`).FindSubmatch(outputs[i].Bytes())
		if m == nil {
			errs = append(errs, fmt.Errorf("cannot parse a publisher's output %q", outputs[i].String()))
			continue
		}
		hits, _ := strconv.Atoi(string(m[1]))
		values, _ := strconv.Atoi(string(m[2]))
		f.hits += hits
		f.values += values
	}
	return f, errors.Join(errs...)
}
