// SPDX-License-Identifier: Apache-2.0

package agentunit

import (
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

func TestStatesMatchTheUnit(t *testing.T) {
	at := time.UnixMicro(1_700_000_000_000_000)
	for name, c := range map[string]struct {
		properties map[string]any
		want       Status
		connect    bool
	}{
		"active":     {map[string]any{"ActiveState": "active", "ActiveEnterTimestamp": uint64(at.UnixMicro())}, Status{State: Running, Since: at}, true},
		"reloading":  {map[string]any{"ActiveState": "reloading"}, Status{State: Running}, true},
		"starting":   {map[string]any{"ActiveState": "activating", "SubState": "start"}, Status{State: Starting}, true},
		"stopped":    {map[string]any{"ActiveState": "inactive", "InactiveEnterTimestamp": uint64(at.UnixMicro())}, Status{State: Stopped, Since: at}, false},
		"never ran":  {map[string]any{"ActiveState": "inactive", "InactiveEnterTimestamp": uint64(0)}, Status{State: Stopped}, false},
		"stopping":   {map[string]any{"ActiveState": "deactivating"}, Status{State: Stopped}, false},
		"restarting": {map[string]any{"ActiveState": "activating", "SubState": "auto-restart", "StatusText": "failed: no leave"}, Status{State: Failed, Reason: "no leave"}, false},
		"failed":     {map[string]any{"ActiveState": "failed", "StatusText": "recording 2 libraries"}, Status{State: Failed, Reason: "see journalctl -u crypto-auditing-agent.service"}, false},
		"unknown":    {map[string]any{"ActiveState": "maintenance"}, Status{State: Unknown, Reason: `the service manager knows the state "maintenance"`}, false},
		"no state":   {nil, Status{State: Unknown, Reason: `the service manager knows the state ""`}, false},
	} {
		t.Run(name, func(t *testing.T) {
			properties := map[string]dbus.Variant{}
			for key, value := range c.properties {
				properties[key] = dbus.MakeVariant(value)
			}
			if got := statusOf(properties); got != c.want || got.State.MayConnect() != c.connect {
				t.Errorf("the status is %+v, may connect %v", got, got.State.MayConnect())
			}
		})
	}
}

func TestWithoutABusTheStateIsUnknown(t *testing.T) {
	dir := t.TempDir()
	got := Query(t.Context(), "unix:path="+dir+"/none", dir)
	if got.State != Unknown || got.State.MayConnect() || !strings.Contains(got.Reason, "cannot connect to the system bus") {
		t.Errorf("the status is %+v", got)
	}
}

func TestWithoutSystemdTheAgentMayBeConnectedTo(t *testing.T) {
	dir := t.TempDir()
	if got := Query(t.Context(), "unix:path="+dir+"/none", dir+"/none"); got != (Status{State: Unmanaged}) || !got.State.MayConnect() {
		t.Errorf("the status is %+v", got)
	}
}
