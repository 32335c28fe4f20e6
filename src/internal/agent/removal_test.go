// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"log/slog"
	"testing"
	"time"

	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/retention"
)

func TestRemovalNamesTheLimitsAsTheyAreConfigured(t *testing.T) {
	segments := func(reasons ...retention.Reason) (all []retention.Segment) {
		for _, r := range reasons {
			all = append(all, retention.Segment{Reason: r})
		}
		return all
	}
	for name, c := range map[string]struct {
		limits   Limits
		segments []retention.Segment
		want     string
	}{
		"age":         {Limits{MaxAge: 30 * 24 * time.Hour}, segments(retention.Age, retention.Age), "max_age=30d"},
		"odd age":     {Limits{MaxAge: 90 * time.Minute}, segments(retention.Age), "max_age=1h 30min"},
		"size":        {Limits{MaxSize: Limit{Bytes: 1 << 30}}, segments(retention.Size), "max_size=1G"},
		"odd size":    {Limits{MaxSize: Limit{Bytes: 1<<30 + 1}}, segments(retention.Size), "max_size=1073741825B"},
		"both":        {Limits{MaxSize: Limit{Bytes: 512 << 20}, MaxAge: 24 * time.Hour}, segments(retention.Size, retention.Age), "max_age=1d, max_size=512M"},
		"default":     {Limits{KeepFree: Limit{Auto: true}}, segments(retention.Free), "keep_free=auto"},
		"share":       {Limits{MaxSize: Limit{Percent: 20}}, segments(retention.Size), "max_size=20%"},
		"space given": {Limits{KeepFree: Limit{Bytes: 5 << 20}}, segments(retention.Free), "keep_free=5M"},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKeeper(nil, t.TempDir(), c.limits, slog.New(slog.DiscardHandler))
			if got := k.limitsOf(&logstore.Removal{Segments: c.segments}); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
