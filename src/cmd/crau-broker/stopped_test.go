// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker/brokertest"
	"crypto-auditing/src/internal/busservice/bustest"
)

// A stopped client blocks no other client, and neither the broker nor the bus accumulates
// its messages.
func TestAStoppedClientBlocksNoOthers(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	for _, kind := range []bustest.Kind{bustest.Daemon, bustest.Broker} {
		t.Run(string(kind), func(t *testing.T) { stopped(t, kind) })
	}
}

func stopped(t *testing.T, kind bustest.Kind) {
	bus := bustest.Start(t, kind)
	log := brokertest.New(t)
	log.Flush()
	b := start(t, bus, log.Dir, t.TempDir())
	var others []*subscriber
	for range 9 {
		s := newSubscriber(t, bus, "", dict{}, "auto", 500)
		s.subscribe("oldest")
		others = append(others, s)
	}
	victim := exec.Command(os.Args[0])
	victim.Env = append(os.Environ(), asSubscriber+"="+bus.Address)
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { victim.Process.Kill(); _ = victim.Wait() })
	lines := make(chan string, 100_000)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	line := func(prefix string) string {
		t.Helper()
		for late := time.After(time.Minute); ; {
			select {
			case l := <-lines:
				if strings.HasPrefix(l, prefix) {
					return l
				}
			case <-late:
				t.Fatalf("the victim does not print %q", prefix)
			}
		}
	}
	line("subscribed")
	r := rand.New(rand.NewPCG(1, 9))
	log.Append(brokertest.Some(r, 10)...)
	first := line("events")
	if err := victim.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	busBefore := bus.Resident(t)

	// More than the broker keeps in memory for clients that lag, and for longer
	// than a client may take to answer.
	const enough = 150_000 // groups, of some 320 bytes each
	var last uint64
	for began := time.Now(); last < enough || time.Since(began) < 7*time.Second; time.Sleep(5 * time.Millisecond) {
		last = log.Append(brokertest.Some(r, 150)...).Sequence
	}
	log.Flush()
	for i, s := range others {
		if !s.reaches(last) {
			t.Fatalf("client %d has received up to %d of %d while another is stopped", i, s.last(), last)
		}
		s.mu.Lock()
		if uint64(len(s.got)) != last || len(s.skips) > 0 {
			t.Errorf("client %d has received %d groups of %d, skips %v", i, len(s.got), last, s.skips)
		}
		s.mu.Unlock()
	}
	const most = 8 << 20
	if grown := int64(bus.Resident(t)) - int64(busBefore); grown > most {
		t.Errorf("the bus has grown by %d bytes for a stopped client", grown)
	}
	// The race detector multiplies memory: tests/check.sh runs this without it, too.
	if resident := bustest.Resident(t, b.pid()); resident > 160<<20 && !underRace {
		t.Errorf("the broker uses %d bytes", resident)
	}

	// When the client continues, it is notified of skipped entries, and receives new ones.
	if err := victim.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	var from, to, begin, end uint64
	if _, err := fmt.Sscanf(line("skipped"), "skipped %d %d slow", &from, &to); err != nil {
		t.Fatal(err)
	}
	next := log.Append(brokertest.Some(r, 10)...).Sequence
	log.Flush()
	seen := to
	for seen < next {
		if _, err := fmt.Sscanf(line("events"), "events %d %d", &begin, &end); err != nil {
			t.Fatal(err)
		}
		if begin != seen+1 {
			t.Fatalf("groups from %d to %d after %d", begin, end, seen)
		}
		seen = end
	}
	if to < last-1000 || from == 0 {
		t.Errorf("skipped from %d to %d of %d, after %s", from, to, last, first)
	}
}

// Malicious calls fail with an error, and do not affect other clients.
func TestHostileCallersAreRefused(t *testing.T) {
	bus := bustest.Start(t, bustest.Daemon)
	log := brokertest.New(t)
	log.Flush()
	b := start(t, bus, log.Dir, t.TempDir())
	good := newSubscriber(t, bus, "good", dict{}, "auto", 500)
	good.subscribe("oldest")
	bad, err := dbus.Connect(bus.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bad.Close() })
	object := bad.Object(brokerName, brokerPath)

	refused := map[string]int{}
	var calls []*dbus.Call
	done := make(chan *dbus.Call, 10_000)
	for i := range 10_000 {
		name := ""
		if i%2 == 0 {
			name = fmt.Sprintf("n%d", i)
		}
		calls = append(calls, object.Go(brokerName+".Subscribe", 0, done, name, dict{}, dict{}))
	}
	for _, c := range calls {
		<-c.Done
	}
	made := 0
	for _, c := range calls {
		if c.Err == nil {
			made++
			continue
		}
		refused[c.Err.(dbus.Error).Name]++
	}
	if made > 127 || made == 0 || refused["org.crypto_auditing.Error.LimitExceeded"]+refused["org.freedesktop.DBus.Error.LimitsExceeded"] != 10_000-made {
		t.Errorf("%d of 10,000 subscriptions were made, refused: %v", made, refused)
	}
	for i := range 8 {
		filter := dict{"keys": dbus.MakeVariant([]string{strings.Repeat("k", 20<<20)})}
		if err := object.Call(brokerName+".Read", 0, "oldest", filter, uint32(1)).Err; err == nil || err.(dbus.Error).Name != "org.crypto_auditing.Error.LimitExceeded" {
			t.Fatalf("filter %d of 20 MiB: %v", i, err)
		}
	}
	// Streams are held open without being read.
	streams := 0
	for range 200 {
		if object.Call(brokerName+".Open", 0, "oldest", dict{}, dict{"follow": dbus.MakeVariant(true)}).Err == nil {
			streams++
		}
	}
	if streams != 16 {
		t.Errorf("%d streams are open, the limit is 16", streams)
	}
	last := log.Append(brokertest.Some(rand.New(rand.NewPCG(2, 9)), 100)...).Sequence
	log.Flush()
	for deadline := time.Now().Add(time.Minute); good.last() < last; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the other client has received up to %d of %d", good.last(), last)
		}
	}
	if err := b.command.Process.Signal(syscall.Signal(0)); err != nil {
		t.Fatal(err)
	}
	t.Logf("the broker uses %d MiB afterwards", bustest.Resident(t, b.pid())>>20)
}
