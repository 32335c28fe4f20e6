// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/prune"
	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/retention"
)

// keepInterval is the interval at which the limits of the log are applied, in addition
// to the start of each segment.
const keepInterval = time.Minute

// keeper seals and removes segments, in its own goroutine.
type keeper struct {
	writer *logstore.Writer
	dir    string
	limits atomic.Pointer[retention.Policy]
	guard  guard
	log    *slog.Logger
}

func newKeeper(w *logstore.Writer, dir string, limits retention.Policy, log *slog.Logger) *keeper {
	k := &keeper{writer: w, dir: dir, guard: guard{log: log}, log: log}
	k.limits.Store(&limits)
	return k
}

func (k *keeper) run(ctx context.Context) {
	k.writer.Maintain(ctx, keepInterval, func() retention.Policy { return k.policy(ctx) }, k.announce, k.report)
}

// policy returns the policy to apply to the store. Limits that would remove the whole
// log are suspended.
func (k *keeper) policy(ctx context.Context) retention.Policy {
	limits := k.limits.Load()
	plan, err := prune.Plan(ctx, k.dir, *limits, time.Now(), nil)
	if err != nil {
		return *limits // Retain reports it
	}
	return k.guard.apply(limits, plan, k.dir)
}

func (k *keeper) report(m logstore.Maintenance) {
	switch {
	case m.Err != nil:
		k.log.Error("cannot seal or remove a segment", "error", m.Err)
	case m.Removed != nil:
		logRemoval(k.log, m.Removed, k.remover(m.Removed))
	case m.Sealed != nil && m.Sealed.Err != nil:
		message.SegmentDamaged.Log(k.log, "segment", m.Sealed.Segment, "error", m.Sealed.Err)
	}
}
