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
	"strings"
	"time"

	"crypto-auditing/tests/bench/counter"
	"crypto-auditing/tests/bench/figures"
)

// byFunctions makes the agent record only by the functions of libraries.
const byFunctions settings = "sources = [\"function\"]\n"

// mappedLibrary returns the file of a library that a process uses.
func mappedLibrary(pid int, name string) (string, error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(maps)) {
		fields := strings.Fields(line)
		if path := fields[len(fields)-1]; strings.HasPrefix(filepath.Base(path), name) {
			return filepath.EvalSymlinks(path)
		}
	}
	return "", fmt.Errorf("process %d does not use %s", pid, name)
}

// stepped returns the functions of a library that are probed at an instruction that the
// kernel single-steps instead of emulating it.
func stepped(library string) (names []string, err error) {
	out, err := exec.Command("go", "run", "./src/cmd/crauctl", "probes", library).Output()
	if !bytes.Contains(out, []byte("INSTRUCTION")) {
		return nil, fmt.Errorf("cannot list the sites of %s: %w", library, err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "(stepped)") {
			names = append(names, strings.Fields(line)[0])
		}
	}
	return names, nil
}

// layer is a set of libraries that are recorded by functions, with the measurements.
type layer struct {
	libraries []string
	sites     [][]counter.Sites
	// events and traps are the numbers of events and hits of a handshake, both sides; 0 if
	// not known yet.
	events, traps uint64
	// ours has the ratios with the agent attached, counting those with the counting
	// program. added and addedCounting are in µs.
	ours, counting, added, addedCounting figures.Sample
}

// recorded checks that the log of a stopped agent has the given number of handshakes, all
// with the same number of events, and removes the log.
func (l *layer) recorded(a *agent, handshakes int) error {
	r, err := readLog(a.dir)
	if err != nil {
		return err
	}
	if r.lost != 0 {
		return errors.Join(fmt.Errorf("%w: %d", errLost, r.lost), a.remove())
	}
	if l.events == 0 {
		l.events = r.events / uint64(handshakes)
	}
	if r.events == 0 || r.events != l.events*uint64(handshakes) {
		return fmt.Errorf("%d events of %d handshakes were recorded, want %d per handshake: see %s", r.events, handshakes, l.events, a.dir)
	}
	return a.remove()
}

// functionCost compares the processor time of a handshake of the machine's OpenSSL, client
// and server in memory, while the agent records by the functions of libssl, then also by
// those of libcrypto, with the mean of the blocks before and after, without it. The same
// comparison with the counting program at the same sites gives the cost of the traps.
func (b *bench) functionCost() error {
	const blockTime = 250 * time.Millisecond
	rounds := b.pick(6, 40)
	p, err := b.startPublisher("handshake", "--memory", "--plain")
	if err != nil {
		return err
	}
	err = b.functionCostOf(p, rounds, blockTime)
	return errors.Join(err, p.stop())
}

func (b *bench) functionCostOf(p *publisher, rounds int, blockTime time.Duration) error {
	n := 100
	f, err := p.run(n)
	if err != nil {
		return err
	}
	n = max(n, int(float64(n)*float64(blockTime)/float64(f.cpu)))
	warm := n / 20
	// block returns the cost of a handshake in microseconds.
	block := func() (float64, error) {
		time.Sleep(settle)
		if _, err := p.run(warm); err != nil {
			return 0, err
		}
		f, err := p.run(n)
		return float64(f.cpu.Microseconds()) / float64(n), err
	}
	ssl, err := mappedLibrary(p.command.Process.Pid, "libssl.so")
	if err != nil {
		return err
	}
	crypto, err := mappedLibrary(p.command.Process.Pid, "libcrypto.so")
	if err != nil {
		return err
	}
	layers := [2]layer{{libraries: []string{ssl}}, {libraries: []string{ssl, crypto}}}
	withAgent := func(l *layer) (float64, error) {
		a, err := b.startAgent(byFunctions, l.libraries...)
		if err != nil {
			return 0, err
		}
		l.sites = nil
		for _, library := range l.libraries {
			sites, err := counter.Attached(library)
			if err != nil {
				return 0, errors.Join(err, a.stop())
			}
			l.sites = append(l.sites, sites)
		}
		cost, err := block()
		if err := errors.Join(err, a.stop()); err != nil {
			return 0, err
		}
		return cost, l.recorded(a, n+warm)
	}
	withCounter := func(l *layer) (cost float64, err error) {
		var all []*counter.Counter
		var hits uint64
		for i, library := range l.libraries {
			c, err := counter.Attach(library, l.sites[i])
			if err != nil {
				return 0, err
			}
			defer func() { err = errors.Join(err, c.Close()) }()
			all = append(all, c)
		}
		if cost, err = block(); err != nil {
			return 0, err
		}
		for _, c := range all {
			h, err := c.Hits()
			if err != nil {
				return 0, err
			}
			hits += h
		}
		// Hits of other programs that use the libraries are included: take the minimum.
		traps := hits / uint64(n+warm)
		if l.traps == 0 || traps < l.traps {
			l.traps = traps
		}
		return cost, nil
	}
	before, err := block()
	if err != nil {
		return err
	}
	var without figures.Sample
	for discarded := 0; len(layers[1].counting) < rounds; {
		for i := range 2 * len(layers) {
			l := &layers[i/2]
			measure, ratios, added := withAgent, &l.ours, &l.added
			if i%2 == 1 {
				measure, ratios, added = withCounter, &l.counting, &l.addedCounting
			}
			with, err := measure(l)
			if errors.Is(err, errLost) && discarded < rounds {
				discarded++
				break
			}
			if err != nil {
				return err
			}
			after, err := block()
			if err != nil {
				return err
			}
			*ratios = append(*ratios, with/((before+after)/2))
			*added = append(*added, with-(before+after)/2)
			without = append(without, after)
			before = after
		}
	}
	names, err := stepped(crypto)
	if err != nil {
		return err
	}
	for i, target := range []float64{1.04, 1.07} {
		l := &layers[i]
		name := []string{"function_handshake_ratio", "function_pk_ratio"}[i]
		b.figures.AtMost(name, l.ours.Median(), target, l.ours.Spread()+fmt.Sprintf(
			"; medians: %.1f µs added to %.0f µs (TLS 1.3, ECDSA, client and server); %d traps, %d events; %s",
			l.added.Median(), without.Median(), l.traps, l.events, filepath.Base(l.libraries[i])))
		b.figures.Add(strings.Replace(name, "_ratio", "_counting_ratio", 1), l.counting.Median(), l.counting.Spread()+fmt.Sprintf(
			"; the counting program adds %.1f µs", l.addedCounting.Median()))
	}
	b.figures.Add("function_traps_per_handshake", float64(layers[1].traps), "both sides, both layers; "+
		strconv.Itoa(len(names))+" sites are stepped: "+strings.Join(names, " "))
	return nil
}
