// SPDX-License-Identifier: Apache-2.0

package agentctl

import (
	"bytes"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/agentunit"
	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/goldentest"
)

func TestTheStatusOfTheBrokerIsShown(t *testing.T) {
	at := func(us int64) time.Time { return time.UnixMicro(1_800_000_000_000_000 + us) }
	b := client.Status{}
	b.Version, b.Started, b.Oldest, b.Newest = "1.2", at(1), "a-1", "a-9"
	b.Broker.Oldest, b.Broker.Newest = "a-1", "a-9"
	b.Segments, b.DiskUsage, b.DiskFree, b.EventsLost = 2, 4096, 1<<40, 8
	b.Lost, b.LostSince = map[string]uint64{"ring-full": 7, "disk-full": 1}, at(2)
	b.Unrecorded = []client.Unrecorded{
		{From: at(3), To: at(4), Reason: "agent-killed"},
		{From: time.UnixMicro(0), To: at(5e6), Reason: "library-replaced", Library: "libssl.so.3<&>"},
	}
	b.UnrecordedCount, b.UnrecordedTotal = 40, 1234567*time.Microsecond
	b.Removed = &client.Removal{Time: at(6), User: "alice", UID: 1000, Policy: "max-age=30d", First: 1, Last: 9, Segments: 2, Bytes: 100}
	b.Scanning, b.Subscriptions, b.Attached, b.Streams = true, 5, 4, 3
	b.StoreError, b.AgentError = "cannot read <it>", "odd"
	empty := client.Status{}
	empty.Started = at(1)
	inventory := inventoryStatus{Running: true, Version: "1.2", Uncounted: 1234, UpToDate: "a-5"}
	for name, s := range map[string]*wholeStatus{
		"inventory":         {broker: &empty, inventory: &inventory},
		"idle-inventory":    {broker: &empty, inventory: &inventoryStatus{}},
		"damaged-inventory": {broker: &empty, inventory: &inventoryStatus{Running: true, Error: "cannot read <it>"}},
		"broker":            {broker: &b, unit: agentunit.Status{State: agentunit.Running, Since: at(7)}},
		"empty":             {broker: &empty},
	} {
		for _, form := range []string{"short", "json"} {
			var out bytes.Buffer
			e := &console.Environment{
				Stdout: &out, Now: func() time.Time { return at(100e6) }, Location: time.UTC,
				Lookup: func(string) (string, bool) { return "", false },
			}
			var f agentFlags
			command := &cobra.Command{}
			f.output.Add(command)
			if err := command.Flags().Set("output", form); err != nil {
				t.Fatal(err)
			}
			if err := f.show(e, s); err != nil {
				t.Fatal(err)
			}
			goldentest.Compare(t, name+"-"+form+".golden", out.String())
		}
	}
}
