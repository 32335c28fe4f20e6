// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/retention"
	"crypto-auditing/src/internal/message"
)

// Remover is the user that has a part of the log removed, and the reason.
type Remover struct {
	// UID and User identify the user; User is empty if the name is unknown.
	UID  uint32
	User string
	// Policy describes the policy that is applied, such as "max-age=30d";
	// empty if the caller gave none.
	Policy string
}

// Remove removes the segments that hold nothing after the cursor, oldest
// first, never the active one, on behalf of a user. The log has a record of it
// before.
func (a *Agent) Remove(before logstore.Cursor, by Remover) (logstore.Removal, error) {
	removed, err := a.writer.Remove(before, func(r logstore.Removal) []byte { return removalNotice(&r, by, now()) })
	if len(removed.Segments) > 0 {
		logRemoval(a.options.Log, &removed, by)
	}
	return removed, err
}

// removalNotice is the record of a removal.
func removalNotice(r *logstore.Removal, by Remover, at uint64) []byte {
	return event.AppendRemoval(nil, &event.Removal{
		First: r.First(), Last: r.Last(), Segments: len(r.Segments), Bytes: r.Bytes,
		User: by.User, UID: by.UID, Policy: by.Policy, Time: at,
	})
}

func logRemoval(log *slog.Logger, r *logstore.Removal, by Remover) {
	message.SegmentsRemoved.Log(log, "user", by.User, "uid", by.UID, "policy", by.Policy,
		"first", r.First(), "last", r.Last(), "segments", len(r.Segments), "bytes", r.Bytes)
}

// announce is the record of what the agent removes by its own limits.
func (k *keeper) announce(r logstore.Removal) []byte { return removalNotice(&r, k.remover(&r), now()) }

// remover describes the agent itself, with the limits by which the segments
// go.
func (k *keeper) remover(r *logstore.Removal) Remover {
	by := Remover{UID: uint32(os.Getuid()), Policy: k.limitsOf(r)}
	if u, err := user.Current(); err == nil {
		by.User = u.Username
	}
	return by
}

// limitsOf returns the limits that the segments exceed, as the configuration
// has them.
func (k *keeper) limitsOf(r *logstore.Removal) string {
	p := k.policy()
	var limits []string
	for _, s := range r.Segments {
		var limit string
		switch s.Reason {
		case retention.Age:
			limit = "max_age=" + days(p.MaxAge)
		case retention.Size:
			limit = "max_size=" + size(p.MaxSize)
		case retention.Free:
			limit = "keep_free=" + size(p.KeepFree)
			if k.limits.Load().KeepFree < 0 {
				limit = fmt.Sprintf("keep_free=%d%%", freePart)
			}
		default:
			limit = string(s.Reason)
		}
		if !slices.Contains(limits, limit) {
			limits = append(limits, limit)
		}
	}
	return strings.Join(limits, ", ")
}

// days writes a time in days, if it is a number of them.
func days(d time.Duration) string {
	const day = 24 * time.Hour
	if d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return d.String()
}

// size writes a number of bytes in the largest unit that it is a number of.
func size(n int64) string {
	for i, unit := range []string{"T", "G", "M", "K"} {
		if shift := 40 - 10*i; n != 0 && n&(1<<shift-1) == 0 {
			return fmt.Sprintf("%d%s", n>>shift, unit)
		}
	}
	return fmt.Sprint(n)
}
