// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"time"
)

// load is what became of a load.
type load struct {
	fired
	recorded
	rate     float64 // hits a second
	agentCPU time.Duration
	rss      int // KiB, at its highest
	bytes    int64
}

func (l *load) lossless() bool { return l.lost == 0 }

// valuesRecorded is exact without loss; the headers count new contexts as well.
func (l *load) valuesRecorded() float64 {
	return float64(l.events) * valuesPerHandshake / eventsPerHandshake
}

// underLoad fires at an agent of its own and looks at both afterwards.
func (b *bench) underLoad(publishers, rate, seconds int) (*load, error) {
	a, err := b.startAgent(b.publisher("replay"))
	if err != nil {
		return nil, err
	}
	pid := a.command.Process.Pid
	time.Sleep(settle)
	l := &load{}
	before, err := cpu(pid)
	if err != nil {
		return nil, errors.Join(err, a.stop())
	}
	if l.fired, err = b.fire(publishers, rate, seconds); err != nil {
		return nil, errors.Join(err, a.stop())
	}
	// What is in the ring and in the window costs time too.
	time.Sleep(3 * settle)
	time.Sleep(200 * time.Millisecond)
	after, err := cpu(pid)
	if err != nil {
		return nil, errors.Join(err, a.stop())
	}
	l.agentCPU = after - before
	l.rate = float64(l.hits) / float64(seconds)
	if l.rss, err = status(fmt.Sprintf("/proc/%d/status", pid), "VmHWM"); err != nil {
		return nil, errors.Join(err, a.stop())
	}
	// An agent that stops may seal the segment, which makes it smaller.
	if l.bytes, err = logSize(a.dir); err != nil {
		return nil, errors.Join(err, a.stop())
	}
	if err := a.stop(); err != nil {
		return nil, err
	}
	if l.recorded, err = readLog(a.dir); err != nil {
		return nil, err
	}
	if want := uint64(l.hits / hitsPerHandshake * eventsPerHandshake); l.events+l.lost != want {
		return nil, fmt.Errorf("%d events were recorded and %d lost, but %d fired: see %s", l.events, l.lost, want, a.dir)
	}
	return l, a.remove()
}

func (l *load) String() string {
	s := fmt.Sprintf("%.0f hits/s, %.0f values/s", l.rate, l.rate*valuesPerHandshake/hitsPerHandshake)
	if !l.lossless() {
		s += fmt.Sprintf(", %.2f %% lost", 100*float64(l.lost)/float64(l.lost+l.events))
	}
	return s
}

func (l *load) cpuPerValue() float64 {
	return float64(l.agentCPU.Microseconds()) / l.valuesRecorded()
}

// climb fires at full speed and, as long as something is lost, at a smaller
// part of what was recorded then. It returns the first and the lossless load.
func (b *bench) climb(publishers, seconds int) (full, best *load, err error) {
	if full, err = b.underLoad(publishers, 0, seconds); err != nil {
		return nil, nil, err
	}
	best = full
	kept := full.rate * float64(full.events) / float64(full.events+full.lost)
	for _, share := range []float64{0.9, 0.7, 0.5, 0.3, 0.15} {
		if best.lossless() {
			return full, best, nil
		}
		if best, err = b.underLoad(publishers, int(kept*share), seconds); err != nil {
			return nil, nil, err
		}
	}
	if !best.lossless() {
		return nil, nil, fmt.Errorf("even at %v", best)
	}
	return full, best, nil
}

// onePublisher measures the agent at 100,000 hits a second and at full speed.
func (b *bench) onePublisher() error {
	const pace = 100000
	seconds := b.pick(4, 10)
	paced, err := b.underLoad(1, pace, seconds)
	if err != nil {
		return err
	}
	full, best, err := b.climb(1, seconds)
	if err != nil {
		return err
	}
	if !paced.lossless() {
		best = &load{}
	}
	b.figures.add(figure{"lossless_hits_per_s", best.rate, pace, atLeast, fmt.Sprintf(
		"1 publisher, %d s each: %v; at full speed %v", seconds, paced, full)})
	b.figures.add(figure{"agent_cpu_us_per_event", paced.cpuPerValue(), 1, atMost, fmt.Sprintf(
		"of a value, at %v", paced)})
	b.figures.add(figure{"agent_cpu_us_per_event_full_speed", full.cpuPerValue(), 1, atMost, fmt.Sprintf(
		"of a value, at %v", full)})
	b.figures.add(figure{"agent_rss_mib", float64(max(paced.rss, full.rss, best.rss)) / 1024, 64, atMost, fmt.Sprintf(
		"at its highest; after 100,000 hits/s %.1f, after full speed %.1f", float64(paced.rss)/1024, float64(full.rss)/1024)})
	b.figures.add(figure{"bytes_per_event", float64(paced.bytes) / paced.valuesRecorded(), 10, atMost, fmt.Sprintf(
		"of a value, active segments with headers: %d bytes, %d chunks; at full speed %.2f",
		paced.bytes, paced.chunks, float64(full.bytes)/full.valuesRecorded())})
	return nil
}

// twoPublishers measures the agent under two publishers, and more on request
// of the machine: with as many as cores they leave the agent no core.
func (b *bench) twoPublishers() error {
	seconds := b.pick(4, 10)
	full, best, err := b.climb(2, seconds)
	if err != nil {
		return err
	}
	b.figures.add(figure{"lossless_values_per_s", best.rate * valuesPerHandshake / hitsPerHandshake, 250000, atLeast,
		fmt.Sprintf("2 publishers, %d s each; at full speed %v", seconds, full)})
	return nil
}
