// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"log/slog"
	"strings"
	"time"

	"crypto-auditing/src/internal/message"
)

const (
	// reportInterval is how often continuing losses are logged, and how long
	// nothing must be lost until they count as ended.
	reportInterval = uint64(time.Minute)
	// forever is the timeout of a wait without one.
	forever = time.Duration(-1)
)

// lossReport logs when losses begin, continue and end. Times are those of now.
type lossReport struct {
	log *slog.Logger
	// known are all losses at the last look, before those when the present
	// ones began.
	known, before loss
	// losing is set from their beginning to their end. newest is when the last
	// were noticed, logged when they were last logged, with what was known.
	losing         bool
	newest, logged uint64
	loggedLosses   loss
}

// update looks at the losses since the start, by reason.
func (r *lossReport) update(at uint64, losses []Loss) {
	var total loss
	var reasons []string
	for _, l := range losses {
		if l.Hits > 0 || l.Events > 0 {
			total.add(loss{l.Hits, l.Events})
			reasons = append(reasons, string(l.Reason))
		}
	}
	if total != r.known {
		r.newest = at
	}
	fields := func(since loss) []any {
		return []any{"reason", strings.Join(reasons, " "), "lost_hits", total.hits - since.hits, "lost_events", total.events - since.events}
	}
	switch {
	case total != r.known && !r.losing:
		r.losing, r.before = true, r.known
		r.logged, r.loggedLosses = at, total
		message.LossesBegan.Log(r.log, fields(r.known)...)
	case r.losing && at-r.newest >= reportInterval:
		r.losing = false
		message.LossesEnded.Log(r.log, fields(r.before)...)
	case r.losing && total != r.loggedLosses && at-r.logged >= reportInterval:
		r.log.Warn("events are still being lost", fields(r.loggedLosses)...)
		r.logged, r.loggedLosses = at, total
	}
	r.known = total
}

// due reports whether it is time to look whether the losses have ended.
func (r *lossReport) due(at uint64) bool { return r.losing && at-r.newest >= reportInterval }

// wait returns how long an idle pipeline may wait until that; negative:
// forever.
func (r *lossReport) wait(at uint64) time.Duration {
	if !r.losing {
		return forever
	}
	return time.Duration(r.newest + reportInterval - min(at, r.newest+reportInterval))
}
