// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/loss"
	"crypto-auditing/src/internal/message"
)

// lost counts and reports entries that were in the log and no longer are, and returns
// the notice for the log. The store calls it with its lock held.
func (a *Agent) lost(l logstore.Lost) []byte {
	reason, log := loss.SegmentDeleted, a.options.Log
	switch {
	case l.Reason == logstore.NotDurable:
		reason = loss.NotDurable
		message.SyncFailed.Log(log, "first", l.First, "last", l.Last, "error", l.Err, "lost_hits", l.Hits, "lost_events", l.Events)
	case l.Directory:
		message.DirectoryReplaced.Log(log, "directory", a.options.LogDir, "segment", l.Segment,
			"first", l.First, "last", l.Last, "lost_hits", l.Hits, "lost_events", l.Events)
	default:
		message.SegmentDeleted.Log(log, "segment", l.Segment,
			"first", l.First, "last", l.Last, "lost_hits", l.Hits, "lost_events", l.Events)
	}
	a.committer.lose(reason, loss.Count{Hits: l.Hits, Events: l.Events})
	return event.AppendLoss(nil, &event.Loss{
		Events: l.Events, Hits: l.Hits, Reason: string(reason), Place: reason.Place(), Start: l.Since, End: l.Until,
	})
}
