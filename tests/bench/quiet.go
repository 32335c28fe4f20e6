// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"time"

	"crypto-auditing/tests/bench/figures"
)

// idle counts how often an attached agent that nobody fires at wakes up.
func (b *bench) idle() error {
	seconds := b.pick(5, 10)
	a, err := b.startAgent(defaults, b.publisher("replay"))
	if err != nil {
		return err
	}
	// Its start is over: what it wrote then is synced.
	time.Sleep(time.Second)
	pid := a.command.Process.Pid
	before, err := switches(pid)
	if err != nil {
		return errors.Join(err, a.stop())
	}
	time.Sleep(time.Duration(seconds) * time.Second)
	after, err := switches(pid)
	if err := errors.Join(err, a.stop()); err != nil {
		return err
	}
	b.figures.AtMost("idle_switches_per_s", float64(after-before)/float64(seconds), 5,
		fmt.Sprintf("all threads, voluntary or not, over %d s", seconds))
	return a.remove()
}

// attach measures the time from the start of the process to READY=1 with ten
// libraries.
func (b *bench) attach() error {
	libraries := []string{b.publisher("libreplay.so")}
	for i := 1; i < 10; i++ {
		libraries = append(libraries, b.publisher(fmt.Sprintf("libreplay%d.so", i)))
	}
	var times figures.Sample
	for range b.pick(5, 9) {
		a, err := b.startAgent(defaults, libraries...)
		if err != nil {
			return err
		}
		times = append(times, float64(a.attachedIn.Microseconds())/1000)
		if err := a.stop(); err != nil {
			return err
		}
		if err := a.remove(); err != nil {
			return err
		}
	}
	b.figures.AtMost("attach_ms", times.Median(), 300,
		fmt.Sprintf("%d libraries, start of the process to READY=1; %s", len(libraries), times.Spread()))
	return nil
}
