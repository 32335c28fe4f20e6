// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/busservice/bustest"
)

// These environment variables make the test program run as the broker, or as a
// subscriber on the bus at an address.
const (
	asBroker     = "CRAU_BROKER_TEST"
	asSubscriber = "CRAU_BROKER_TEST_SUBSCRIBER"
)

func TestMain(m *testing.M) {
	if os.Getenv(asBroker) != "" {
		main()
		return
	}
	if address := os.Getenv(asSubscriber); address != "" {
		if err := print(address); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// print subscribes and prints a line for each signal, until it is killed.
func print(address string) error {
	conn, err := dbus.Connect(address, dbus.WithSignalHandler(printer{}))
	if err != nil {
		return err
	}
	if err := conn.Object(brokerName, brokerPath).Call(brokerName+".Subscribe", 0, "", dict{}, dict{}).Err; err != nil {
		return err
	}
	fmt.Println("subscribed")
	<-conn.Context().Done()
	return nil
}

// printer prints the first and last sequence of each signal, or the skipped range.
type printer struct{}

// DeliverSignal implements dbus.SignalHandler.
func (printer) DeliverSignal(iface, name string, signal *dbus.Signal) {
	switch {
	case iface != subscription:
	case name == "Events":
		groups := signal.Body[0].([][]any)
		fmt.Println("events", groups[0][0], groups[len(groups)-1][0])
	case name == "Skipped":
		fmt.Println("skipped", sequenceOf(signal.Body[0].(string)), sequenceOf(signal.Body[1].(string)), signal.Body[3])
	}
}

// process is a broker in a separate process.
type process struct {
	t         *testing.T
	bus       *bustest.Bus
	arguments []string
	command   *exec.Cmd
	stderr    bytes.Buffer
}

func start(t *testing.T, bus *bustest.Bus, logDir, stateDir string, more ...string) *process {
	t.Helper()
	p := &process{t: t, bus: bus, arguments: append([]string{
		"--config", empty(t), "--log-dir", logDir, "--state-dir", stateDir, "--agent-socket", filepath.Join(bus.Dir, "no-agent"),
		"--bus", bus.Address, "--idle-timeout", "0",
	}, more...)}
	p.run()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("the broker printed:\n%s", tail(p.stderr.String()))
		}
	})
	return p
}

// empty returns an empty configuration file.
func empty(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "broker.conf")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func (p *process) run() {
	p.t.Helper()
	p.command = exec.Command(os.Args[0], p.arguments...)
	p.command.Env = append(os.Environ(), asBroker+"=1")
	p.command.Stderr = &p.stderr
	if err := p.command.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// kill kills the broker and waits for it.
func (p *process) kill() {
	_ = p.command.Process.Kill()
	_ = p.command.Wait()
}

// pid returns the process id.
func (p *process) pid() int { return p.command.Process.Pid }

const (
	brokerName   = "org.crypto_auditing.Broker"
	brokerPath   = "/org/crypto_auditing/Broker"
	subscription = brokerName + ".Subscription"
)

type dict = map[string]dbus.Variant

// skip is a part of the log that a subscriber will not receive, as it was notified.
type skip struct {
	from, to uint64
	reason   string
}

// subscriber is a client with one subscription. It decodes no more of a signal
// than the sequence numbers.
type subscriber struct {
	t      *testing.T
	conn   *dbus.Conn
	name   string
	filter dict
	flow   string
	batch  uint32
	form   string // empty: groups

	// kills counts kills of the subscriber and of the broker, generation only those of
	// the subscriber.
	kills, generation int

	mu      sync.Mutex
	got     []uint64
	skips   []skip
	largest int
}

func newSubscriber(t *testing.T, bus *bustest.Bus, name string, filter dict, flow string, batch uint32) *subscriber {
	t.Helper()
	s := &subscriber{t: t, name: name, filter: filter, flow: flow, batch: batch}
	s.connect(bus)
	t.Cleanup(func() { s.conn.Close() })
	return s
}

func (s *subscriber) connect(bus *bustest.Bus) {
	s.t.Helper()
	var err error
	s.conn, err = dbus.Connect(bus.Address, dbus.WithSignalHandler(listener{s, s.generation}))
	if err != nil {
		s.t.Fatal(err)
	}
}

// reconnect drops the connection, with all pending messages, and opens another.
func (s *subscriber) reconnect(bus *bustest.Bus) {
	s.t.Helper()
	s.mu.Lock()
	s.conn.Close()
	s.generation++
	s.mu.Unlock()
	s.connect(bus)
}

// listener listens on one connection of a subscriber.
type listener struct {
	*subscriber
	generation int
}

// subscribe subscribes, or resumes, as soon as there is a broker.
func (s *subscriber) subscribe(after string) {
	s.t.Helper()
	options := dict{"batch": dbus.MakeVariant(s.batch), "flow": dbus.MakeVariant(s.flow), "window-usec": dbus.MakeVariant(uint64(2000))}
	if s.form != "" {
		options["form"] = dbus.MakeVariant(s.form)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(2 * time.Millisecond) {
		if after != "" {
			options["after"] = dbus.MakeVariant(after)
		}
		err := s.conn.Object(brokerName, brokerPath).Call(brokerName+".Subscribe", dbus.FlagNoAutoStart, s.name, s.filter, options).Err
		if err == nil {
			return
		}
		if e, ok := err.(dbus.Error); ok && e.Name == "org.crypto_auditing.Error.SubscriptionExists" && after != "" {
			// The subscription exists: the answer was lost.
			delete(options, "after")
			after = ""
			continue
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s cannot subscribe: %v", s.name, err)
		}
	}
}

// sequenceOf returns the sequence of a cursor.
func sequenceOf(cursor string) uint64 {
	var n uint64
	if _, err := fmt.Sscanf(cursor[33:], "%x", &n); err != nil {
		return 0
	}
	return n
}

// DeliverSignal implements dbus.SignalHandler.
func (l listener) DeliverSignal(iface, name string, signal *dbus.Signal) {
	if iface != subscription {
		return
	}
	s := l.subscriber
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.generation != s.generation {
		return // the connection belongs to a killed generation
	}
	before := len(s.got)
	switch name {
	case "Events":
		for _, g := range signal.Body[0].([][]any) {
			s.got = append(s.got, g[0].(uint64))
		}
	case "Operations":
		for _, o := range signal.Body[0].([]dict) {
			s.got = append(s.got, sequenceOf(o["cursor"].Value().(string)))
		}
	case "Skipped":
		s.skips = append(s.skips, skip{sequenceOf(signal.Body[0].(string)), sequenceOf(signal.Body[1].(string)), signal.Body[3].(string)})
		return
	}
	s.largest = max(s.largest, len(s.got)-before)
	if s.flow == "acknowledge" {
		s.conn.Object(brokerName, signal.Path).Go(subscription+".Acknowledge", dbus.FlagNoReplyExpected|dbus.FlagNoAutoStart, nil, signal.Body[1])
	}
}

// reaches waits until last is at least sequence. The timeout restarts with each group,
// because the rate depends on the machine.
func (s *subscriber) reaches(sequence uint64) bool {
	const patience = time.Minute
	seen, since := uint64(0), time.Now()
	for {
		n := s.last()
		if n >= sequence {
			return true
		}
		if n > seen {
			seen, since = n, time.Now()
		}
		if time.Since(since) > patience {
			return false
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// last returns the newest sequence that was received or skipped.
func (s *subscriber) last() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var n uint64
	if len(s.got) > 0 {
		n = s.got[len(s.got)-1]
	}
	if len(s.skips) > 0 {
		n = max(n, s.skips[len(s.skips)-1].to)
	}
	return n
}
