// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/hex"
	"slices"
	"strings"
)

// Keys of the elements in notices, documented in docs/log-format.md.
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

// Keys for attributes of an entry that are shown as elements.
const (
	KeyUnit   = "crau::unit"
	KeySource = "crau::source"
)

// Scope is the scope of the keys that describe the log itself or stand for attributes.
const Scope = "crau"

const prefix = Scope + "::"

// IsNotice reports whether the group is a notice: a metadata group about the contents of the log
// or missing parts of it, which no filter may hide. The metadata group at the start of a segment
// is not a notice.
func (g *Group) IsNotice() bool {
	return g.IsMetadata() && len(g.Events) > 0 && strings.HasPrefix(string(g.Events[0].Key), prefix)
}

// State is the state that a Recording reports.
type State string

// The states.
const (
	Started State = "started"
	Stopped State = "stopped"
)

// Recording is the notice that recording started or stopped.
type Recording struct {
	State State
	// Version is the version of the agent, BootID the kernel's boot id.
	Version string
	BootID  [16]byte
	// Time is in nanoseconds since boot.
	Time uint64
	// StopReason, only with Stopped, is "requested" or the error that stopped the agent.
	StopReason string
	// Since, only with Started, is the time when recording ended before this start, in
	// nanoseconds since the Unix epoch, and Reason the reason. Since is 0 for the first start
	// of a store.
	Since  int64
	Reason UnrecordedReason
}

// AppendRecording appends the notice of a start or stop.
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

// Recording returns the start or stop that a notice reports.
func (g *Group) Recording() (r Recording, ok bool) {
	r.Time = g.Start
	var boot string
	ok = g.report(KeyRecording, fields{
		KeyRecording: text(&r.State), KeyAgentVersion: text(&r.Version), KeyBootID: text(&boot),
		KeyStopReason: text(&r.StopReason), KeyUnrecordedSince: word(&r.Since), KeyUnrecordedReason: text(&r.Reason),
	})
	// The id stays unknown if the value has another form.
	if len(boot) == hex.EncodedLen(len(r.BootID)) {
		_, _ = hex.Decode(r.BootID[:], []byte(boot))
	}
	return r, ok
}

// UnrecordedReason is the reason why nothing was recorded for a period.
type UnrecordedReason string

// The reasons.
const (
	// AgentStopped: the agent was stopped cleanly.
	AgentStopped UnrecordedReason = "agent-stopped"
	// AgentKilled: the agent ended without a notice, the machine did not stop.
	AgentKilled UnrecordedReason = "agent-killed"
	// MachineStopped: the agent was stopped cleanly, then the machine was restarted.
	MachineStopped UnrecordedReason = "machine-stopped"
	// MachineCrashed: the machine was restarted without stopping the agent.
	MachineCrashed UnrecordedReason = "machine-crashed"
	// LibraryReplaced: another file took the path of a library, and programs could use it
	// before the agent attached to it.
	LibraryReplaced UnrecordedReason = "library-replaced"
	// LibraryAdded: a library was added, and programs could use it before the agent attached
	// to it.
	LibraryAdded UnrecordedReason = "library-added"
	// LibraryOverwritten: the file of a library was opened for writing, and the agent had to
	// detach from it.
	LibraryOverwritten UnrecordedReason = "library-overwritten"
)

// Unrecorded is a period in which hits were neither recorded nor counted.
type Unrecorded struct {
	// From and To are in nanoseconds since the Unix epoch.
	From, To int64
	Reason   UnrecordedReason
	// Library is the base name and BuildID the build-id of the library that was not recorded;
	// empty if nothing was recorded.
	Library string
	BuildID []byte
}

// AppendLibraryUnrecorded appends the notice that a library was not recorded from start to end, in
// nanoseconds since boot.
func AppendLibraryUnrecorded(dst []byte, reason UnrecordedReason, library string, buildID []byte, start, end uint64) []byte {
	n := notice{}
	n.text(KeyUnrecordedReason, string(reason))
	n.text(KeyLibrary, library)
	n.add(KeyBuildID, Value{Kind: Blob, Bytes: buildID})
	return n.append(dst, start, end)
}

// Unrecorded returns the period in which nothing, or a library, was not recorded, as reported by a
// notice. boot is the boot time to which the notice's times are relative, in nanoseconds since the
// Unix epoch.
func (g *Group) Unrecorded(boot int64) (u Unrecorded, ok bool) {
	if r, isRecording := g.Recording(); isRecording {
		if r.State != Started || r.Since == 0 {
			return Unrecorded{}, false
		}
		return Unrecorded{From: r.Since, To: WallTime(boot, r.Time), Reason: r.Reason}, true
	}
	u.From, u.To = WallTime(boot, g.Start), WallTime(boot, g.End)
	var id string
	ok = g.report(KeyUnrecordedReason, fields{KeyUnrecordedReason: text(&u.Reason), KeyLibrary: text(&u.Library), KeyBuildID: text(&id)})
	if id != "" {
		u.BuildID = []byte(id)
	}
	return u, ok
}

// Library is the notice of a library's name. The events of the library have only its build-id.
type Library struct {
	Name    string // base name of the file
	BuildID []byte
}

// AppendLibrary appends the notice of a library's name. at is in nanoseconds since boot.
func AppendLibrary(dst []byte, l *Library, at uint64) []byte {
	n := notice{}
	n.text(KeyLibrary, l.Name)
	n.add(KeyBuildID, Value{Kind: Blob, Bytes: l.BuildID})
	return n.append(dst, at, at)
}

// Library returns the library name that a notice reports.
func (g *Group) Library() (l Library, ok bool) {
	if !g.IsNotice() || string(g.Events[0].Key) != KeyLibrary {
		return l, false // the notice of an unrecorded library has another first key
	}
	var id string
	ok = g.report(KeyLibrary, fields{KeyLibrary: text(&l.Name), KeyBuildID: text(&id)})
	l.BuildID = []byte(id)
	return l, ok && l.Name != "" && id != ""
}

// Removal is the notice that segments were removed from the log.
type Removal struct {
	// First and Last are the first and last sequence of the removed entries.
	First, Last uint64
	Segments    int
	// Bytes is the total size of the files.
	Bytes int64
	// User is the name and UID the id of the user who requested the removal. For the agent's
	// own retention it is the user of the agent.
	User string
	UID  uint32
	// Policy describes the policy, such as "max_age=30d" or "vacuum --max-size=1G".
	Policy string
	// Time is in nanoseconds since boot.
	Time uint64
}

// AppendRemoval appends the notice of a removal.
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

// Removal returns the removal that a notice reports.
func (g *Group) Removal() (r Removal, ok bool) {
	r.Time = g.Start
	ok = g.report(KeyRemovedFirst, fields{
		KeyRemovedFirst: word(&r.First), KeyRemovedLast: word(&r.Last), KeyRemovedSegments: word(&r.Segments),
		KeyRemovedBytes: word(&r.Bytes), KeyRemovedBy: text(&r.User), KeyRemovedUID: word(&r.UID), KeyRemovedPolicy: text(&r.Policy),
	})
	return r, ok
}

// Missing reports entries that are missing in a stream. Readers of the log generate it; it is never
// in the log.
type Missing struct {
	Entries uint64
	Reason  MissingReason
}

// MissingReason is why entries are missing.
type MissingReason string

// The reasons.
const (
	// Truncated: the entries have been removed.
	Truncated MissingReason = "truncated"
	// Corrupt: the entries are damaged.
	Corrupt MissingReason = "corrupt"
	// Unreadable: their segment cannot be opened or read.
	Unreadable MissingReason = "unreadable"
	// PassedOver: no entry is missing, but a file has the name of a segment of the log and is
	// not one.
	PassedOver MissingReason = "passed-over"
)

// AppendMissing appends the group.
func AppendMissing(dst []byte, m *Missing) []byte {
	n := notice{}
	n.word(KeyMissingEntries, int64(m.Entries))
	n.text(KeyMissingReason, string(m.Reason))
	return n.append(dst, 0, 0)
}

// Missing returns the missing entries that a group of a stream reports.
func (g *Group) Missing() (m Missing, ok bool) {
	var entries int64
	ok = g.report(KeyMissingEntries, fields{KeyMissingEntries: word(&entries), KeyMissingReason: text(&m.Reason)})
	m.Entries = uint64(max(entries, 0))
	return m, ok
}

// Outcome is the outcome of a stream.
type Outcome string

// The outcomes.
const (
	// Complete: everything requested and readable was sent.
	Complete Outcome = "complete"
	// Failed: the stream ended early.
	Failed Outcome = "failed"
)

// End is the last group of a stream. It is never in the log.
type End struct {
	Outcome Outcome
	// Reason is the reason why the stream failed.
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

// StreamEnd returns the contents of the last group of a stream.
func (g *Group) StreamEnd() (e End, ok bool) {
	ok = g.report(KeyEnd, fields{KeyEnd: text(&e.Outcome), KeyEndReason: text(&e.Reason)})
	return e, ok
}

// fields maps the keys of a notice to functions that store their values.
type fields map[string]func(*Value)

func text[T ~string](to *T) func(*Value) { return func(v *Value) { *to = T(v.Bytes) } }

func word[T ~int | ~int64 | ~uint32 | ~uint64](to *T) func(*Value) {
	return func(v *Value) { *to = T(v.Word) }
}

// report stores the elements of a notice and reports whether the group has the given key. If it does
// not, nothing is stored.
func (g *Group) report(key string, to fields) bool {
	if !g.IsNotice() || !slices.ContainsFunc(g.Events, func(e Event) bool { return string(e.Key) == key }) {
		return false
	}
	for i := range g.Events {
		if take := to[string(g.Events[i].Key)]; take != nil {
			take(&g.Events[i].Value)
		}
	}
	return true
}

// notice collects the elements of a notice.
type notice struct{ events []Event }

func (n *notice) add(key string, v Value) {
	n.events = append(n.events, Event{Key: []byte(key), Value: v})
}

func (n *notice) text(key, text string) { n.add(key, Value{Kind: String, Bytes: []byte(text)}) }

func (n *notice) word(key string, word int64) { n.add(key, Value{Word: word}) }

func (n *notice) append(dst []byte, start, end uint64) []byte {
	return Append(dst, &Group{Start: start, End: end, Events: n.events})
}
