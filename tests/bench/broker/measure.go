// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/tests/bench/figures"
	"crypto-auditing/tests/bench/usage"
)

type dict = map[string]dbus.Variant

// rates measures the rate of groups that subscribers receive by signals from an existing
// log.
func (b *bench) rates() error {
	log := b.directory("rates-log")
	groups := b.pick(200_000, 600_000)
	if err := b.fill(log, "-groups", "2000", "-chunks", strconv.Itoa(groups/2000)); err != nil {
		return err
	}
	for _, n := range []int{1, 10, 100} {
		s, err := b.begin(fmt.Sprintf("rates-%d", n), log)
		if err != nil {
			return err
		}
		rate, use, err := s.rate(n, b.pick(3, 8))
		if err := errors.Join(err, s.end()); err != nil {
			return err
		}
		if n == 1 {
			b.figures.AtLeast("signal_groups_per_s", rate, 30_000, "to one subscriber through dbus-daemon; "+use)
		} else {
			b.figures.Add(fmt.Sprintf("signal_groups_per_s_%d", n), rate, fmt.Sprintf("to %d subscribers in total; %s", n, use))
		}
	}
	return nil
}

// rate returns the total rate of groups that n subscribers receive, in groups per second,
// and a description of the processor use.
func (s *testbed) rate(n, seconds int) (rate float64, use string, err error) {
	var all []*subscriber
	before, err := s.use()
	if err != nil {
		return 0, "", err
	}
	began := time.Now()
	for range n {
		r, err := s.subscribe(dict{}, dict{"after": dbus.MakeVariant("oldest")})
		if err != nil {
			return 0, "", err
		}
		defer r.conn.Close()
		all = append(all, r)
	}
	sum, last := 0, -1
	// Subscribing may take long, too, if other programs delay the broker.
	for deadline := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(deadline) && sum != last; {
		time.Sleep(100 * time.Millisecond)
		last, sum = sum, 0
		for _, r := range all {
			groups, err := r.count()
			if err != nil {
				return 0, "", err
			}
			sum += groups
		}
		if sum == 0 {
			last = -1
		}
	}
	took := time.Since(began)
	after, err := s.use()
	if err != nil {
		return 0, "", err
	}
	use = fmt.Sprintf("processors: broker %.2f, bus %.2f", (after[0]-before[0]).Seconds()/took.Seconds(), (after[1]-before[1]).Seconds()/took.Seconds())
	return float64(sum) / took.Seconds(), use, nil
}

// use returns the processor times of broker and bus.
func (s *testbed) use() (t [2]time.Duration, err error) {
	if t[0], err = usage.CPU(s.broker.Process.Pid); err == nil {
		t[1], err = usage.CPU(s.bus.Process.Pid)
	}
	return t, err
}

// bulk compares Open and Read with the store's own scan; the measurements alternate.
func (b *bench) bulk() error {
	log := b.directory("bulk-log")
	groups := b.pick(500_000, 2_000_000)
	if err := b.fill(log, "-groups", "3000", "-chunks", strconv.Itoa(groups/3000), "-seal"); err != nil {
		return err
	}
	s, err := b.begin("bulk", log)
	if err != nil {
		return err
	}
	conn, err := dbus.Connect(s.address)
	if err != nil {
		return errors.Join(err, s.end())
	}
	defer conn.Close()
	var scans, opens figures.Sample
	for range b.pick(3, 5) {
		scanned, n, err := b.scan(log)
		if err != nil {
			return errors.Join(err, s.end())
		}
		opened, err := open(conn, n)
		if err != nil {
			return errors.Join(err, s.end())
		}
		scans, opens = append(scans, scanned), append(opens, opened)
	}
	read, err := readPages(conn, b.pick(20_000, 100_000))
	if err := errors.Join(err, s.end()); err != nil {
		return err
	}
	scan, opened := scans.Median(), opens.Median()
	b.figures.AtLeast("open_vs_scan", opened/scan, 0.5, "rate of Open, read to the end of the pipe, divided by that of the store's scan with decoding; sealed log, alternating")
	b.figures.Add("scan_groups_per_s", scan, "the store's scan")
	b.figures.Add("open_groups_per_s", opened, "Open")
	b.figures.Add("read_groups_per_s", read, "Read, pages of 1,000, decoded by godbus")
	return nil
}

// scan makes the store read a log, and returns the rate and the number of groups.
func (b *bench) scan(log string) (rate float64, groups int, err error) {
	out, err := exec.Command(b.tool("filler"), "-scan", "-dir", log).Output()
	if err != nil {
		return 0, 0, fmt.Errorf("cannot scan: %w", err)
	}
	var seconds float64
	if _, err := fmt.Sscan(string(out), &groups, &seconds); err != nil {
		return 0, 0, fmt.Errorf("cannot parse the output %q of a scan: %w", out, err)
	}
	return float64(groups) / seconds, groups, nil
}

// open reads a stream to its end and returns the rate. It fails if the stream is too short
// for the given number of groups.
func open(conn *dbus.Conn, groups int) (float64, error) {
	began := time.Now()
	var fd dbus.UnixFD
	if err := conn.Object(brokerName, brokerPath).Call(brokerName+".Open", 0, "oldest", dict{}, dict{}).Store(&fd); err != nil {
		return 0, fmt.Errorf("cannot open a stream: %w", err)
	}
	f := os.NewFile(uintptr(fd), "stream")
	defer f.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	if err != nil {
		return 0, fmt.Errorf("cannot read a stream: %w", err)
	}
	if n < int64(groups)*100 {
		return 0, fmt.Errorf("a stream of %d bytes is too short for %d groups", n, groups)
	}
	return float64(groups) / time.Since(began).Seconds(), nil
}

// readPages reads groups by Read and returns the rate.
func readPages(conn *dbus.Conn, groups int) (float64, error) {
	at, got := "oldest", 0
	began := time.Now()
	for got < groups {
		var page [][]any
		var missing uint64
		err := conn.Object(brokerName, brokerPath).Call(brokerName+".Read", 0, at, dict{}, uint32(1000)).Store(&page, &at, &missing)
		if err != nil {
			return 0, fmt.Errorf("cannot read: %w", err)
		}
		if len(page) == 0 {
			break
		}
		got += len(page)
	}
	return float64(got) / time.Since(began).Seconds(), nil
}

// flow makes the log grow at a rate for some seconds, and returns when everything is in
// the log.
func (s *testbed) flow(rate, seconds, executables int) error {
	const chunksPerSecond = 10 // as with the agent's flush window
	return s.bench.fill(s.log, "-groups", strconv.Itoa(rate/chunksPerSecond), "-chunks", strconv.Itoa(seconds*chunksPerSecond),
		"-pause", (time.Second / chunksPerSecond).String(), "-executables", strconv.Itoa(executables))
}

// fanOut compares the processor time of the broker for 100 subscribers with selective
// filters with that for one; the measurements alternate.
func (b *bench) fanOut() error {
	const rate, executables = 20_000, 20_000
	seconds := b.pick(3, 6)
	var times [2]figures.Sample
	var delivered [2]int
	for turn := range b.pick(2, 3) {
		for i, n := range []int{1, 100} {
			log := b.directory(fmt.Sprintf("fanout-log-%d-%d", turn, n))
			if err := b.fill(log, "-chunks", "1", "-groups", "1"); err != nil {
				return err
			}
			s, err := b.begin(fmt.Sprintf("fanout-%d-%d", turn, n), log)
			if err != nil {
				return err
			}
			took, got, err := s.selective(n, rate, seconds, executables)
			if err := errors.Join(err, s.end()); err != nil {
				return err
			}
			times[i] = append(times[i], took.Seconds())
			delivered[i] += got
		}
	}
	single, hundred := times[0].Median(), times[1].Median()
	b.figures.AtMost("fanout100_cpu", hundred/single, 3, fmt.Sprintf(
		"broker's processor time for 100 subscribers, divided by that for one (%.2f %% of a processor), %d groups/s, each filters by one program of %d; %d and %d groups delivered",
		100*single/float64(seconds), rate, executables, delivered[0], delivered[1]))
	return nil
}

// selective returns the processor time of the broker for a flow with n subscribers, and
// the number of delivered groups.
func (s *testbed) selective(n, rate, seconds, executables int) (took time.Duration, got int, err error) {
	var all []*subscriber
	for i := range n {
		r, err := s.subscribe(dict{"executables": dbus.MakeVariant([]string{fmt.Sprintf("program%d", i)})}, dict{})
		if err != nil {
			return 0, 0, err
		}
		defer r.conn.Close()
		all = append(all, r)
	}
	time.Sleep(500 * time.Millisecond) // until all are attached
	before, err := usage.CPU(s.broker.Process.Pid)
	if err != nil {
		return 0, 0, err
	}
	if err := s.flow(rate, seconds, executables); err != nil {
		return 0, 0, err
	}
	time.Sleep(500 * time.Millisecond) // until the last group is delivered
	after, err := usage.CPU(s.broker.Process.Pid)
	if err != nil {
		return 0, 0, err
	}
	for _, r := range all {
		groups, err := r.count()
		if err != nil {
			return 0, 0, err
		}
		got += groups
	}
	return after - before, got, nil
}

// memory measures broker and bus with one stopped subscriber among ten.
func (b *bench) memory() error {
	const rate = 20_000
	seconds := b.pick(8, 15)
	log := b.directory("memory-log")
	if err := b.fill(log, "-chunks", "1", "-groups", "1"); err != nil {
		return err
	}
	s, err := b.begin("memory", log)
	if err != nil {
		return err
	}
	peak, err := s.stopped(rate, seconds)
	if err := errors.Join(err, s.end()); err != nil {
		return err
	}
	b.figures.AtMost("broker_and_bus_rss_mib", peak/(1<<20), 192, fmt.Sprintf(
		"peak of both in total, with one stopped subscriber among ten, %d groups/s for %d s", rate, seconds))
	return nil
}

// stopped returns the peak memory of broker and bus in bytes.
func (s *testbed) stopped(rate, seconds int) (peak float64, err error) {
	for range 9 {
		r, err := s.subscribe(dict{}, dict{})
		if err != nil {
			return 0, err
		}
		defer r.conn.Close()
	}
	// The tenth subscriber is another process of this program; dbus-monitor does not
	// subscribe.
	program, err := os.Executable()
	if err != nil {
		return 0, err
	}
	tenth := exec.Command(program)
	tenth.Env = append(os.Environ(), asSubscriber+"="+s.address)
	ready, err := tenth.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := s.start(tenth); err != nil {
		return 0, err
	}
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		return 0, fmt.Errorf("the subscriber to be stopped did not start: %w", err)
	}
	if err := tenth.Process.Signal(syscall.SIGSTOP); err != nil {
		return 0, err
	}
	done := make(chan error, 1)
	go func() { done <- s.flow(rate, seconds, 1) }()
	for {
		broker, err := usage.Resident(s.broker.Process.Pid)
		if err != nil {
			return 0, err
		}
		bus, err := usage.Resident(s.bus.Process.Pid)
		if err != nil {
			return 0, err
		}
		peak = max(peak, broker+bus)
		select {
		case err := <-done:
			return peak, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// latency measures the time from the BPF program's timestamp of a hit to the signal at a
// subscriber, with default windows on an otherwise idle machine.
func (b *bench) latency() error {
	seconds := b.pick(6, 20)
	log := b.directory("latency-log")
	dir := b.directory("latency")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	conf := filepath.Join(dir, "agent.conf")
	if err := os.WriteFile(conf, []byte("sources = [\"usdt\"]\n"), 0o644); err != nil {
		return err
	}
	replay := filepath.Join(b.root, "build/publishers/replay")
	agent := exec.Command(b.tool("crau-agent"), "--config", conf, "--log-dir", log, "--library", replay, "--varlink", filepath.Join(dir, "agent"))
	if err := agent.Start(); err != nil {
		return fmt.Errorf("cannot start the agent: %w", err)
	}
	defer func() {
		_ = agent.Process.Signal(syscall.SIGTERM)
		_ = agent.Wait() // its exit status does not matter: the log is not checked
	}()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(dir, "agent")); err == nil {
			if files, err := filepath.Glob(filepath.Join(log, "audit-*")); err == nil && len(files) > 0 {
				break
			}
		}
		if time.Now().After(deadline) {
			return errors.New("the agent did not start")
		}
	}
	s, err := b.begin("latency", log)
	if err != nil {
		return err
	}
	ms, err := s.latencies(replay, seconds)
	if err := errors.Join(err, s.end()); err != nil {
		return err
	}
	how := fmt.Sprintf("%d groups of occasional handshakes, default windows, agent and probes included", len(ms))
	b.figures.Add("signal_latency_p50_ms", ms.Quantile(0.5), how)
	b.figures.AtMost("signal_latency_p99_ms", ms.Quantile(0.99), 250, how)
	return nil
}

func (s *testbed) latencies(replay string, seconds int) (ms figures.Sample, err error) {
	r, err := s.subscribe(dict{"scopes": dbus.MakeVariant([]string{"tls", "pk"})}, dict{})
	if err != nil {
		return nil, err
	}
	defer r.conn.Close()
	time.Sleep(time.Second) // until all programs have started
	r.mu.Lock()
	r.onGroup = func(start uint64) { ms = append(ms, float64(time.Now().UnixMicro()-int64(start))/1000) }
	r.mu.Unlock()
	trace := filepath.Join(s.bench.root, "tests/data/probe-traces/gnutls-tls13-p256.txt")
	// A handshake has 28 hits: this is seven per second, not in step with the windows.
	const hitsPerSecond = 197
	publisher := exec.Command(replay, "--fresh-ids", "--duration", strconv.Itoa(seconds), "--rate", strconv.Itoa(hitsPerSecond), trace)
	if out, err := publisher.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cannot fire probes: %w\n%s", err, out)
	}
	time.Sleep(time.Second)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(ms) < seconds*hitsPerSecond/4 {
		return nil, fmt.Errorf("only %d groups arrived:\n%s", len(ms), s.stderr.String())
	}
	return ms, r.err
}

// asSubscriber is the environment variable with a bus address that makes the program a
// subscriber. It prints a byte when it has subscribed, and then waits.
const asSubscriber = "CRAU_BENCH_SUBSCRIBER"

func runSubscriber(address string) error {
	s := &testbed{address: address}
	if _, err := s.subscribe(dict{}, dict{}); err != nil {
		return err
	}
	if _, err := os.Stdout.Write([]byte(".")); err != nil {
		return err
	}
	for {
		time.Sleep(time.Hour)
	}
}
