// SPDX-License-Identifier: Apache-2.0

package event_test

import (
	"testing"

	"crypto-auditing/src/internal/event"
)

func TestATimeOutOfRangeIsTheEpoch(t *testing.T) {
	for name, c := range map[string]struct {
		boot int64
		ns   uint64
		want int64
	}{
		"ordinary":            {1000, 5, 1005},
		"more than 63 bits":   {0, 1 << 63, 0},
		"overflow of the sum": {1 << 62, 1<<62 + 5, 0},
		"before the epoch":    {-10, 5, -5},
	} {
		t.Run(name, func(t *testing.T) {
			if got := event.WallTime(c.boot, c.ns); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}
