// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"crypto-auditing/tests/bench/figures"
	"crypto-auditing/tests/bench/usage"
)

// lone measures the cost of a handshake for an otherwise idle agent, which is the usual
// case: one every half second. The cost of a wake-up on an idle machine varies by more than
// the difference to be measured. Therefore a bare program is measured in the same run, half
// a period later each time.
func (b *bench) lone() error {
	const period = 500 * time.Millisecond
	handshakes := b.pick(24, 80)
	a, err := b.startAgent(defaults, b.publisher("replay"))
	if err != nil {
		return err
	}
	p, err := b.startPublisher("replay", "--fresh-ids", b.trace)
	if err != nil {
		return errors.Join(err, a.stop())
	}
	bare, err := b.startBare()
	if err != nil {
		return errors.Join(err, p.stop(), a.stop())
	}
	// Wait until the data that they wrote at start is synced.
	time.Sleep(time.Second)
	ours, theirs := meter{pid: a.command.Process.Pid}, meter{pid: bare.command.Process.Pid}
	err = errors.Join(ours.begin(), theirs.begin())
	ticker := time.NewTicker(period / 2)
	defer ticker.Stop()
	for range handshakes {
		<-ticker.C
		_, runErr := p.run(1)
		<-ticker.C
		err = errors.Join(err, runErr, bare.wake())
	}
	<-ticker.C
	err = errors.Join(err, ours.end(), theirs.end(), p.stop(), bare.stop(), a.stop())
	if err != nil {
		return err
	}
	r, err := readLog(a.dir)
	if want := uint64(handshakes * eventsPerHandshake); err == nil && r.events != want {
		err = fmt.Errorf("%d of %d events were recorded: see %s", r.events, want, a.dir)
	}
	if err != nil {
		return err
	}
	perHandshake := func(total float64) float64 { return total / float64(handshakes) }
	b.figures.AtMost("lone_handshake_ratio", float64(ours.cpu)/float64(theirs.cpu), 1.6, fmt.Sprintf(
		"agent %.0f µs, bare program %.0f µs; %d handshakes of %d hits, %v apart",
		perHandshake(float64(ours.cpu.Microseconds())), perHandshake(float64(theirs.cpu.Microseconds())),
		handshakes, hitsPerHandshake, period))
	b.figures.AtMost("lone_handshake_switches", perHandshake(float64(ours.switches)), 20, fmt.Sprintf(
		"all threads, voluntary and involuntary; bare program %s", figures.Number(perHandshake(float64(theirs.switches)))))
	return a.remove()
}

// meter measures the resource use of a process between begin and end.
type meter struct {
	pid      int
	cpu      time.Duration
	switches int
}

func (m *meter) begin() error {
	cpu, cpuErr := usage.CPU(m.pid)
	n, err := usage.Switches(m.pid)
	m.cpu, m.switches = -cpu, -n
	return errors.Join(cpuErr, err)
}

func (m *meter) end() error {
	cpu, cpuErr := usage.CPU(m.pid)
	n, err := usage.Switches(m.pid)
	m.cpu += cpu
	m.switches += n
	return errors.Join(cpuErr, err)
}

// bare is the running program of bare/.
type bare struct {
	command *exec.Cmd
	stdin   io.WriteCloser
}

func (b *bench) startBare() (*bare, error) {
	command := exec.Command(b.bare, b.trace, filepath.Join(b.work, "bare"))
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
		return nil, fmt.Errorf("cannot start the bare program: %w", err)
	}
	o := &bare{command, in}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return nil, fmt.Errorf("cannot start the bare program: it printed %q: %w", line, errors.Join(err, o.stop()))
	}
	return o, nil
}

// wake makes it do the minimum that a handshake requires of an agent.
func (o *bare) wake() error {
	_, err := o.stdin.Write([]byte{0})
	return err
}

func (o *bare) stop() error { return errors.Join(o.stdin.Close(), o.command.Wait()) }
