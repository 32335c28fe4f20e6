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

// reminder is the interval at which suspended limits are reported.
const reminder = 24 * time.Hour

// guard suspends limits that would remove the whole log at once, that is every closed
// segment, of at least two, which indicates a configuration mistake. They remain
// suspended until they would no longer remove the newest of those segments, because they
// were changed or because the log was truncated on purpose. It must be used by the
// goroutine of maintenance only.
type guard struct {
	log *slog.Logger
	// limits are the suspended limits, nil if none are.
	limits *retention.Policy
	// newest is the segment that must not be removed, by its first sequence.
	newest uint64
	// relaxed is the policy while they are suspended.
	relaxed  retention.Policy
	reported time.Time
}

// apply returns the policy to apply, given the segments that the limits would remove
// from the log in dir.
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

// relaxed returns a policy without the limits that would remove segments. A limit of the
// size is replaced by the present size, or by the default if that is larger, so that the
// log remains bounded.
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

// report logs which limits are suspended, and the remedy.
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
