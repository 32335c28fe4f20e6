// SPDX-License-Identifier: Apache-2.0

package inventory_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/inventory"
	"crypto-auditing/src/internal/inventory/coverage"
	"crypto-auditing/src/internal/status"
)

func TestTheStatusOfTheAgentCompletesTheCoverage(t *testing.T) {
	now := time.Unix(1_700_000_000, 0).UTC()
	watched := status.Library{Path: "/usr/lib64/libssl.so.3", BuildID: "12", Since: now}
	running := func(change func(*status.Agent)) *status.Broker {
		a := &status.Agent{
			Started:   now.Add(-time.Hour),
			Sources:   []status.Source{{Name: "usdt", FrontEnd: "uprobe_multi"}, {Name: "wire", FrontEnd: "trampoline"}, {Name: "function", FrontEnd: "uprobe_multi"}},
			Libraries: []status.Library{watched},
		}
		change(a)
		return &status.Broker{AgentActive: true, AgentState: "running", Agent: a}
	}
	for name, c := range map[string]struct {
		status *status.Broker
		want   func(*coverage.Coverage) bool
		unseen []string // parts of sentences, besides the one about the kernel
	}{
		"no status": {nil, func(c *coverage.Coverage) bool { return c.Sources == nil }, nil},
		"all sources": {running(func(*status.Agent) {}), func(c *coverage.Coverage) bool {
			return reflect.DeepEqual(c.Sources, []string{"usdt", "wire", "function"}) && reflect.DeepEqual(c.Libraries, []coverage.Library{{ID: "12", Name: "libssl.so.3"}})
		}, nil},
		"a source that is off": {running(func(a *status.Agent) { a.Sources = a.Sources[:2] }), func(c *coverage.Coverage) bool { return len(c.Sources) == 2 }, []string{"source function is off"}},
		"a source that failed": {running(func(a *status.Agent) { a.Sources[1].FrontEnd = "" }), func(c *coverage.Coverage) bool { return len(c.Sources) == 2 }, []string{"source wire is off"}},
		"excluded programs": {running(func(a *status.Agent) {
			a.Exclusions = []status.Exclusion{{Rule: "executable=a"}, {Rule: "user=b", Handshakes: 3, Hits: 4}}
		}), func(*coverage.Coverage) bool { return true }, []string{`"executable=a" excludes programs.`, `"user=b" excludes programs: 3 handshakes and 4 probe hits`}},
		"a library that cannot be recorded": {running(func(a *status.Agent) {
			a.Libraries = append(a.Libraries, status.Library{Path: "/opt/libx.so", BuildID: "34", Error: "no sites"})
		}), func(c *coverage.Coverage) bool { return len(c.Libraries) == 1 }, []string{"/opt/libx.so is not recorded: no sites"}},
		"an agent that does not answer": {&status.Broker{AgentActive: true, AgentError: "timeout"}, func(c *coverage.Coverage) bool { return c.Down == nil }, []string{"does not report its sources: timeout"}},
		"a stopped agent": {&status.Broker{AgentState: "failed", AgentSince: now.Add(-time.Minute)}, func(c *coverage.Coverage) bool {
			return reflect.DeepEqual(c.Down, []coverage.Span{{From: now.Add(-time.Minute), To: now, Reason: "agent-failed"}})
		}, []string{"nothing is recorded now"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got coverage.Coverage
			inventory.Cover(&got, c.status, nil, now)
			if !c.want(&got) {
				t.Errorf("the coverage is %+v", got)
			}
			for i, part := range append([]string{"cryptography of the kernel"}, c.unseen...) {
				if i >= len(got.Unseen) || !strings.Contains(got.Unseen[i], part) {
					t.Errorf("the unseen are %q, want %q", got.Unseen, part)
				}
			}
			if len(got.Unseen) != len(c.unseen)+1 {
				t.Errorf("the unseen are %q", got.Unseen)
			}
		})
	}
	known := coverage.Coverage{Libraries: []coverage.Library{{ID: "12", Name: "libssl.so.3", Operations: 5}}}
	inventory.Cover(&known, running(func(*status.Agent) {}), []string{"disk encryption (1 volume)", "IPsec"}, now)
	if len(known.Libraries) != 1 || known.Libraries[0].Operations != 5 {
		t.Errorf("a library with operations became %+v", known.Libraries)
	}
	if want := "kernel TLS. This machine uses disk encryption (1 volume), IPsec."; len(known.Unseen) != 1 || !strings.HasSuffix(known.Unseen[0], want) {
		t.Errorf("the unseen are %q, want %q at its end", known.Unseen, want)
	}
}

func TestAnAgentStoppedAfterAPeriodIsNotAGap(t *testing.T) {
	now := time.Unix(1_700_000_000, 0).UTC()
	c := config(t, t.TempDir())
	c.Now = func() time.Time { return now }
	c.Status = func(context.Context) (*status.Broker, error) {
		return &status.Broker{AgentState: "stopped", AgentSince: now.Add(-time.Minute)}, nil
	}
	i := open(t, c)
	for until, want := range map[time.Time]int{{}: 1, now: 1, now.Add(-time.Hour): 0} {
		o, err := i.Observed(t.Context(), inventory.Filter{Until: until})
		if err != nil || len(o.Coverage.Down) != want {
			t.Errorf("until %s: times without recording are %+v, %v", until, o.Coverage.Down, err)
		}
	}
}

func TestObservedFailsWithoutAStatus(t *testing.T) {
	c := config(t, t.TempDir())
	bad := errors.New("no broker")
	c.Status = func(context.Context) (*status.Broker, error) { return nil, bad }
	if _, err := open(t, c).Observed(t.Context(), inventory.Filter{}); !errors.Is(err, bad) {
		t.Errorf("the error is %v", err)
	}
}
