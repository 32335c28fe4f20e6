// SPDX-License-Identifier: Apache-2.0

package busservice_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/busservice"
	"crypto-auditing/src/internal/busservice/bustest"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// inOperations returns the options of a subscription to operations.
func inOperations(pairs ...any) dict {
	d := all(pairs...)
	d["form"] = dbus.MakeVariant("operations")
	return d
}

// gather receives Operations signals until it has n operations.
func (p *peer) gather(n int) (list []dict, cursor string) {
	p.t.Helper()
	for len(list) < n {
		var some []dict
		if err := dbus.Store(p.next(subName+".Operations").Body, &some, &cursor); err != nil {
			p.t.Fatal(err)
		}
		list = append(list, some...)
	}
	return list, cursor
}

// recorder records operations in a log whose broker has its own clock. That clock completes no
// operation while groups are recorded.
type recorder struct {
	*served

	r     *rand.Rand
	begin logstore.Moment
	now   atomic.Int64 // since begin
	at    uint64       // time of the next group, since begin
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return &recorder{r: rand.New(rand.NewPCG(seed, 1)), begin: logstore.SystemClock{}.Now()}
}

// clock sets the clock of the broker.
func (c *recorder) clock(_ *busservice.Options, o *broker.Options) {
	o.Now = func() time.Time { return time.Unix(0, int64(c.begin.Boot)+c.begin.Offset+c.now.Load()) }
}

// record writes groups a millisecond apart, ten seconds after the last ones.
func (c *recorder) record(groups []event.Group) {
	c.now.Store(0)
	c.at += uint64(10 * time.Second)
	for i := range groups {
		groups[i].Start = c.begin.Boot + c.at
		groups[i].End = groups[i].Start
		c.at += uint64(time.Millisecond)
	}
	for len(groups) > 0 {
		n := min(len(groups), 1+c.r.IntN(200))
		c.log.Write(groups[:n]...)
		if groups = groups[n:]; c.r.IntN(10) == 0 {
			c.log.Rotate()
		}
	}
	c.log.Flush()
}

// complete makes all recorded operations complete, and wakes the broker with another entry.
func (c *recorder) complete() {
	c.now.Store(int64(c.at) + int64(time.Minute))
	c.log.Lose("ring-full", 1)
	c.log.Flush()
}

func TestASubscriptionDeliversTheSameOperationsAsRead(t *testing.T) {
	for _, kind := range []bustest.Kind{bustest.Daemon, bustest.Broker} {
		t.Run(string(kind), func(t *testing.T) {
			s := newRecorder(t)
			r := s.r
			s.served = serveOn(t, bustest.Start(t, kind), s.clock)
			filters := []dict{{}, all("matches", []string{"tls::group=4588"}), all("executables", []string{"nginx"})}
			var live, late, slow []*peer
			for _, f := range filters {
				p := s.connect(t)
				p.subscribe("", f, inOperations("batch", uint32(1+r.IntN(50))))
				live = append(live, p)
			}
			s.record(handshakes(r, 2000))
			for _, f := range filters {
				p := s.connect(t)
				p.subscribe("", f, inOperations("after", "oldest"))
				late = append(late, p)
				p = s.connect(t) // shares its operations with the first one
				p.subscribe("", f, inOperations("after", "oldest", "batch", uint32(9)))
				slow = append(slow, p)
			}
			s.record(handshakes(r, 2000))
			s.complete()
			reader := s.connect(t)
			for i, f := range filters {
				want := reader.allOperations("oldest", f, dict{}, func() uint32 { return 0 })
				if len(want) < 20 {
					t.Fatalf("%v: %d operations", f, len(want))
				}
				for when, p := range map[string]*peer{"live": live[i], "late": late[i], "slow": slow[i]} {
					got, _ := p.gather(len(want))
					if !reflect.DeepEqual(got, want) {
						for j := range min(len(got), len(want)) {
							if !reflect.DeepEqual(got[j], want[j]) {
								t.Fatalf("%s, %v: operation %d\nis   %v\nwant %v", when, f, j, got[j], want[j])
							}
						}
						t.Errorf("%s, %v: %d operations, want %d", when, f, len(got), len(want))
					}
				}
			}
		})
	}
}

func TestAnOperationIsDeliveredWhenItIsComplete(t *testing.T) {
	s := serve(t) // with the system clock
	p := s.connect(t)
	p.subscribe("", dict{}, inOperations())
	s.write(0, opening(1, 99, "tls::handshake_client"))
	began := time.Now()
	s.write(0, opening(2, 1, "tls::key_exchange"))
	list, cursor := p.gather(1)
	if len(list) != 1 || time.Since(began) < 2*time.Second {
		t.Errorf("%d operations after %v", len(list), time.Since(began))
	}
	var children []dict
	if err := list[0]["children"].Store(&children); err != nil || len(children) != 1 || list[0]["cursor"].Value() != cursor {
		t.Errorf("%v, at %s", list[0], cursor)
	}
}

func TestOperationsAreDeliveredAtMostOnceAcrossRestarts(t *testing.T) {
	s := newRecorder(t)
	s.served = serve(t, s.clock)
	p := s.connect(t)
	p.subscribe("watch", dict{}, inOperations("after", "oldest", "batch", uint32(7)))
	var got []string
	read := map[string]bool{}
	for range 3 {
		s.record(handshakes(s.r, 500))
		s.complete()
		want := s.connect(t).allOperations("oldest", dict{}, dict{}, func() uint32 { return 0 })
		missing := 0
		for _, o := range want {
			if key := busTree(o); !read[key] {
				read[key] = true
				missing++
			}
		}
		list, _ := p.gather(missing)
		for _, o := range list {
			got = append(got, busTree(o))
		}
		s.stop()
		s.start(t, s.clock)
	}
	if distinct := slices.Compact(slices.Sorted(slices.Values(got))); len(distinct) != len(got) || len(got) != len(read) {
		t.Errorf("%d operations, %d of them distinct, want %d", len(got), len(distinct), len(read))
	}
	for _, operation := range got {
		if !read[operation] {
			t.Errorf("delivered, but not read: %s", operation)
		}
	}
	if form, err := p.conn.Object(brokerName, p.subscribe("watch", dict{}, inOperations("batch", uint32(7)))).GetProperty(subName + ".Form"); err != nil || form.Value() != "operations" {
		t.Error(form, err)
	}
	if err := p.call("Subscribe", "watch", dict{}, all("batch", uint32(7))).Err; errorName(err) != errorPrefix+"SubscriptionExists" {
		t.Errorf("subscribing with another form: %v", err)
	}
}

func TestASubscriptionToOperationsReportsRemovedEntries(t *testing.T) {
	s := serve(t, later)
	s.write(0, opening(1, 99, "x::first"))
	begin := s.log.Flush()
	s.write(0, opening(2, 99, "x::gone"), opening(3, 99, "x::gone"))
	s.log.Rotate()
	s.write(0, opening(4, 99, "x::kept"))
	p := s.connect(t)
	if err := p.call("Truncate", all("max-size", uint64(1))).Err; err != nil {
		t.Fatal(err)
	}
	p.subscribe("", dict{}, inOperations("after", begin.String()))
	var from, to, reason string
	var entries uint64
	if err := dbus.Store(p.next(subName+".Skipped").Body, &from, &to, &entries, &reason); err != nil || entries < 2 || reason != "truncated" || from != begin.String() {
		t.Errorf("%s to %s: %d, %s, %v", from, to, entries, reason, err)
	}
	if list, _ := p.gather(1); list[0]["name"].Value() != "x::kept" {
		t.Errorf("%v", list)
	}
}

func TestOperationsOfOneEntryAreDeliveredTogether(t *testing.T) {
	s := serve(t, later)
	// Contexts with the same id and different unknown parents are separate operations.
	g := event.Group{Context: event.ContextID{1}, Executable: []byte("curl")}
	for i := range 5 {
		g.Events = append(g.Events, event.Event{Kind: event.NewContext, Parent: event.ContextID{99, byte(i)}},
			event.Event{Key: []byte("name"), Value: event.Value{Kind: event.String, Bytes: fmt.Appendf(nil, "x::c%d", i)}})
	}
	live := s.connect(t)
	live.subscribe("", dict{}, inOperations("batch", uint32(1)))
	s.write(0, opening(7, 99, "x::before"))
	s.write(0, g)
	s.write(0, opening(8, 99, "x::after"))
	late := s.connect(t)
	late.subscribe("", dict{}, inOperations("batch", uint32(1), "after", "oldest"))
	for name, p := range map[string]*peer{"live": live, "late": late} {
		list, _ := p.gather(7)
		for i, o := range list {
			if want := []string{"x::before", "x::c0", "x::c1", "x::c2", "x::c3", "x::c4", "x::after"}[i]; o["name"].Value() != want {
				t.Errorf("%s: operation %d is %v, want %s", name, i, o["name"], want)
			}
		}
	}
	for _, most := range []uint32{1, 2, 3} {
		if list := live.allOperations("oldest", dict{}, dict{}, func() uint32 { return most }); len(list) != 7 {
			t.Errorf("pages of %d: %d operations", most, len(list))
		}
		if list := live.allOperations("newest", dict{}, all("reverse", true), func() uint32 { return most }); len(list) != 7 {
			t.Errorf("pages of %d, newest first: %d operations", most, len(list))
		}
	}
}

func TestTheGoClientSubscribesToOperations(t *testing.T) {
	s := newRecorder(t)
	s.served = serve(t, s.clock)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := client.Connect(ctx, client.WithAddress(s.bus.Address))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sub, err := c.Subscribe(ctx, client.SubscribeOptions{Operations: true, After: client.Oldest, Acknowledge: true})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	s.record(handshakes(s.r, 500))
	s.complete()
	want := s.connect(t).allOperations("oldest", dict{}, dict{}, func() uint32 { return 0 })
	n := 0
	for o, err := range sub.Operations(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if got := clientTree(&o); got != busTree(want[n]) {
			t.Fatalf("operation %d\nis   %s\nwant %s", n, got, busTree(want[n]))
		}
		if n++; n == len(want) {
			break
		}
	}
	infos, err := c.Subscriptions(ctx)
	if err != nil || len(infos) != 1 || infos[0].Form != "operations" {
		t.Errorf("%+v, %v", infos, err)
	}
}
