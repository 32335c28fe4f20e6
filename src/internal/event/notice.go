// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/hex"
	"strings"
)

// Keys of the data in notices. docs/log-format.md documents them.
const (
	KeyRecording    = "crau::recording"
	KeyAgentVersion = "crau::agent_version"
	KeyBootID       = "crau::boot_id"
	KeyStopReason   = "crau::stop_reason"

	KeyUnrecordedSince  = "crau::unrecorded_since"
	KeyUnrecordedReason = "crau::unrecorded_reason"
	KeyLibrary          = "crau::library"
	KeyBuildID          = "crau::build_id"

	KeyRemovedFirst    = "crau::removed_first"
	KeyRemovedLast     = "crau::removed_last"
	KeyRemovedSegments = "crau::removed_segments"
	KeyRemovedBytes    = "crau::removed_bytes"
	KeyRemovedBy       = "crau::removed_by"
	KeyRemovedUID      = "crau::removed_uid"
	KeyRemovedPolicy   = "crau::removed_policy"

	KeyMissingEntries = "crau::missing_entries"
	KeyMissingReason  = "crau::missing_reason"

	KeyEnd       = "crau::end"
	KeyEndReason = "crau::end_reason"
)

// prefix begins the keys that describe the log itself.
const prefix = "crau::"

// IsNotice reports whether the group is a notice: a metadata group about what
// the log holds or lacks, which no filter may hide. The metadata group that
// begins a segment is none.
func (g *Group) IsNotice() bool {
	return g.IsMetadata() && len(g.Events) > 0 && strings.HasPrefix(string(g.Events[0].Key), prefix)
}

// State is what a Recording reports.
type State string

// The states.
const (
	Started State = "started"
	Stopped State = "stopped"
)

// Recording is the notice that recording has started or stopped.
type Recording struct {
	State State
	// Version is that of the agent, BootID the kernel's boot id.
	Version string
	BootID  [16]byte
	// Time is when, in nanoseconds since boot.
	Time uint64
	// StopReason is "requested", or the error that stopped the agent. Only
	// with Stopped.
	StopReason string
	// Since is when recording ended before this start, in nanoseconds since
	// the Unix epoch, and Reason why. Since is 0 for the first start of a
	// store. Only with Started.
	Since  int64
	Reason UnrecordedReason
}

// AppendRecording appends the notice.
func AppendRecording(dst []byte, r *Recording) []byte {
	n := notice{}
	n.text(KeyRecording, string(r.State))
	n.text(KeyAgentVersion, r.Version)
	n.text(KeyBootID, hex.EncodeToString(r.BootID[:]))
	if r.State == Stopped {
		n.text(KeyStopReason, r.StopReason)
	} else if r.Since != 0 {
		n.word(KeyUnrecordedSince, r.Since)
		n.text(KeyUnrecordedReason, string(r.Reason))
	}
	return n.append(dst, r.Time, r.Time)
}

// Recording returns what a notice reports of a start or stop.
func (g *Group) Recording() (r Recording, ok bool) {
	if !g.IsNotice() {
		return Recording{}, false
	}
	r.Time = g.Start
	for i := range g.Events {
		v := &g.Events[i].Value
		switch string(g.Events[i].Key) {
		case KeyRecording:
			r.State, ok = State(v.Bytes), true
		case KeyAgentVersion:
			r.Version = string(v.Bytes)
		case KeyBootID:
			// A value of another form leaves the id unknown.
			if len(v.Bytes) == hex.EncodedLen(len(r.BootID)) {
				_, _ = hex.Decode(r.BootID[:], v.Bytes)
			}
		case KeyStopReason:
			r.StopReason = string(v.Bytes)
		case KeyUnrecordedSince:
			r.Since = v.Word
		case KeyUnrecordedReason:
			r.Reason = UnrecordedReason(v.Bytes)
		}
	}
	return r, ok
}

// UnrecordedReason is why nothing was recorded for a time.
type UnrecordedReason string

// The reasons.
const (
	// AgentStopped: the agent was stopped in good order.
	AgentStopped UnrecordedReason = "agent-stopped"
	// AgentKilled: the agent ended without a word, the machine did not.
	AgentKilled UnrecordedReason = "agent-killed"
	// MachineStopped: the agent was stopped in good order, then the machine
	// was started anew.
	MachineStopped UnrecordedReason = "machine-stopped"
	// MachineCrashed: the machine was started anew, and the agent had not been
	// stopped.
	MachineCrashed UnrecordedReason = "machine-crashed"
	// LibraryReplaced: another file took the place of a library, and programs
	// could use it before the agent was attached to it.
	LibraryReplaced UnrecordedReason = "library-replaced"
	// LibraryAdded: a library appeared, and programs could use it before the
	// agent was attached to it.
	LibraryAdded UnrecordedReason = "library-added"
	// LibraryOverwritten: the file of a library was opened for writing, and the
	// agent had to detach from it.
	LibraryOverwritten UnrecordedReason = "library-overwritten"
)

// Unrecorded is a time in which hits were neither recorded nor counted.
type Unrecorded struct {
	// From and To are in nanoseconds since the Unix epoch.
	From, To int64
	Reason   UnrecordedReason
	// Library is the base name of the library that was not recorded and
	// BuildID its build-id. Empty: nothing was recorded.
	Library string
	BuildID []byte
}

// AppendLibraryUnrecorded appends the notice that a library was not recorded
// from start to end, in nanoseconds since boot.
func AppendLibraryUnrecorded(dst []byte, reason UnrecordedReason, library string, buildID []byte, start, end uint64) []byte {
	n := notice{}
	n.text(KeyUnrecordedReason, string(reason))
	n.text(KeyLibrary, library)
	n.add(KeyBuildID, Value{Kind: Blob, Bytes: buildID})
	return n.append(dst, start, end)
}

// Unrecorded returns the time in which nothing, or a library, was not
// recorded, as a notice reports it. boot is the time of boot to which the
// notice's times are relative, in nanoseconds since the Unix epoch.
func (g *Group) Unrecorded(boot int64) (u Unrecorded, ok bool) {
	if r, isRecording := g.Recording(); isRecording {
		if r.State != Started || r.Since == 0 {
			return Unrecorded{}, false
		}
		return Unrecorded{From: r.Since, To: wall(boot, r.Time), Reason: r.Reason}, true
	}
	if !g.IsNotice() {
		return Unrecorded{}, false
	}
	u.From, u.To = wall(boot, g.Start), wall(boot, g.End)
	for i := range g.Events {
		v := &g.Events[i].Value
		switch string(g.Events[i].Key) {
		case KeyUnrecordedReason:
			u.Reason, ok = UnrecordedReason(v.Bytes), true
		case KeyLibrary:
			u.Library = string(v.Bytes)
		case KeyBuildID:
			u.BuildID = append([]byte(nil), v.Bytes...)
		}
	}
	return u, ok
}

// wall turns a time since boot into one since the Unix epoch.
func wall(boot int64, t uint64) int64 { return boot + int64(t) }

// Removal is the notice that segments were removed from the log.
type Removal struct {
	// First and Last are the sequences of the entries that were removed.
	First, Last uint64
	Segments    int
	// Bytes is the size of the files.
	Bytes int64
	// User is the name of the user who asked for it and UID the id. The agent's
	// own retention has its user.
	User string
	UID  uint32
	// Policy is what decided, in words ("max_age=30d", "vacuum --max-size=1G").
	Policy string
	// Time is when, in nanoseconds since boot.
	Time uint64
}

// AppendRemoval appends the notice.
func AppendRemoval(dst []byte, r *Removal) []byte {
	n := notice{}
	n.word(KeyRemovedFirst, int64(r.First))
	n.word(KeyRemovedLast, int64(r.Last))
	n.word(KeyRemovedSegments, int64(r.Segments))
	n.word(KeyRemovedBytes, r.Bytes)
	n.text(KeyRemovedBy, r.User)
	n.word(KeyRemovedUID, int64(r.UID))
	n.text(KeyRemovedPolicy, r.Policy)
	return n.append(dst, r.Time, r.Time)
}

// Removal returns what a notice reports of a removal.
func (g *Group) Removal() (r Removal, ok bool) {
	if !g.IsNotice() {
		return Removal{}, false
	}
	r.Time = g.Start
	for i := range g.Events {
		v := &g.Events[i].Value
		switch string(g.Events[i].Key) {
		case KeyRemovedFirst:
			r.First, ok = uint64(v.Word), true
		case KeyRemovedLast:
			r.Last = uint64(v.Word)
		case KeyRemovedSegments:
			r.Segments = int(v.Word)
		case KeyRemovedBytes:
			r.Bytes = v.Word
		case KeyRemovedBy:
			r.User = string(v.Bytes)
		case KeyRemovedUID:
			r.UID = uint32(v.Word)
		case KeyRemovedPolicy:
			r.Policy = string(v.Bytes)
		}
	}
	return r, ok
}

// Missing stands in a stream for entries that are not in it. It is made by who
// reads the log and is never in the log.
type Missing struct {
	Entries uint64
	Reason  string
}

// AppendMissing appends the group.
func AppendMissing(dst []byte, m *Missing) []byte {
	n := notice{}
	n.word(KeyMissingEntries, int64(m.Entries))
	n.text(KeyMissingReason, m.Reason)
	return n.append(dst, 0, 0)
}

// Missing returns what a group of a stream reports of missing entries.
func (g *Group) Missing() (m Missing, ok bool) {
	if !g.IsNotice() {
		return Missing{}, false
	}
	for i := range g.Events {
		v := &g.Events[i].Value
		switch string(g.Events[i].Key) {
		case KeyMissingEntries:
			m.Entries, ok = uint64(max(v.Word, 0)), true
		case KeyMissingReason:
			m.Reason = string(v.Bytes)
		}
	}
	return m, ok
}

// Outcome is how a stream ended.
type Outcome string

// The outcomes.
const (
	// Complete: everything that was asked for and could be read was sent.
	Complete Outcome = "complete"
	// Failed: the stream ended early.
	Failed Outcome = "failed"
)

// End is the last group of a stream. It is never in the log.
type End struct {
	Outcome Outcome
	// Reason is why the stream failed.
	Reason string
}

// AppendEnd appends the group.
func AppendEnd(dst []byte, e *End) []byte {
	n := notice{}
	n.text(KeyEnd, string(e.Outcome))
	if e.Reason != "" {
		n.text(KeyEndReason, e.Reason)
	}
	return n.append(dst, 0, 0)
}

// StreamEnd returns what the last group of a stream reports.
func (g *Group) StreamEnd() (e End, ok bool) {
	if !g.IsNotice() {
		return End{}, false
	}
	for i := range g.Events {
		v := &g.Events[i].Value
		switch string(g.Events[i].Key) {
		case KeyEnd:
			e.Outcome, ok = Outcome(v.Bytes), true
		case KeyEndReason:
			e.Reason = string(v.Bytes)
		}
	}
	return e, ok
}

// notice gathers the data of a notice.
type notice struct{ events []Event }

func (n *notice) add(key string, v Value) {
	n.events = append(n.events, Event{Key: []byte(key), Value: v})
}

func (n *notice) text(key, text string) { n.add(key, Value{Kind: String, Bytes: []byte(text)}) }

func (n *notice) word(key string, word int64) { n.add(key, Value{Word: word}) }

func (n *notice) append(dst []byte, start, end uint64) []byte {
	return Append(dst, &Group{Start: start, End: end, Events: n.events})
}
