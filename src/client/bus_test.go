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

func TestAGroupOfTheBusIsParsed(t *testing.T) {
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

func TestMalformedAnswersAreRefused(t *testing.T) {
	attributes := map[string]dbus.Variant{}
	for name, value := range map[string]any{
		"not an array":             "x",
		"an array of numbers":      []uint64{1},
		"a group of five fields":   [][]any{{uint64(1), "0a", uint64(1), uint64(2), attributes}},
		"a number for a context":   [][]any{{uint64(1), uint64(1), uint64(1), uint64(2), attributes, [][]any{}}},
		"an element without value": [][]any{{uint64(1), "0a", uint64(1), uint64(2), attributes, [][]any{{"key"}}}},
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

func TestMalformedOperationsAreRefused(t *testing.T) {
	v := dbus.MakeVariant
	for name, value := range map[string]any{
		"not an array":         "x",
		"a number for a name":  []map[string]dbus.Variant{{"name": v(uint64(1))}},
		"a text for a time":    []map[string]dbus.Variant{{"start": v("now")}},
		"an element of one":    []map[string]dbus.Variant{{"data": v([][]any{{"key"}})}},
		"a number for a child": []map[string]dbus.Variant{{"children": v(int64(1))}},
		"an invalid child":     []map[string]dbus.Variant{{"children": v([]map[string]dbus.Variant{{"orphan": v("yes")}})}},
	} {
		if operations, ok := operationsOf(value, nil); ok {
			t.Errorf("%s: %+v", name, operations)
		}
	}
	if got, ok := operationsOf([]map[string]dbus.Variant{{"context": v("0a"), "later": v(true)}}, nil); !ok || len(got) != 1 || got[0].Context != "0a" {
		t.Errorf("%+v, %v", got, ok)
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
		t.Errorf("a cancelled context is %v", err)
	}
	if err := callError(dbus.Error{Name: "com.example.Odd"}); err.Error() != "com.example.Odd" || errors.Is(err, ErrUnreachable) {
		t.Errorf("an unknown error is %v", err)
	}
}

func TestFiltersRoundTrip(t *testing.T) {
	want := Filter{
		Scopes: []string{"tls"}, Contexts: []string{"tls::*"}, Keys: []string{"pk::bits"}, Executables: []string{"a", "b"},
		Origins: []string{"abcd"}, Units: []string{"a.service"}, Sources: []string{"wire", "usdt"}, Since: time.Unix(1, 0), Until: time.Unix(2, 5000), Matches: []string{"a=b"},
	}
	if got := filterOf(want.encode()); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if lists := want.Lists(); len(lists) != 8 || !reflect.DeepEqual(lists["units"], want.Units) || !reflect.DeepEqual(lists["sources"], want.Sources) {
		t.Errorf("lists %v", lists)
	}
	if none := (&Filter{}).encode(); len(none) != 0 {
		t.Errorf("the empty filter is %v", none)
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

func TestCursorsOfOneLogDifferOnlyInTheSequence(t *testing.T) {
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
			t.Errorf("%q is treated as a position", word)
		}
	}
}
