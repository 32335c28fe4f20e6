// SPDX-License-Identifier: Apache-2.0

package console

import (
	"testing"
	"time"
)

func TestATimeZoneCanHaveThePOSIXForm(t *testing.T) {
	winter, summer := time.Date(2026, 1, 10, 12, 0, 0, 0, time.UTC), time.Date(2026, 7, 10, 12, 0, 0, 0, time.UTC)
	for tz, want := range map[string][2]string{
		"CET-1CEST,M3.5.0,M10.5.0/3":  {"13:00 CET", "14:00 CEST"},
		"JST-9":                       {"21:00 JST", "21:00 JST"},
		"<+0330>-3:30":                {"15:30 +0330", "15:30 +0330"},
		"EST5EDT,M3.2.0,M11.1.0":      {"07:00 EST", "08:00 EDT"},
		"NZST-12NZDT,M9.5.0,M4.1.0/3": {"01:00 NZDT", "00:00 NZST"},
	} {
		zone := location(tz)
		for i, at := range []time.Time{winter, summer} {
			if got := at.In(zone).Format("15:04 MST"); got != want[i] {
				t.Errorf("%s: %v is %s, want %s", tz, at, got, want[i])
			}
		}
	}
	for _, tz := range []string{"", "UTC", ":Europe/Prague", "Europe/Prague", "nonsense", "CET-1CEST,M3"} {
		if zone := location(tz); zone != time.Local {
			t.Errorf("%q is accepted as %v", tz, zone)
		}
	}
}
