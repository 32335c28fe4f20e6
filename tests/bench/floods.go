// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"crypto-auditing/tests/bench/usage"
)

// flood measures the agent while two processes begin 40,000 handshakes per second in
// total, or as many as the machine can, and whether the handshakes of another process are
// recorded meanwhile.
func (b *bench) flood() error {
	const rate, attackers, period = 40_000, 2, 50 * time.Millisecond
	seconds := b.pick(5, 15)
	w, err := newTraffic()
	if err != nil {
		return fmt.Errorf("cannot make connections: %w", err)
	}
	a, err := b.startAgent(watching)
	if err != nil {
		return err
	}
	pid := a.command.Process.Pid
	before, err := usage.CPU(pid)
	if err != nil {
		return errors.Join(err, a.stop())
	}
	begin := time.Now()
	ended := make(chan error)
	outputs := make([]bytes.Buffer, attackers)
	for i := range attackers {
		command := exec.Command(b.flooder, "--rate", strconv.Itoa(rate/attackers), "--duration", strconv.Itoa(seconds))
		command.Stdout, command.Stderr = &outputs[i], os.Stderr
		go func() { ended <- command.Run() }()
	}
	made := 0
	for running := attackers; running > 0; {
		select {
		case runErr := <-ended:
			err = errors.Join(err, runErr)
			running--
		case <-time.After(period):
			if _, handshakeErr := w.handshakes(1); handshakeErr != nil {
				err = errors.Join(err, handshakeErr)
				continue
			}
			made++
		}
	}
	after, cpuErr := usage.CPU(pid)
	took := time.Since(begin)
	rss, statusErr := usage.Status(fmt.Sprintf("/proc/%d/status", pid), "VmHWM")
	if err := errors.Join(err, cpuErr, statusErr, a.stop(), w.close()); err != nil {
		return err
	}
	connections := 0
	for i := range outputs {
		var n int
		if _, err := fmt.Sscanf(outputs[i].String(), "connections %d", &n); err != nil {
			return fmt.Errorf("cannot parse the output %q of a flood: %w", outputs[i].String(), err)
		}
		connections += n
	}
	kept, err := handshakesOfThisProgram(a.dir)
	if err != nil {
		return err
	}
	used := after - before
	b.figures.Add("wire_flood_agent_cpu", used.Seconds()/took.Seconds(), fmt.Sprintf(
		"of a processor, at %.0f connections/s that begin a handshake, from %d processes; %.2f µs per connection",
		float64(connections)/took.Seconds(), attackers, float64(used.Microseconds())/float64(connections)))
	b.figures.AtMost("wire_flood_rss_mib", float64(rss)/1024, 128, "peak of the agent")
	b.figures.AtLeast("wire_flood_kept", float64(kept)/float64(2*made), 1, fmt.Sprintf(
		"share of another process's handshakes that were recorded meanwhile: %d sides of %d handshakes", kept, made))
	return a.remove()
}

// handshakesOfThisProgram counts the sides of this program's handshakes in a log.
func handshakesOfThisProgram(dir string) (n int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	paths, err := segments(dir)
	if err != nil {
		return 0, err
	}
	for _, path := range paths {
		f, err := follow(path)
		if err != nil {
			return 0, err
		}
		err = f.each(func() {}, func(g *group) error {
			if g.Name == "tls::handshake" && string(g.Executable) == filepath.Base(self) {
				n++
			}
			return nil
		})
		f.close()
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}
