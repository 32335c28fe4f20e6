// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"strings"
	"time"

	"crypto-auditing/src/internal/boottime"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/prune"
	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/retention"
)

// ErrRemovesAll reports that the removal would remove the whole log and was not forced.
var ErrRemovesAll = errors.New("it would remove the whole log at once")

// Remove removes the segments without entries after the cursor, oldest first, never the
// active one, on behalf of a user. A notice is written to the log first. Unless forced,
// it returns ErrRemovesAll instead of removing the whole log.
func (a *Agent) Remove(ctx context.Context, before logstore.Cursor, by retention.Remover) (logstore.Removal, error) {
	if !by.Force {
		plan, err := prune.Plan(ctx, a.options.LogDir, retention.Policy{Read: before.Sequence, Reading: retention.Drop}, time.Now(), nil)
		all := false
		if err == nil {
			all, err = prune.All(a.options.LogDir, plan)
		}
		switch {
		case err != nil:
			return logstore.Removal{}, fmt.Errorf("cannot remove segments: %w", err)
		case all:
			return logstore.Removal{}, ErrRemovesAll
		}
	}
	removed, err := a.writer.Remove(ctx, before, func(r logstore.Removal) []byte { return removalNotice(&r, by, boottime.Now()) })
	if len(removed.Segments) > 0 {
		logRemoval(a.options.Log, &removed, by)
	}
	return removed, err
}

// removalNotice returns the notice of a removal.
func removalNotice(r *logstore.Removal, by retention.Remover, at uint64) []byte {
	return event.AppendRemoval(nil, &event.Removal{
		First: r.First(), Last: r.Last(), Segments: len(r.Segments), Bytes: r.Bytes,
		User: by.User, UID: by.UID, Policy: by.Policy, Time: at,
	})
}

func logRemoval(log *slog.Logger, r *logstore.Removal, by retention.Remover) {
	message.SegmentsRemoved.Log(log, "user", by.User, "uid", by.UID, "policy", by.Policy,
		"first", r.First(), "last", r.Last(), "segments", len(r.Segments), "bytes", r.Bytes)
}

// announce returns the notice of a removal by the agent's own limits.
func (m *maintenance) announce(r logstore.Removal) []byte {
	return removalNotice(&r, m.remover(&r), boottime.Now())
}

// remover describes the agent itself, with the limits that the removed segments exceed.
func (m *maintenance) remover(r *logstore.Removal) retention.Remover {
	by := retention.Remover{UID: uint32(os.Getuid()), Policy: m.limitsOf(r)}
	if u, err := user.Current(); err == nil {
		by.User = u.Username
	}
	return by
}

// limitsOf returns the limits that the segments exceed, in the form of the
// configuration.
func (m *maintenance) limitsOf(r *logstore.Removal) string {
	var limits []string
	for _, d := range prune.Decided(m.limits.Load(), r.Segments) {
		limits = append(limits, configKey(d)+"="+d.Value)
	}
	return strings.Join(limits, ", ")
}

// configKey returns the configuration key of a limit.
func configKey(d retention.Decision) string { return strings.ReplaceAll(d.Key, "-", "_") }
