// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/godbus/dbus/v5"
)

var errEnd = errors.New("the end")

// events returns an Events signal that ends at a cursor.
func events(cursor string) *dbus.Signal {
	return &dbus.Signal{Path: BrokerPath + "/subscription/1", Name: SubscriptionInterface + ".Events", Body: []any{[][]any{}, cursor}}
}

func deliver(l *Link, cursor string) {
	l.DeliverSignal(SubscriptionInterface, "Events", events(cursor))
}

func TestAConnectionIsNotReadWhileTheSubscriberLags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue()
		l := NewLink(q)
		taken := 0
		go func() {
			for i := range queued + 3 {
				deliver(l, fmt.Sprint(i))
				taken++
			}
		}()
		synctest.Wait()
		if taken != queued {
			t.Fatalf("%d signals were taken from a connection, want %d", taken, queued)
		}
		if _, err := q.Take(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if taken != queued+1 {
			t.Errorf("%d signals were taken when there was room for one, want %d", taken, queued+1)
		}
		q.During(synctest.Wait)
		if taken != queued+3 || q.Position() != fmt.Sprint(queued+2) {
			t.Errorf("%d signals were taken during a call, up to %s", taken, q.Position())
		}
	})
}

func TestMessagesOfAClosedConnectionAreDiscarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue()
		l := NewLink(q)
		for i := range queued {
			deliver(l, fmt.Sprint(i))
		}
		go deliver(l, "late")
		synctest.Wait()
		l.giveUp()
		deliver(l, "later still")
		synctest.Wait()
		if got := q.Position(); got != fmt.Sprint(queued-1) {
			t.Errorf("the position is %s", got)
		}
	})
}

func TestAnEndedQueueReturnsItsItemsAndThenTheError(t *testing.T) {
	q := NewQueue()
	deliver(NewLink(q), "1")
	q.End(errEnd)
	deliver(NewLink(q), "2")
	if d, err := q.Take(t.Context()); err != nil || d.Body[1] != "1" {
		t.Errorf("%v, %v", d, err)
	}
	for range 2 {
		if d, err := q.Take(t.Context()); err != errEnd {
			t.Errorf("%v, %v", d, err)
		}
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewQueue().Take(done); err != context.Canceled {
		t.Errorf("with a cancelled context: %v", err)
	}
}

func TestASubscriptionEndsWithItsBroker(t *testing.T) {
	changed := func(old string, at dbus.Sequence) *dbus.Signal {
		return &dbus.Signal{Sender: "org.freedesktop.DBus", Body: []any{BusName, old, ":1.9"}, Sequence: at}
	}
	for name, c := range map[string]struct {
		signals     []*dbus.Signal
		established dbus.Sequence
		lost        bool
	}{
		"a broker that starts":                 {[]*dbus.Signal{changed("", 5)}, 4, false},
		"a broker that exits before the call":  {[]*dbus.Signal{changed(":1.2", 3)}, 4, false},
		"a broker that exits after its answer": {[]*dbus.Signal{changed(":1.2", 5)}, 4, true},
		"a broker that starts and exits":       {[]*dbus.Signal{changed("", 3), changed(":1.2", 5)}, 4, true},
		"a broker that has not answered":       {[]*dbus.Signal{changed(":1.2", 5)}, dbus.NoSequence, false},
		"an owner of another name":             {[]*dbus.Signal{{Sender: "org.freedesktop.DBus", Body: []any{"a.b", ":1.2", ""}, Sequence: 5}}, 4, false},
		"a signal of another peer":             {[]*dbus.Signal{{Sender: ":1.3", Body: []any{BusName, ":1.2", ""}, Sequence: 5}}, 4, false},
		"an invalid signal":                    {[]*dbus.Signal{{Sender: "org.freedesktop.DBus", Body: []any{1}, Sequence: 5}}, 4, false},
		"an answer after the signals":          {[]*dbus.Signal{changed(":1.2", 3), changed("", 3)}, 4, false},
	} {
		for order, signalsFirst := range map[string]bool{"signals first": true, "answer first": false} {
			t.Run(name+", "+order, func(t *testing.T) {
				l := NewLink(NewQueue())
				if !signalsFirst {
					l.Established(c.established)
				}
				for _, s := range c.signals {
					l.DeliverSignal("org.freedesktop.DBus", "NameOwnerChanged", s)
				}
				if signalsFirst {
					l.Established(c.established)
				}
				select {
				case <-l.Lost:
					if !c.lost {
						t.Error("the broker is reported as lost")
					}
				default:
					if c.lost {
						t.Error("the loss of the broker is not reported")
					}
				}
			})
		}
	}
}

func TestSignalsOfOthersAreNotDelivered(t *testing.T) {
	q := NewQueue()
	l := NewLink(q)
	odd := events("1")
	odd.Path = "/elsewhere"
	l.DeliverSignal(SubscriptionInterface, "Events", odd)
	l.DeliverSignal("com.example", "Events", events("1"))
	l.DeliverSignal(SubscriptionInterface, "Other", events("1"))
	l.DeliverSignal(SubscriptionInterface, "Events", &dbus.Signal{Path: BrokerPath + "/subscription/1"})
	if q.Position() != "" || len(q.waiting) != 0 {
		t.Errorf("%d signals are queued, up to %q", len(q.waiting), q.Position())
	}
}
