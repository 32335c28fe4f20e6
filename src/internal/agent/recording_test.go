// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

func TestStartNoticeHasTheReasonOfTheGap(t *testing.T) {
	boot, other := [16]byte{1}, [16]byte{2}
	for name, c := range map[string]struct {
		previous logstore.Previous
		reason   event.UnrecordedReason
	}{
		"new store":       {logstore.Previous{}, ""},
		"agent stopped":   {logstore.Previous{End: 5, Orderly: true, BootID: boot}, event.AgentStopped},
		"agent killed":    {logstore.Previous{End: 5, BootID: boot}, event.AgentKilled},
		"machine stopped": {logstore.Previous{End: 5, Orderly: true, BootID: other}, event.MachineStopped},
		"machine crashed": {logstore.Previous{End: 5, BootID: other}, event.MachineCrashed},
	} {
		t.Run(name, func(t *testing.T) {
			r := startNotice(c.previous, boot, 7)
			want := event.Recording{State: event.Started, BootID: boot, Time: 7, Since: c.previous.End, Reason: c.reason}
			if r != want {
				t.Errorf("got %+v, want %+v", r, want)
			}
		})
	}
}
