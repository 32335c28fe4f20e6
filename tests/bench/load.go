// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"time"

	"crypto-auditing/tests/bench/usage"
)

// load is the result of a load test.
type load struct {
	fired
	recorded
	rate     float64 // hits per second
	agentCPU time.Duration
	rss      int // peak, in KiB
	bytes    int64
}

func (l *load) lossless() bool { return l.lost == 0 }

// valuesRecorded returns the number of recorded values. It is exact without losses; chunk
// headers also count new contexts.
func (l *load) valuesRecorded() float64 {
	return float64(l.events) * valuesPerHandshake / eventsPerHandshake
}

// underLoad starts an agent, fires probes, and measures both.
func (b *bench) underLoad(set settings, publishers, rate, seconds int) (*load, error) {
	a, err := b.startAgent(set, b.publisher("replay"))
	if err != nil {
		return nil, err
	}
	pid := a.command.Process.Pid
	time.Sleep(settle)
	l := &load{}
	before, err := usage.CPU(pid)
	if err != nil {
		return nil, errors.Join(err, a.stop())
	}
	if l.fired, err = b.fire(publishers, rate, seconds); err != nil {
		return nil, errors.Join(err, a.stop())
	}
	// Include the processing of what is still in the ring and in the window.
	time.Sleep(300 * time.Millisecond)
	after, err := usage.CPU(pid)
	if err != nil {
		return nil, errors.Join(err, a.stop())
	}
	l.agentCPU = after - before
	l.rate = float64(l.hits) / float64(seconds)
	if l.rss, err = usage.Status(fmt.Sprintf("/proc/%d/status", pid), "VmHWM"); err != nil {
		return nil, errors.Join(err, a.stop())
	}
	// Measure the size first: stopping may seal the segment, which makes it smaller.
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

// firstLossless tries one rate after another until nothing is lost.
func (b *bench) firstLossless(set settings, publishers, seconds int, rates ...float64) (l *load, err error) {
	for _, rate := range rates {
		if l, err = b.underLoad(set, publishers, int(rate), seconds); err != nil {
			return nil, err
		}
		if l.lossless() {
			return l, nil
		}
	}
	return nil, fmt.Errorf("events were lost at all rates; at the lowest: %v", l)
}

// ladder returns the rates to try, highest first.
func ladder(highest float64) []float64 {
	return []float64{highest, 0.9 * highest, 0.7 * highest, 0.5 * highest, 0.3 * highest, 0.15 * highest}
}

// rateLimit is a little below the default limit of hits per second and process.
const rateLimit = 0.96 * 250000

// onePublisher measures the agent at 100,000 hits per second, at the default limit per
// process, and at full speed without that limit.
func (b *bench) onePublisher() error {
	const hitRate = 100000
	seconds := b.pick(4, 10)
	paced, err := b.underLoad(defaults, 1, hitRate, seconds)
	if err != nil {
		return err
	}
	best, err := b.firstLossless(defaults, 1, seconds, ladder(rateLimit)...)
	if err != nil {
		return err
	}
	full, err := b.underLoad(unlimited, 1, 0, seconds)
	if err != nil {
		return err
	}
	most := full
	if !full.lossless() {
		kept := full.rate * float64(full.events) / float64(full.events+full.lost)
		if most, err = b.firstLossless(unlimited, 1, seconds, ladder(kept)[1:]...); err != nil {
			return err
		}
	}
	if !paced.lossless() {
		best = &load{}
	}
	b.figures.AtLeast("lossless_hits_per_s", best.rate, hitRate, fmt.Sprintf(
		"1 publisher, defaults (rate_limit 250,000), %d s each: %v; %v", seconds, paced, best))
	b.figures.Add("lossless_hits_per_s_unlimited", most.rate, fmt.Sprintf(
		"1 publisher, rate_limit off; at full speed %v", full))
	b.figures.AtMost("agent_cpu_us_per_event", paced.cpuPerValue(), 1, fmt.Sprintf(
		"per value, at %v", paced))
	b.figures.AtMost("agent_cpu_us_per_event_full_speed", full.cpuPerValue(), 1, fmt.Sprintf(
		"per recorded value, rate_limit off, at %v", full))
	b.figures.AtMost("agent_rss_mib", float64(max(paced.rss, full.rss, best.rss))/1024, 64, fmt.Sprintf(
		"peak; after 100,000 hits/s %.1f, after full speed %.1f", float64(paced.rss)/1024, float64(full.rss)/1024))
	b.figures.AtMost("bytes_per_event", float64(paced.bytes)/paced.valuesRecorded(), 10, fmt.Sprintf(
		"per value, active segments with headers: %d bytes, %d chunks; at full speed %.2f",
		paced.bytes, paced.chunks, float64(full.bytes)/full.valuesRecorded()))
	return nil
}

// severalPublishers measures the highest lossless rate of two and of four publishers with
// default settings.
func (b *bench) severalPublishers() error {
	seconds := b.pick(4, 10)
	for _, publishers := range []int{2, 4} {
		best, err := b.firstLossless(defaults, publishers, seconds, ladder(float64(publishers)*rateLimit)...)
		if err != nil {
			return err
		}
		value := best.rate * valuesPerHandshake / hitsPerHandshake
		note := fmt.Sprintf("%d publishers, defaults, %d s: %v", publishers, seconds, best)
		if publishers == 2 {
			b.figures.AtLeast("lossless_values_per_s", value, 250_000, note)
		} else {
			b.figures.Add("lossless_values_per_s_4", value, note)
		}
	}
	return nil
}

// soak measures the peak memory of the agent in a minute of load, in which segments are
// completed and sealed.
func (b *bench) soak() error {
	const hitRate = 160000
	seconds := b.pick(15, 60)
	l, err := b.underLoad(defaults, 2, hitRate, seconds)
	if err != nil {
		return err
	}
	b.figures.AtMost("soak_rss_mib", float64(l.rss)/1024, 64, fmt.Sprintf(
		"peak in %d s, 2 publishers, sealing included: %v", seconds, l))
	return nil
}
