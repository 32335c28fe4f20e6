// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"crypto-auditing/tests/bench/counter"
	"crypto-auditing/tests/bench/figures"
)

// settle is the pause after attaching or detaching.
const settle = 30 * time.Millisecond

// errLost is the error for a block that cannot be compared because a lost hit costs less.
// The agent loses hits if other programs occupy the processors.
var errLost = errors.New("events were lost")

// recorded checks the number of handshakes in the log of a stopped agent, and removes the
// log.
func (a *agent) recorded(handshakes int) error {
	r, err := readLog(a.dir)
	if err != nil {
		return err
	}
	want := uint64(handshakes * eventsPerHandshake)
	if r.events+r.lost != want {
		return fmt.Errorf("%d events were recorded and %d lost, but %d fired: see %s", r.events, r.lost, want, a.dir)
	}
	if r.lost != 0 {
		return errors.Join(fmt.Errorf("%w: %d of %d", errLost, r.lost, want), a.remove())
	}
	return a.remove()
}

// Counts of the recorded GnuTLS handshake.
const (
	hitsPerHandshake   = 28
	valuesPerHandshake = 46
	eventsPerHandshake = 65 // the values and 19 new contexts
)

// costWithAgent measures a block, which fires a number of handshakes, while an agent is
// attached to a file. It also returns the sites to which the agent is attached. The error
// is errLost if the agent lost a hit.
func (b *bench) costWithAgent(file string, block func() (float64, error), handshakes int) (float64, []counter.Sites, error) {
	a, err := b.startAgent(defaults, file)
	if err != nil {
		return 0, nil, err
	}
	sites, err := counter.Attached(file)
	if err != nil {
		return 0, nil, errors.Join(err, a.stop())
	}
	cost, err := block()
	if err := errors.Join(err, a.stop()); err != nil {
		return 0, sites, err
	}
	return cost, sites, a.recorded(handshakes)
}

// probeCost compares the cost of a hit for its process while the agent is attached with
// the cost while the counting program is attached. The three kinds of blocks alternate.
// All bursts of a block fit into the ring together, so that no hit is cheap because it was
// lost. They are separated by pauses in which the agent drains the ring.
func (b *bench) probeCost() error {
	const burst, bursts = 400, 5
	rounds := b.pick(8, 40)
	file, err := filepath.EvalSymlinks(b.publisher("replay"))
	if err != nil {
		return err
	}
	p, err := b.startPublisher("replay", "--fresh-ids", b.trace)
	if err != nil {
		return err
	}
	// block returns the cost of a hit in nanoseconds. The first hits are not measured:
	// they include the cost of rewriting the sites in the kernel.
	block := func() (float64, error) {
		time.Sleep(settle)
		if _, err := p.run(burst / 4); err != nil {
			return 0, err
		}
		var sum fired
		for range bursts {
			f, err := p.run(burst)
			if err != nil {
				return 0, err
			}
			sum.cpu += f.cpu
			sum.hits += f.hits
			time.Sleep(settle / 3)
		}
		return float64(sum.cpu.Nanoseconds()) / float64(sum.hits), nil
	}
	var sites []counter.Sites
	withAgent := func() (cost float64, err error) {
		cost, sites, err = b.costWithAgent(file, block, bursts*burst+burst/4)
		return cost, err
	}
	withCounter := func() (float64, error) {
		c, err := counter.Attach(file, sites)
		if err != nil {
			return 0, err
		}
		cost, err := block()
		hits, countErr := c.Hits()
		if err := errors.Join(err, countErr, c.Close()); err != nil {
			return 0, err
		}
		if want := uint64((bursts*burst + burst/4) * hitsPerHandshake); hits != want {
			return 0, fmt.Errorf("the counting program counted %d of %d hits", hits, want)
		}
		return cost, nil
	}
	// The first round warms up and finds the sites.
	if _, err := withAgent(); err != nil && !errors.Is(err, errLost) {
		return errors.Join(err, p.stop())
	}
	var without, counting, ours, ratios figures.Sample
	for discarded := 0; len(ratios) < rounds; {
		var cost [3]float64
		for i, measure := range []func() (float64, error){block, withCounter, withAgent} {
			if cost[i], err = measure(); err != nil {
				break
			}
		}
		if errors.Is(err, errLost) && discarded < rounds {
			discarded++
			continue
		}
		if err != nil {
			return errors.Join(err, p.stop())
		}
		without = append(without, cost[0])
		counting = append(counting, cost[1]-cost[0])
		ours = append(ours, cost[2]-cost[0])
		ratios = append(ratios, (cost[2]-cost[0])/(cost[1]-cost[0]))
	}
	b.figures.AtMost("probe_cost_ratio", ratios.Median(), 2.0, ratios.Spread()+fmt.Sprintf(
		"; medians: agent %.0f ns, counting program %.0f ns, nothing attached %.1f ns a hit",
		ours.Median(), counting.Median(), without.Median()))
	b.figures.Add("probe_cost_ns", ours.Median(), "added to a hit, "+ours.Spread())
	b.figures.Add("probe_cost_counting_ns", counting.Median(), "added to a hit, "+counting.Spread())
	return p.stop()
}

// handshakeCost compares the processor time of a real handshake that fires the recorded
// probes while the agent is attached with the mean of the blocks before and after, without
// it. The same comparison with the counting program gives the cost of the kernel's probes.
// The publisher checks the semaphores.
func (b *bench) handshakeCost() error {
	const blockTime = 250 * time.Millisecond
	rounds := b.pick(6, 40)
	file, err := filepath.EvalSymlinks(b.publisher("handshake"))
	if err != nil {
		return err
	}
	p, err := b.startPublisher("handshake", "--memory", "--probes", b.trace)
	if err != nil {
		return err
	}
	n := 100
	f, err := p.run(n)
	if err != nil {
		return errors.Join(err, p.stop())
	}
	n = max(n, int(float64(n)*float64(blockTime)/float64(f.cpu)))
	// block returns the cost of a handshake in microseconds.
	block := func() (float64, error) {
		time.Sleep(settle)
		if _, err := p.run(n / 20); err != nil {
			return 0, err
		}
		f, err := p.run(n)
		return float64(f.cpu.Microseconds()) / float64(n), err
	}
	var sites []counter.Sites
	withAgent := func() (cost float64, err error) {
		cost, sites, err = b.costWithAgent(file, block, n+n/20)
		return cost, err
	}
	withCounter := func() (float64, error) {
		c, err := counter.Attach(file, sites)
		if err != nil {
			return 0, err
		}
		cost, err := block()
		return cost, errors.Join(err, c.Close())
	}
	before, err := block()
	if err != nil {
		return errors.Join(err, p.stop())
	}
	var ratios, added [2]figures.Sample
	var without figures.Sample
	for discarded := 0; len(ratios[1]) < rounds; {
		for i, measure := range []func() (float64, error){withAgent, withCounter} {
			with, err := measure()
			if errors.Is(err, errLost) && discarded < rounds {
				discarded++
				break
			}
			if err != nil {
				return errors.Join(err, p.stop())
			}
			after, err := block()
			if err != nil {
				return errors.Join(err, p.stop())
			}
			ratios[i] = append(ratios[i], with/((before+after)/2))
			added[i] = append(added[i], with-(before+after)/2)
			without = append(without, after)
			before = after
		}
	}
	b.figures.AtMost("handshake_cost_ratio", ratios[0].Median(), 1.06, ratios[0].Spread()+fmt.Sprintf(
		"; medians: %.1f µs added to %.0f µs (TLS 1.3, client and server, %d hits)",
		added[0].Median(), without.Median(), hitsPerHandshake))
	b.figures.Add("handshake_cost_counting_ratio", ratios[1].Median(), ratios[1].Spread()+fmt.Sprintf(
		"; the counting program adds %.1f µs", added[1].Median()))
	return p.stop()
}
