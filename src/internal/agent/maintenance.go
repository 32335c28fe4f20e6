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

// maintenance seals and removes segments, in its own goroutine.
type maintenance struct {
	writer *logstore.Writer
	dir    string
	limits atomic.Pointer[retention.Policy]
	guard  guard
	log    *slog.Logger
}

func newMaintenance(w *logstore.Writer, dir string, limits retention.Policy, log *slog.Logger) *maintenance {
	m := &maintenance{writer: w, dir: dir, guard: guard{log: log}, log: log}
	m.limits.Store(&limits)
	return m
}

func (m *maintenance) run(ctx context.Context) {
	m.writer.Maintain(ctx, keepInterval, func() retention.Policy { return m.policy(ctx) }, m.announce, m.report)
}

// policy returns the policy to apply to the store. Limits that would remove the whole
// log are suspended.
func (m *maintenance) policy(ctx context.Context) retention.Policy {
	limits := m.limits.Load()
	plan, err := prune.Plan(ctx, m.dir, *limits, time.Now(), nil)
	if err != nil {
		return *limits // Retain reports it
	}
	return m.guard.apply(limits, plan, m.dir)
}

func (m *maintenance) report(r logstore.Maintenance) {
	switch {
	case r.Err != nil:
		m.log.Error("cannot seal or remove a segment", "error", r.Err)
	case r.Removed != nil:
		logRemoval(m.log, r.Removed, m.remover(r.Removed))
	case r.Sealed != nil && r.Sealed.Err != nil:
		message.SegmentDamaged.Log(m.log, "segment", r.Sealed.Segment, "error", r.Sealed.Err)
	}
}
