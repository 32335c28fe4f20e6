// SPDX-License-Identifier: Apache-2.0

package event

// FormatVersion is the version of the event model in metadata, as numbered by the public
// project.
const FormatVersion = 1

// Keys of the elements in metadata groups. The first two are defined by the public project.
const (
	KeyVersion  = "version"
	KeyBootTime = "boot_time"

	KeyLostEvents = "crau::lost_events"
	KeyLostHits   = "crau::lost_hits"
	KeyLostReason = "crau::lost_reason"
	KeyLostPlace  = "crau::lost_place"

	KeyContextKey = "crau::context_key"
)

// AppendMetadata appends the metadata group at the start of a segment. bootTime is the boot time
// in seconds since the Unix epoch, now the time since boot in nanoseconds.
func AppendMetadata(dst []byte, bootTime int64, now uint64) []byte {
	return Append(dst, &Group{Start: now, End: now, Events: []Event{
		{Key: []byte(KeyVersion), Value: Value{Word: FormatVersion}},
		{Key: []byte(KeyBootTime), Value: Value{Word: bootTime}},
	}})
}

// Loss reports events that occurred and are not in the log, for one reason and period.
type Loss struct {
	// Events counts the events that the log would have: one for a new context, one for each
	// value. Hits counts probe hits of which nothing was recorded; it is zero if only values
	// of recorded hits are missing.
	Events, Hits uint64
	// Reason is one of the reasons that the status of the agent lists.
	Reason string
	// Place is "kernel", "agent" or "disk".
	Place string
	// Start and End are the bounds of the period, in nanoseconds since boot.
	Start, End uint64
}

// AppendLoss appends the metadata group that reports a loss.
func AppendLoss(dst []byte, l *Loss) []byte {
	return Append(dst, &Group{Start: l.Start, End: l.End, Events: []Event{
		{Key: []byte(KeyLostEvents), Value: Value{Word: int64(l.Events)}},
		{Key: []byte(KeyLostHits), Value: Value{Word: int64(l.Hits)}},
		{Key: []byte(KeyLostReason), Value: Value{Kind: String, Bytes: []byte(l.Reason)}},
		{Key: []byte(KeyLostPlace), Value: Value{Kind: String, Bytes: []byte(l.Place)}},
	}})
}

// Loss returns the loss that a metadata group reports; ok is false if the group reports something
// else.
func (g *Group) Loss() (l Loss, ok bool) {
	l.Start, l.End = g.Start, g.End
	ok = g.report(KeyLostEvents, fields{
		KeyLostEvents: word(&l.Events), KeyLostHits: word(&l.Hits), KeyLostReason: text(&l.Reason), KeyLostPlace: text(&l.Place),
	})
	return l, ok
}

// BootTime returns the boot time in a metadata group, in seconds since the Unix epoch.
func (g *Group) BootTime() (seconds int64, ok bool) {
	if !g.IsMetadata() {
		return 0, false
	}
	for i := range g.Events {
		if string(g.Events[i].Key) == KeyBootTime && g.Events[i].Value.Kind == Word {
			return g.Events[i].Value.Word, true
		}
	}
	return 0, false
}

// AppendNewKey appends the metadata group that reports a new key for context ids: contexts that
// were open before do not continue under their ids.
func AppendNewKey(dst []byte, now uint64) []byte {
	return Append(dst, &Group{Start: now, End: now, Events: []Event{
		{Key: []byte(KeyContextKey), Value: Value{Kind: String, Bytes: []byte("renewed")}},
	}})
}
