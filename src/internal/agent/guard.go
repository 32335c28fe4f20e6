// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"log/slog"
	"slices"
	"strings"
	"time"

	"crypto-auditing/src/internal/logstore/prune"
	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/retention"
)

// reminder is how often suspended limits are reported.
const reminder = 24 * time.Hour

// guard suspends limits that would remove the whole log at once, which is what
// a mistake in the configuration does: every closed segment, of at least two.
// They are suspended until they would not remove the newest of those segments
// any more, because they were changed or because the log was truncated on
// purpose. It belongs to the keeper's goroutine.
type guard struct {
	log *slog.Logger
	// limits are those that are suspended; nil: none are.
	limits *retention.Policy
	// newest is the segment that they must not remove, by its first sequence.
	newest uint64
	// relaxed is the policy meanwhile.
	relaxed  retention.Policy
	reported time.Time
}

// apply returns the policy to apply, given what the limits plan to remove from the
// log in dir.
func (g *guard) apply(limits *retention.Policy, plan []prune.Segment, dir string) retention.Policy {
	if g.limits != nil {
		held := slices.ContainsFunc(plan, func(s prune.Segment) bool { return s.First == g.newest })
		if held && g.limits == limits {
			g.report(limits, plan)
			return g.relaxed
		}
		g.limits = nil
		if !held {
			message.LimitsApply.Log(g.log)
			return *limits
		}
	}
	if all, err := prune.All(dir, plan); err != nil || !all {
		return *limits
	}
	g.limits, g.newest, g.relaxed, g.reported = limits, plan[len(plan)-1].First, relaxed(*limits, plan), time.Time{}
	g.report(limits, plan)
	return g.relaxed
}

// relaxed returns a policy without the limits because of which segments go. In
// place of a size, the log may have the size it has, or the default if that is
// more, so that it does not grow without bound.
func relaxed(p retention.Policy, plan []prune.Segment) retention.Policy {
	var size int64
	for _, s := range plan {
		size += s.Bytes
		p = p.Without(string(s.Reason))
	}
	if slices.ContainsFunc(plan, func(s prune.Segment) bool { return s.Reason == prune.Size }) {
		p.MaxSize = retention.Limit{Bytes: max(size, retention.AutoSizeBound)}
	}
	return p
}

// report logs which limits are suspended, and what to do about them.
func (g *guard) report(limits *retention.Policy, plan []prune.Segment) {
	if time.Since(g.reported) < reminder {
		return
	}
	g.reported = time.Now()
	var bytes int64
	var keys, options []string
	for _, d := range prune.Decided(limits, plan) {
		keys = append(keys, configKey(d)+" = \""+d.Value+"\"")
		options = append(options, "--"+d.Option+"=\""+d.Value+"\"")
	}
	for _, s := range plan {
		bytes += s.Bytes
	}
	message.LimitsSuspended.Log(g.log, "limits", strings.Join(keys, ", "), "segments", len(plan), "bytes", bytes,
		"remedy", "crauctl vacuum --force "+strings.Join(options, " "))
}
