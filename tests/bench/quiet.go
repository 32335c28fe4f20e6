// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"time"

	"crypto-auditing/tests/bench/figures"
	"crypto-auditing/tests/bench/usage"
)

// idle measures the context switches of an attached agent while no probe fires.
func (b *bench) idle() error {
	// An idle agent has one timer, of ten seconds.
	seconds := b.pick(10, 20)
	rate, err := b.idleSwitches(defaults, seconds, b.publisher("replay"))
	if err != nil {
		return err
	}
	b.figures.AtMost("idle_switches_per_s", rate, 5, fmt.Sprintf("all threads, voluntary and involuntary, over %d s", seconds))
	return nil
}

// idleSwitches returns the context switches per second of an agent that has nothing to
// record.
func (b *bench) idleSwitches(set settings, seconds int, libraries ...string) (float64, error) {
	a, err := b.startAgent(set, libraries...)
	if err != nil {
		return 0, err
	}
	// Wait until the data that it wrote at start is synced.
	time.Sleep(time.Second)
	pid := a.command.Process.Pid
	before, err := usage.Switches(pid)
	if err != nil {
		return 0, errors.Join(err, a.stop())
	}
	time.Sleep(time.Duration(seconds) * time.Second)
	after, err := usage.Switches(pid)
	if err := errors.Join(err, a.stop()); err != nil {
		return 0, err
	}
	return float64(after-before) / float64(seconds), a.remove()
}

// attach measures the time from the start of the process to READY=1 with ten libraries,
// and with the source wire in addition.
func (b *bench) attach() error {
	libraries := []string{b.publisher("libreplay.so")}
	for i := 1; i < 10; i++ {
		libraries = append(libraries, b.publisher(fmt.Sprintf("libreplay%d.so", i)))
	}
	var times [2]figures.Sample
	for range b.pick(5, 9) {
		for i, set := range []settings{defaults, "sources = [\"usdt\", \"wire\"]\n"} {
			a, err := b.startAgent(set, libraries...)
			if err != nil {
				return err
			}
			times[i] = append(times[i], float64(a.attachedIn.Microseconds())/1000)
			if err := a.stop(); err != nil {
				return err
			}
			if err := a.remove(); err != nil {
				return err
			}
		}
	}
	how := fmt.Sprintf("%d libraries, start of the process to READY=1; ", len(libraries))
	b.figures.AtMost("attach_ms", times[0].Median(), 300, how+times[0].Spread())
	b.figures.Add("attach_all_ms", times[1].Median(), "also with the source wire, whose programs the kernel verifies; "+times[1].Spread())
	return nil
}
