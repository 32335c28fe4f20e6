// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"log/slog"
	"testing"
	"time"

	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/prune"
	"crypto-auditing/src/internal/retention"
)

func TestRemovalNamesTheConfiguredLimits(t *testing.T) {
	segments := func(reasons ...prune.Reason) (all []prune.Segment) {
		for _, r := range reasons {
			all = append(all, prune.Segment{Reason: r})
		}
		return all
	}
	for name, c := range map[string]struct {
		limits   retention.Policy
		segments []prune.Segment
		want     string
	}{
		"age":         {retention.Policy{MaxAge: 30 * 24 * time.Hour}, segments(prune.Age, prune.Age), "max_age=30d"},
		"odd age":     {retention.Policy{MaxAge: 90 * time.Minute}, segments(prune.Age), "max_age=1h 30min"},
		"size":        {retention.Policy{MaxSize: retention.Limit{Bytes: 1 << 30}}, segments(prune.Size), "max_size=1G"},
		"odd size":    {retention.Policy{MaxSize: retention.Limit{Bytes: 1<<30 + 1}}, segments(prune.Size), "max_size=1073741825B"},
		"both":        {retention.Policy{MaxSize: retention.Limit{Bytes: 512 << 20}, MaxAge: 24 * time.Hour}, segments(prune.Size, prune.Age), "max_age=1d, max_size=512M"},
		"default":     {retention.Policy{KeepFree: retention.Limit{Auto: true}}, segments(prune.Free), "keep_free=auto"},
		"share":       {retention.Policy{MaxSize: retention.Limit{Percent: 20}}, segments(prune.Size), "max_size=20%"},
		"space given": {retention.Policy{KeepFree: retention.Limit{Bytes: 5 << 20}}, segments(prune.Free), "keep_free=5M"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMaintenance(nil, t.TempDir(), c.limits, slog.New(slog.DiscardHandler))
			if got := m.limitsOf(&logstore.Removal{Segments: c.segments}); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
