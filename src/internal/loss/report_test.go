// SPDX-License-Identifier: Apache-2.0

package loss

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/message"
)

func TestLossesAreLoggedWhenTheyBeginContinueAndEnd(t *testing.T) {
	var b bytes.Buffer
	r := Report{Log: slog.New(slog.NewTextHandler(&b, nil))}
	const second = uint64(time.Second)
	start := 1000 * second
	began, ended := message.LossesBegan.ID(), message.LossesEnded.ID()
	for _, step := range []struct {
		after        uint64 // seconds since the start
		hits, events uint64
		want         []string // parts of the message; none: nothing is logged
	}{
		{after: 0},
		{after: 1, hits: 1, events: 2, want: []string{"level=WARN", began, "reason=ring-full", "lost_hits=1", "lost_events=2"}},
		{after: 2, hits: 5, events: 9},
		{after: 60, hits: 6, events: 9},
		{after: 61, hits: 8, events: 12, want: []string{"level=WARN", "still", "lost_hits=7", "lost_events=10"}},
		{after: 120, hits: 8, events: 12},
		{after: 121, hits: 8, events: 12, want: []string{"level=INFO+2", ended, "lost_hits=8", "lost_events=12"}},
		{after: 500, hits: 8, events: 12},
		{after: 501, hits: 9, events: 13, want: []string{began, "lost_hits=1", "lost_events=1"}},
		{after: 561, hits: 9, events: 13, want: []string{ended, "lost_hits=1", "lost_events=1"}},
	} {
		b.Reset()
		at := start + step.after*second
		r.Update(at, []Loss{{Reason: RingFull, Hits: step.hits, Events: step.events}, {Reason: RateLimit}})
		if len(step.want) == 0 && b.Len() > 0 {
			t.Errorf("after %d s, %s is logged", step.after, b.String())
		}
		for _, want := range step.want {
			if !strings.Contains(b.String(), want) {
				t.Errorf("after %d s, %q is logged, want %s", step.after, b.String(), want)
			}
		}
		if wait := r.Wait(at); r.losing != (wait >= 0) || wait > time.Minute {
			t.Errorf("after %d s, losing %v, the pipeline may wait %v", step.after, r.losing, wait)
		}
	}
}
