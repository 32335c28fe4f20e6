// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/godbus/dbus/v5"
)

func TestAGroupOfTheBusIsTakenApart(t *testing.T) {
	v := dbus.MakeVariant
	got, err := groupsOf([][]any{{
		uint64(7), "0a", uint64(1_500_000), uint64(2_000_000),
		map[string]dbus.Variant{"parent": v("0b"), "name": v("tls::sign"), "origin": v("abcd"), "executable": v("curl"), "later": v(true)},
		[][]any{{"a", v(int64(-1))}, {"b", v("text")}, {"c", v([]byte{0xff})}},
	}})
	want := []Group{{
		Sequence: 7, Context: "0a", Start: time.Unix(1, 500_000_000), End: time.Unix(2, 0), Opens: true, Parent: "0b",
		Name: "tls::sign", Origin: "abcd", Executable: "curl",
		Data: []Datum{{"a", int64(-1)}, {"b", "text"}, {"c", []byte{0xff}}},
	}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
}

func TestAnswersOfAnotherFormAreRefused(t *testing.T) {
	attributes := map[string]dbus.Variant{}
	for name, value := range map[string]any{
		"no array":               "x",
		"an array of numbers":    []uint64{1},
		"a group of five":        [][]any{{uint64(1), "0a", uint64(1), uint64(2), attributes}},
		"a number for a context": [][]any{{uint64(1), uint64(1), uint64(1), uint64(2), attributes, [][]any{}}},
		"a datum without value":  [][]any{{uint64(1), "0a", uint64(1), uint64(2), attributes, [][]any{{"key"}}}},
		"a value of another type": [][]any{{uint64(1), "0a", uint64(1), uint64(2), attributes,
			[][]any{{"key", dbus.MakeVariant(1.5)}}}},
	} {
		t.Run(name, func(t *testing.T) {
			if groups, err := groupsOf(value); !errors.Is(err, ErrProtocol) {
				t.Errorf("%+v, %v", groups, err)
			}
		})
	}
}

func TestErrorsOfTheBusAreGoErrors(t *testing.T) {
	for name, want := range map[string]error{
		"org.crypto_auditing.Error.InvalidCursor":       ErrInvalidCursor,
		"org.crypto_auditing.Error.ForeignCursor":       ErrForeignCursor,
		"org.crypto_auditing.Error.InvalidFilter":       ErrInvalidFilter,
		"org.crypto_auditing.Error.NoSuchSubscription":  ErrNoSuchSubscription,
		"org.crypto_auditing.Error.SubscriptionExists":  ErrSubscriptionExists,
		"org.crypto_auditing.Error.LimitExceeded":       ErrLimitExceeded,
		"org.crypto_auditing.Error.AgentUnavailable":    ErrAgentUnavailable,
		"org.crypto_auditing.Error.StoreCorrupt":        ErrStoreCorrupt,
		"org.freedesktop.DBus.Error.AccessDenied":       fs.ErrPermission,
		"org.freedesktop.DBus.Error.InvalidArgs":        ErrInvalidArgument,
		"org.freedesktop.DBus.Error.ServiceUnknown":     ErrUnreachable,
		"org.freedesktop.DBus.Error.Spawn.ChildExited":  ErrUnreachable,
		"org.freedesktop.DBus.Error.NoReply":            ErrUnreachable,
		"org.freedesktop.systemd1.NoSuchUnit":           ErrUnreachable,
		"org.freedesktop.DBus.Error.UnknownObject":      ErrNoSuchSubscription,
		"org.freedesktop.DBus.Error.LimitsExceeded":     ErrLimitExceeded,
		"org.freedesktop.DBus.Error.InvalidSignature":   ErrInvalidArgument,
		"org.freedesktop.DBus.Error.Spawn.FileInvalid":  ErrUnreachable,
		"org.freedesktop.DBus.Error.NameHasNoOwner":     ErrUnreachable,
		"org.freedesktop.DBus.Error.TimedOut":           ErrUnreachable,
		"org.freedesktop.DBus.Error.Disconnected":       ErrUnreachable,
		"org.freedesktop.DBus.Error.AuthFailed":         ErrAccessDenied,
		"org.freedesktop.DBus.Error.Spawn.ExecFailed":   ErrUnreachable,
		"org.freedesktop.DBus.Error.Spawn.ForkFailed":   ErrUnreachable,
		"org.freedesktop.DBus.Error.Spawn.ServiceNotOK": ErrUnreachable,
	} {
		for form, err := range map[string]error{
			"value":   dbus.Error{Name: name, Body: []any{"words"}},
			"pointer": &dbus.Error{Name: name, Body: []any{"words"}},
		} {
			got := fmt.Errorf("cannot do it: %w", callError(err))
			var e *Error
			if !errors.Is(got, want) || !errors.As(got, &e) || e.Name != name || got.Error() != "cannot do it: words" {
				t.Errorf("%s %s is %v", form, name, got)
			}
		}
	}
	if err := callError(dbus.ErrClosed); !errors.Is(err, ErrUnreachable) {
		t.Errorf("a broken connection is %v", err)
	}
	if err := callError(context.Canceled); err != context.Canceled {
		t.Errorf("a done context is %v", err)
	}
	if err := callError(dbus.Error{Name: "com.example.Odd"}); err.Error() != "com.example.Odd" || errors.Is(err, ErrUnreachable) {
		t.Errorf("an error of no kind is %v", err)
	}
}

func TestFiltersComeBackAsTheyWere(t *testing.T) {
	want := Filter{
		Scopes: []string{"tls"}, Contexts: []string{"tls::*"}, Keys: []string{"pk::bits"}, Executables: []string{"a", "b"},
		Origins: []string{"abcd"}, Since: time.Unix(1, 0), Until: time.Unix(2, 5000), Matches: []string{"a=b"},
	}
	if got := filterOf(want.encode()); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if none := (&Filter{}).encode(); len(none) != 0 {
		t.Errorf("the filter of all is %v", none)
	}
}

// events returns an Events signal that ends at a cursor.
func events(cursor string) *dbus.Signal {
	return &dbus.Signal{Path: brokerPath + "/subscription/1", Name: subscriptionInterface + ".Events", Body: []any{[][]any{}, cursor}}
}

func deliver(l *link, cursor string) {
	l.DeliverSignal(subscriptionInterface, "Events", events(cursor))
}

func TestAConnectionIsNotReadWhileTheSubscriberLags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		l := newLink(q)
		taken := 0
		go func() {
			for i := range queued + 3 {
				deliver(l, fmt.Sprint(i))
				taken++
			}
		}()
		synctest.Wait()
		if taken != queued {
			t.Fatalf("%d signals were taken of a connection, want %d", taken, queued)
		}
		if _, err := q.take(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if taken != queued+1 {
			t.Errorf("%d signals were taken when there was room for one, want %d", taken, queued+1)
		}
		q.during(synctest.Wait)
		if taken != queued+3 || q.position() != Cursor(fmt.Sprint(queued+2)) {
			t.Errorf("%d signals were taken during a call, up to %s", taken, q.position())
		}
	})
}

func TestNothingOfAGivenUpConnectionIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		l := newLink(q)
		for i := range queued {
			deliver(l, fmt.Sprint(i))
		}
		go deliver(l, "late")
		synctest.Wait()
		l.giveUp()
		deliver(l, "later still")
		synctest.Wait()
		if got := q.position(); got != Cursor(fmt.Sprint(queued-1)) {
			t.Errorf("the position is %s", got)
		}
	})
}

func TestAnEndedQueueGivesWhatItHasAndThenTheError(t *testing.T) {
	q := newQueue()
	deliver(newLink(q), "1")
	q.end(ErrProtocol)
	deliver(newLink(q), "2")
	if d, err := q.take(t.Context()); err != nil || d.body[1] != "1" {
		t.Errorf("%v, %v", d, err)
	}
	for range 2 {
		if d, err := q.take(t.Context()); err != ErrProtocol {
			t.Errorf("%v, %v", d, err)
		}
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newQueue().take(done); err != context.Canceled {
		t.Errorf("of a done context: %v", err)
	}
}

func TestASubscriptionIsLostWithTheBrokerThatHadIt(t *testing.T) {
	changed := func(old string, at dbus.Sequence) *dbus.Signal {
		return &dbus.Signal{Sender: "org.freedesktop.DBus", Body: []any{busName, old, ":1.9"}, Sequence: at}
	}
	for name, c := range map[string]struct {
		signals     []*dbus.Signal
		established dbus.Sequence
		lost        bool
	}{
		"one that began":                        {[]*dbus.Signal{changed("", 5)}, 4, false},
		"one that went before it was asked":     {[]*dbus.Signal{changed(":1.2", 3)}, 4, false},
		"one that went after it had answered":   {[]*dbus.Signal{changed(":1.2", 5)}, 4, true},
		"one that came and went":                {[]*dbus.Signal{changed("", 3), changed(":1.2", 5)}, 4, true},
		"one that has not answered yet":         {[]*dbus.Signal{changed(":1.2", 5)}, dbus.NoSequence, false},
		"one of another name":                   {[]*dbus.Signal{{Sender: "org.freedesktop.DBus", Body: []any{"a.b", ":1.2", ""}, Sequence: 5}}, 4, false},
		"one that somebody else says has gone":  {[]*dbus.Signal{{Sender: ":1.3", Body: []any{busName, ":1.2", ""}, Sequence: 5}}, 4, false},
		"one of which nonsense is said":         {[]*dbus.Signal{{Sender: "org.freedesktop.DBus", Body: []any{1}, Sequence: 5}}, 4, false},
		"one that answered after what was said": {[]*dbus.Signal{changed(":1.2", 3), changed("", 3)}, 4, false},
	} {
		for order, signalsFirst := range map[string]bool{"known at once": true, "known when the answer is": false} {
			t.Run(name+", "+order, func(t *testing.T) {
				l := newLink(newQueue())
				if !signalsFirst {
					l.established(c.established)
				}
				for _, s := range c.signals {
					l.DeliverSignal("org.freedesktop.DBus", "NameOwnerChanged", s)
				}
				if signalsFirst {
					l.established(c.established)
				}
				select {
				case <-l.lost:
					if !c.lost {
						t.Error("it is lost")
					}
				default:
					if c.lost {
						t.Error("it is not lost")
					}
				}
			})
		}
	}
}

func TestSignalsOfOthersAreNotDelivered(t *testing.T) {
	q := newQueue()
	l := newLink(q)
	odd := events("1")
	odd.Path = "/elsewhere"
	l.DeliverSignal(subscriptionInterface, "Events", odd)
	l.DeliverSignal("com.example", "Events", events("1"))
	l.DeliverSignal(subscriptionInterface, "Other", events("1"))
	l.DeliverSignal(subscriptionInterface, "Events", &dbus.Signal{Path: brokerPath + "/subscription/1"})
	if q.position() != "" || len(q.waiting) != 0 {
		t.Errorf("%d wait, up to %q", len(q.waiting), q.position())
	}
}

func TestPausesGrowToALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backoff
		var pauses []time.Duration
		for range 9 {
			before := time.Now()
			if err := b.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			pauses = append(pauses, time.Since(before))
		}
		if pauses[0] != shortestPause || pauses[8] != longestPause || pauses[1] != 2*shortestPause {
			t.Errorf("pauses %v", pauses)
		}
	})
}

func TestCursorsOfOneLogDifferInTheirSequence(t *testing.T) {
	c := Cursor("00112233445566778899aabbccddeeff-0000000000000001")
	if got := c.at(255); got != "00112233445566778899aabbccddeeff-00000000000000ff" {
		t.Errorf("got %s", got)
	}
	if c.firm() != c {
		t.Errorf("%s is %s when more is appended", c, c.firm())
	}
	empty := Cursor(strings.Repeat("0", 32) + "-" + strings.Repeat("0", 16))
	for _, word := range []Cursor{Oldest, Newest, "", empty} {
		if word.concrete() || word.at(1) != "" || word.firm() != Oldest {
			t.Errorf("%q is a position", word)
		}
	}
}
