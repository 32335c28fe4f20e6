// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/retention"
	"crypto-auditing/src/internal/message"
)

// keepInterval is how often the limits of the log are looked at, besides
// whenever a segment begins.
const keepInterval = time.Minute

// Limits bound the log. Whole segments go, the oldest first.
type Limits = retention.Limits

// Limit is a number of bytes, which may depend on the file system.
type Limit = retention.Limit

// keeper seals and removes segments, in its own goroutine.
type keeper struct {
	writer *logstore.Writer
	dir    string
	limits atomic.Pointer[Limits]
	guard  guard
	log    *slog.Logger
}

func newKeeper(w *logstore.Writer, dir string, limits Limits, log *slog.Logger) *keeper {
	k := &keeper{writer: w, dir: dir, guard: guard{log: log}, log: log}
	k.limits.Store(&limits)
	return k
}

func (k *keeper) run(ctx context.Context) {
	k.writer.Maintain(ctx, keepInterval, func() retention.Policy { return k.policy(ctx) }, k.announce, k.report)
}

// policy returns what limits the store at the moment. Limits that would remove
// the whole log are suspended.
func (k *keeper) policy(ctx context.Context) retention.Policy {
	limits := k.limits.Load()
	p, err := limits.Policy(k.dir)
	if err != nil {
		k.log.Error("cannot apply the limits of the log", "error", err)
		return retention.Policy{}
	}
	plan, err := retention.Plan(ctx, k.dir, p, time.Now(), nil)
	if err != nil {
		return p // Retain reports it
	}
	return k.guard.apply(limits, p, plan, k.dir)
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
