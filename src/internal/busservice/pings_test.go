// SPDX-License-Identifier: Apache-2.0

package busservice_test

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/broker/brokertest"
	"crypto-auditing/src/internal/busservice"
	"crypto-auditing/src/internal/busservice/bustest"
)

// relay forwards the connections of a service to its bus, and can break them.
type relay struct {
	address string

	mu    sync.Mutex
	conns []net.Conn // in the order of their creation
}

func newRelay(t *testing.T, bus *bustest.Bus) *relay {
	t.Helper()
	path := filepath.Join(bus.Dir, "relay")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	r := &relay{address: "unix:path=" + path}
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("unix", strings.TrimPrefix(bus.Address, "unix:path="))
			if err != nil {
				from.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, from)
			r.mu.Unlock()
			for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
				go func() {
					_, _ = io.Copy(way[0], way[1])
					from.Close()
					to.Close()
				}()
			}
		}
	}()
	return r
}

// breakAll breaks all connections except the first, and returns how many.
func (r *relay) breakAll() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	broken := r.conns[1:]
	r.conns = r.conns[:1]
	for _, c := range broken {
		c.Close()
	}
	return len(broken)
}

// If the connection on which clients are pinged breaks, for example because the bus drops
// it, they are pinged on another one.
func TestSignalsContinueWhenTheConnectionOfPingsBreaks(t *testing.T) {
	bus := bustest.Start(t, bustest.Daemon)
	between := newRelay(t, bus)
	s := serveOn(t, bus, func(o *busservice.Options, _ *broker.Options) { o.Address = between.address })
	p := s.connect(t)
	for _, name := range []string{"", "durable"} {
		p.subscribe(name, dict{}, dict{})
	}
	last := map[dbus.ObjectPath]uint64{}
	broken := 0
	for range 5 {
		end := s.log.Append(brokertest.Group{Name: "tls::sign"}, brokertest.Group{Name: "pk::sign"}).Sequence
		for done := 0; done < 2; {
			e := p.nextEvents()
			for _, g := range e.groups {
				if g.Sequence <= last[e.path] {
					t.Fatalf("group %d after %d", g.Sequence, last[e.path])
				}
				if last[e.path] = g.Sequence; g.Sequence == end {
					done++
				}
			}
		}
		broken += between.breakAll()
		for deadline := time.Now().Add(time.Minute); !p.attached(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("a subscription is not attached any more")
			}
		}
	}
	if broken == 0 {
		t.Error("no connection was broken")
	}
}

// attached reports whether all subscriptions are attached.
func (p *peer) attached() bool {
	p.t.Helper()
	var list []struct {
		Name               string
		Path               dbus.ObjectPath
		Delivered, Pending uint64
		Attributes         dict
	}
	if err := p.call("ListSubscriptions").Store(&list); err != nil {
		p.t.Fatal(err)
	}
	for _, subscription := range list {
		if subscription.Attributes["attached"].Value() != true {
			return false
		}
	}
	return len(list) > 0
}
