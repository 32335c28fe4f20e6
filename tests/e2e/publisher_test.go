// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"crypto-auditing/tests/machine"
)

// process is a running publisher.
type process struct {
	command *exec.Cmd
	stdin   io.WriteCloser
	stdout  *bufio.Reader
	stderr  *machine.Output
	counts  string
	timer   *time.Timer
	done    bool
}

// start starts a publisher. With --wait or --commands, it waits until the publisher has
// printed that it is ready.
func start(t *testing.T, name string, arguments ...string) *process {
	t.Helper()
	return startAs(t, publisher(name), nil, arguments...)
}

// startAs starts a publisher from a file, with the attributes of a process.
func startAs(t *testing.T, name string, as *syscall.SysProcAttr, arguments ...string) *process {
	t.Helper()
	needRecording(t)
	directory := openDirectory(t)
	if err := os.Chmod(directory, 0o777); err != nil {
		t.Fatal(err)
	}
	p := &process{counts: filepath.Join(directory, "counts"), stderr: &machine.Output{}}
	p.command = exec.Command(name, append([]string{"--counts", p.counts}, arguments...)...)
	p.command.SysProcAttr = as
	p.command.Stderr = p.stderr
	var err error
	if p.stdin, err = p.command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout = bufio.NewReader(stdout)
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	p.timer = time.AfterFunc(patience, func() { p.command.Process.Kill() })
	t.Cleanup(func() {
		if !p.done {
			p.command.Process.Kill()
			p.command.Wait()
		}
	})
	for _, argument := range arguments {
		if argument == "--wait" || argument == "--commands" {
			if line := p.line(t); line != fmt.Sprintf("ready %d\n", p.command.Process.Pid) {
				t.Fatalf("%s printed %q, want that it is ready", name, line)
			}
		}
	}
	return p
}

// line reads a line of the publisher's output.
func (p *process) line(t *testing.T) string {
	t.Helper()
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		t.Fatalf("cannot read from %v: %v\n%s", p.command, err, p.stderr)
	}
	return line
}

// fire makes a publisher started with --wait fire.
func (p *process) fire(t *testing.T) {
	t.Helper()
	if _, err := p.stdin.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
}

// run makes a publisher started with --commands run n operations, and returns their hits.
func (p *process) run(t *testing.T, n int) (hits uint64) {
	t.Helper()
	fmt.Fprintf(p.stdin, "run %d\n", n)
	line := p.line(t)
	var ignored uint64
	if _, err := fmt.Sscanf(line, "cpu_us %d wall_us %d hits %d", &ignored, &ignored, &hits); err != nil {
		t.Fatalf("%v answered %q", p.command, line)
	}
	return hits
}

// finish waits until the publisher ends, and returns its counts and the rest of its output.
func (p *process) finish(t *testing.T) (counts, []byte) {
	t.Helper()
	p.stdin.Close()
	printed, readErr := io.ReadAll(p.stdout)
	err := p.command.Wait()
	p.done = true
	p.timer.Stop()
	if err != nil || readErr != nil {
		t.Fatalf("%v: %v, %v\n%s", p.command, err, readErr, p.stderr)
	}
	c := p.count(t)
	if c.begun != c.done.hits {
		t.Fatalf("%v began %d hits and finished %d", p.command, c.begun, c.done.hits)
	}
	return c, printed
}

// kill kills a running publisher and returns its counts.
func (p *process) kill(t *testing.T) counts {
	t.Helper()
	if err := p.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := p.command.Wait(); err == nil {
		t.Fatalf("%v ended by itself", p.command)
	}
	p.done = true
	p.timer.Stop()
	return p.count(t)
}

// publish runs a publisher until it ends.
func publish(t *testing.T, name string, arguments ...string) counts {
	t.Helper()
	c, _ := start(t, name, arguments...).finish(t)
	return c
}

// counts has the hits of a publisher (tests/publishers/counts.h). An array counts as 16
// values at most.
type counts struct {
	done  number
	begun uint64 // hits
	// checked counts the pages that were examined before they were used; unmapped and
	// uncached count those in that state.
	checked, unmapped, uncached uint64
}

func (c *counts) add(d counts) {
	c.done.add(d.done)
	c.begun += d.begun
}

// count reads the current counts of the publisher.
func (p *process) count(t *testing.T) (c counts) {
	t.Helper()
	const (
		magic              = 0x31544e4355415243
		slots, size, first = 1024, 256, 4096
		probes             = 6
		newContext         = 0
		newContextWithData = 5
	)
	b, err := os.ReadFile(p.counts)
	if err != nil {
		t.Fatal(err)
	}
	word := func(at, n int) uint64 { return binary.LittleEndian.Uint64(b[at+8*n:]) }
	if len(b) != first+slots*size || word(0, 0) != magic {
		t.Fatalf("%s is not a file of counts", p.counts)
	}
	c.checked, c.unmapped, c.uncached = word(0, 5), word(0, 6), word(0, 7)
	for slot := range min(int(word(0, 3)), slots) {
		at := first + slot*size
		for probe := range probes {
			c.begun += word(at, 1+probe)
			done := word(at, 1+probes+probe)
			c.done.hits += done
			if probe == newContext || probe == newContextWithData {
				c.done.events += done
			}
		}
		c.done.events += word(at, 2+2*probes)
	}
	return c
}
