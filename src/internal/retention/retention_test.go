// SPDX-License-Identifier: Apache-2.0

package retention_test

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"crypto-auditing/dbus"
	"crypto-auditing/src/internal/retention"
)

// Every rule has an option and a field of the policy, except those for reading by name. Only
// changes are sent over the bus.
func TestChangesReachThePolicyAndTheBus(t *testing.T) {
	day, size, free := 24*time.Hour, uint64(1<<30), uint64(0)
	p := retention.Policy{
		MaxAge: time.Hour, MaxSize: retention.Limit{Auto: true}, KeepFree: retention.Limit{Auto: true}, Reading: retention.Keep, Hold: time.Minute,
	}
	for name, c := range map[string]struct {
		changes retention.Changes
		want    retention.Policy
		given   map[string]any
	}{
		"nothing": {retention.Changes{}, p, map[string]any{}},
		"everything": {
			retention.Changes{MaxAge: &day, MaxSize: &size, KeepFree: &free, Reading: retention.Drop, Hold: &day, Force: true},
			retention.Policy{MaxAge: day, MaxSize: retention.Limit{Bytes: 1 << 30}, Reading: retention.Drop, Hold: day, Force: true},
			map[string]any{
				"max-age-usec": uint64(86400e6), "max-size": size, "keep-free": free, "reading": "drop", "hold-usec": uint64(86400e6), "force": true,
			},
		},
		"shares": {
			retention.Changes{MaxSizePercent: 10, KeepFreePercent: 20},
			retention.Policy{
				MaxAge: time.Hour, MaxSize: retention.Limit{Percent: 10}, KeepFree: retention.Limit{Percent: 20}, Reading: retention.Keep, Hold: time.Minute,
			},
			map[string]any{"max-size-percent": uint32(10), "keep-free-percent": uint32(20)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := p.With(c.changes); err != nil || got != c.want {
				t.Errorf("the policy is %+v, %v, want %+v", got, err, c.want)
			}
			if got := c.changes.Given(); !reflect.DeepEqual(got, c.given) {
				t.Errorf("given: %v, want %v", got, c.given)
			}
		})
	}
	for name, c := range map[string]retention.Changes{
		"too large":  {MaxSize: &[]uint64{math.MaxInt64 + 1}[0]},
		"over 100 %": {KeepFreePercent: 101},
	} {
		if _, err := p.With(c); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestDefaultsMatchJournald(t *testing.T) {
	auto := retention.Policy{MaxSize: retention.Limit{Auto: true}, KeepFree: retention.Limit{Auto: true}}
	for total, want := range map[int64][2]int64{
		10_000:    {1000, 1500},
		100 << 40: {4 << 30, 100 << 40 / 100 * 15},
	} {
		if size, free := auto.Bounds(total); size != want[0] || free != want[1] {
			t.Errorf("the limits for %d bytes are %d and %d, want %v", total, size, free, want)
		}
	}
}

func TestDecisionsNameTheConfiguredRules(t *testing.T) {
	p := retention.Policy{MaxAge: 30 * 24 * time.Hour, MaxSize: retention.Limit{Bytes: 1 << 30}, Reading: retention.Drop}
	got := p.Decided(func(key string) bool { return slices.Contains([]string{"reading", "max-size", "max-age"}, key) })
	want := []retention.Decision{{"max-age", "vacuum-time", "30d"}, {"max-size", "vacuum-size", "1G"}, {"reading", "reading", "drop"}}
	if !slices.Equal(got, want) {
		t.Errorf("the decisions are %v, want %v", got, want)
	}
}

func TestEveryRuleIsDocumented(t *testing.T) {
	var c retention.Changes
	for _, r := range c.Rules() {
		if !strings.Contains(dbus.Introspection, "`"+r.BusKey()+"` ") {
			t.Errorf("the description of the interface lacks %s", r.BusKey())
		}
	}
}
