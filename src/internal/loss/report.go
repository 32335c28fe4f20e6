// SPDX-License-Identifier: Apache-2.0

package loss

import (
	"log/slog"
	"strings"
	"time"

	"crypto-auditing/src/internal/message"
)

// reportInterval is the interval at which ongoing losses are logged, and the time without
// losses after which they count as ended.
const reportInterval = uint64(time.Minute)

// Report logs when losses begin, continue and end. Times are in nanoseconds since boot. It is
// for use by one goroutine.
type Report struct {
	Log *slog.Logger
	// known is the total at the last update, before the total when the current losses
	// began.
	known, before Count
	// losing is set while losses continue. newest is the time when the last loss was
	// noticed, logged the time when losses were last logged, loggedLosses the total then.
	losing         bool
	newest, logged uint64
	loggedLosses   Count
}

// Update processes the losses since the start, by reason.
func (r *Report) Update(at uint64, losses []Loss) {
	var total Count
	var reasons []string
	for _, l := range losses {
		if l.Hits > 0 || l.Events > 0 {
			total.Add(Count{l.Hits, l.Events})
			reasons = append(reasons, string(l.Reason))
		}
	}
	if total != r.known {
		r.newest = at
	}
	fields := func(since Count) []any {
		return []any{"reason", strings.Join(reasons, " "), "lost_hits", total.Hits - since.Hits, "lost_events", total.Events - since.Events}
	}
	switch {
	case total != r.known && !r.losing:
		r.losing, r.before = true, r.known
		r.logged, r.loggedLosses = at, total
		message.LossesBegan.Log(r.Log, fields(r.known)...)
	case r.losing && at-r.newest >= reportInterval:
		r.losing = false
		message.LossesEnded.Log(r.Log, fields(r.before)...)
	case r.losing && total != r.loggedLosses && at-r.logged >= reportInterval:
		r.Log.Warn("events are still being lost", fields(r.loggedLosses)...)
		r.logged, r.loggedLosses = at, total
	}
	r.known = total
}

// Due reports whether it is time to check whether the losses have ended.
func (r *Report) Due(at uint64) bool { return r.losing && at-r.newest >= reportInterval }

// Wait returns how long an idle pipeline may wait until Due; negative means without limit.
func (r *Report) Wait(at uint64) time.Duration {
	if !r.losing {
		return -1
	}
	return time.Duration(r.newest + reportInterval - min(at, r.newest+reportInterval))
}
