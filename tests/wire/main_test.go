// SPDX-License-Identifier: Apache-2.0

// Package wire tests the sources "wire" and "function" with the programs of the distribution: the
// built agent records their handshakes at the sockets, and the output of crauctl is
// compared with the report of each program. All servers are on loopback. The tests use none of
// the project's own code.
package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"crypto-auditing/tests/machine"
)

// patience is the timeout of each wait. Only on an emulated machine a wait is expected to
// take nearly as long.
var patience time.Duration

// bin is the directory of the built programs, buildError the error of their build.
var (
	bin        string
	buildError error
)

// everything includes programs with long builds and large packages, as "make soak" does.
var everything = flag.Bool("everything", false, "also test programs that make check does not install")

// byFunctions adds the source "function" to the agents of all tests: the reports of programs
// and the recorded operations must stay the same.
var byFunctions = flag.Bool("functions", false, "also record by functions in the tests of sockets")

// programs is the directory of prebuilt programs, for a machine without a compiler, and
// frontEnd the front end that its kernel must have.
var (
	programs = flag.String("programs", "", "use the programs in `DIRECTORY` instead of building them: crau-agent, crauctl, …")
	frontEnd = flag.String("front-end", "", "fail if handshakes are not recorded by the front end `NAME`")
)

func TestMain(m *testing.M) {
	if os.Getenv(floodVariable) != "" {
		flood()
		return
	}
	flag.DurationVar(&patience, "patience", 60*time.Second, "wait at most `DURATION` for each condition")
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if *programs != "" {
		bin = *programs
		return m.Run()
	}
	directory, err := os.MkdirTemp("", "crau-wire-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(directory)
	bin = directory
	if ready := machine.Prebuilt(); ready != "" {
		bin = filepath.Join(ready, "bin")
	} else if machine.MissingForBPF() == "" {
		build := exec.Command("go", "build", "-o", bin+"/", "./src/cmd/crau-agent", "./src/cmd/crauctl")
		build.Dir = "../.."
		if output, err := build.CombinedOutput(); err != nil {
			buildError = fmt.Errorf("%w\n%s", err, output)
		}
	}
	return m.Run()
}

// need ends the test if a command of the distribution is missing.
func need(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			if os.Geteuid() == 0 {
				t.Fatalf("the command %s is not installed: run make setup", name)
			}
			t.Skipf("the command %s is not installed", name)
		}
	}
}

// optional skips the test if a command is missing that make setup does not install because
// of its size. With -everything it is needed.
func optional(t *testing.T, names ...string) {
	t.Helper()
	if *everything {
		need(t, names...)
	}
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("the command %s is not installed", name)
		}
	}
}

// large skips a test of programs with large packages or long builds, unless -everything is
// given.
func large(t *testing.T, names ...string) {
	t.Helper()
	if !*everything {
		t.Skipf("needs programs that make check does not install (%s): run make soak", strings.Join(names, ", "))
	}
	need(t, names...)
}

// buffer is the output of a program. It may be read while the program runs.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
	// pid is the program's process if start started it.
	pid int
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// waitFor waits for a condition.
func waitFor(t *testing.T, what string, condition func() bool, more func() string) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timeout after %v: %s\n%s", patience, what, more())
		}
	}
}

// start starts a program that runs until the test ends.
func start(t *testing.T, arguments ...string) *buffer {
	t.Helper()
	return startAs(t, nil, arguments...)
}

// startAs is start as another user, unless id is nil.
func startAs(t *testing.T, id *syscall.Credential, arguments ...string) *buffer {
	t.Helper()
	output := &buffer{}
	command := exec.Command(arguments[0], arguments[1:]...)
	command.Stdout, command.Stderr = output, output
	command.SysProcAttr = &syscall.SysProcAttr{Credential: id}
	// Children may outlive it and hold its output open.
	command.WaitDelay = time.Second
	// A server that reads its input must not reach the end.
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	output.pid = command.Process.Pid
	t.Cleanup(func() {
		// The signal lets it end its children and clean up.
		_ = command.Process.Signal(syscall.SIGTERM)
		last := time.AfterFunc(5*time.Second, func() { _ = command.Process.Kill() })
		_ = command.Wait()
		last.Stop()
		stdin.Close()
		if t.Failed() {
			t.Logf("%s: %s", filepath.Base(arguments[0]), output)
		}
	})
	return output
}

// freePort returns a port of 127.0.0.1 on which nothing listens.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// listening waits until something listens on a port.
func listening(t *testing.T, port string, output *buffer) {
	t.Helper()
	inTable(t, "tcp", "0A", port, output)
}

// bound waits until something receives datagrams at a port.
func bound(t *testing.T, port string, output *buffer) {
	t.Helper()
	inTable(t, "udp", "07", port, output)
}

// inTable waits until a port is in a state in the kernel's table of a protocol.
func inTable(t *testing.T, protocol, state, port string, output *buffer) {
	t.Helper()
	waitFor(t, "a server listens", func() bool {
		// The test does not connect, because some servers serve only one client.
		table, err := os.ReadFile("/proc/net/" + protocol)
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if _, err := fmt.Sscan(port, &n); err != nil {
			t.Fatal(err)
		}
		six, _ := os.ReadFile("/proc/net/" + protocol + "6")
		for line := range strings.Lines(string(table) + string(six)) {
			fields := strings.Fields(line)
			if len(fields) > 3 && fields[3] == state && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", n)) {
				return true
			}
		}
		return false
	}, output.String)
}

// output runs a program with input until it exits, and returns its output.
func output(t *testing.T, input string, arguments ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, arguments[0], arguments[1:]...)
	command.Stdin = strings.NewReader(input)
	b, err := command.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("%v does not end: %v\n%s", arguments, err, b)
	}
	return string(b)
}

// agent is a running agent.
type agent struct {
	log, socket string
	stderr      *buffer
	// claimed are the contexts that recorded returned.
	claimed map[string]bool
}

// startAgent starts an agent that records at sockets, and from other sources if they are given.
func startAgent(t *testing.T, others ...string) *agent {
	t.Helper()
	if *byFunctions && len(others) == 0 {
		others = []string{"function"}
	}
	return startAgentOn(t, fmt.Sprintf("sources = [\"%s\"]\n", strings.Join(append(others, "wire"), `", "`)))
}

// startAgentOn starts an agent with a configuration.
func startAgentOn(t *testing.T, text string) *agent {
	t.Helper()
	if lacks := machine.MissingForBPF(); lacks != "" {
		t.Skip(lacks)
	}
	if buildError != nil {
		t.Fatal(buildError)
	}
	directory := t.TempDir()
	a := &agent{log: filepath.Join(directory, "log"), socket: filepath.Join(directory, "socket"), claimed: map[string]bool{}}
	config := filepath.Join(directory, "agent.conf")
	if err := os.WriteFile(config, []byte(text+"max_size = 0\nkeep_free = 0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	a.stderr = start(t, filepath.Join(bin, "crau-agent"), "--config", config, "--log-dir", a.log, "--coalesce-window", "20ms", "--varlink", a.socket)
	waitFor(t, "the agent records", func() bool { return strings.Contains(a.stderr.String(), "msg=recording ") }, a.stderr.String)
	if *frontEnd != "" && strings.Contains(text, `"wire`) {
		if status := output(t, "", filepath.Join(bin, "crauctl"), "status", "--socket", a.socket); !regexp.MustCompile("Sockets: by " + regexp.QuoteMeta(*frontEnd) + "[;\n]").MatchString(status) {
			t.Fatalf("handshakes are not recorded by the front end %s:\n%s", *frontEnd, status)
		}
	}
	return a
}

// lostHits returns how many hits the agent reports as lost.
func (a *agent) lostHits(t *testing.T) (n uint64) {
	t.Helper()
	text := output(t, "", filepath.Join(bin, "crauctl"), "status", "--socket", a.socket, "-o", "json")
	var status struct {
		Lost *[]struct{ Hits uint64 }
	}
	if err := json.Unmarshal([]byte(text), &status); err != nil || status.Lost == nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, l := range *status.Lost {
		n += l.Hits
	}
	return n
}

// query returns the operations that match, of an executable.
func (a *agent) query(t *testing.T, executable string, matches ...string) []operation {
	t.Helper()
	text := output(t, "", append([]string{filepath.Join(bin, "crauctl"), "query", "--directory", a.log, "-q", "-o", "json", "--executable", executable}, matches...)...)
	var all []operation
	for d := json.NewDecoder(strings.NewReader(text)); d.More(); {
		var o operation
		if err := d.Decode(&o); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		all = append(all, o)
	}
	return all
}

// operation is an operation as crauctl prints it.
type operation struct {
	Context    string         `json:"context"`
	Executable string         `json:"executable"`
	Events     map[string]any `json:"events"`
	Spans      []operation    `json:"spans"`
}

// recorded waits until an operation of an executable is recorded with the values, and returns
// it. Each operation is returned at most once.
func (a *agent) recorded(t *testing.T, executable string, values ...string) operation {
	t.Helper()
	var found operation
	waitFor(t, fmt.Sprintf("%s is recorded with %q", executable, values), func() bool {
		for _, found = range a.query(t, executable, values...) {
			if found.Context != "" && !a.claimed[found.Context] {
				a.claimed[found.Context] = true
				return true
			}
		}
		return false
	}, func() string { return fmt.Sprintf("%+v\n%s", a.query(t, executable), a.stderr) })
	return found
}
