// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"crypto-auditing/src/internal/event"
)

// Notice reports what is missing in a log: lost events, a time without recording,
// entries that were removed or cannot be read.
type Notice struct {
	// Start and End bound the affected time, in nanoseconds since the Unix epoch.
	Start, End int64
	// Entry is the log entry of the notice, without an Order.
	Entry Entry

	about fact
}

// Kind is a kind of notices. Its value is the name in JSON.
type Kind string

// The kinds.
const (
	Loss       Kind = "loss"
	Unrecorded Kind = "unrecorded"
	Removal    Kind = "removal"
	Missing    Kind = "missing"
)

// Counted returns a number of notices of the kind with the noun.
func (k Kind) Counted(n uint64) string {
	switch k {
	case Loss:
		return Counted(n, "record") + " of lost events"
	case Unrecorded:
		return Counted(n, "time") + " without recording"
	case Removal:
		return Counted(n, "removal")
	}
	return Counted(n, "gap")
}

// fact is the subject of a Notice.
type fact interface {
	kind() Kind
	// text returns a sentence without a full stop; when formats times.
	text(n *Notice, when spanText) string
	// members writes the members of a JSON object.
	members(j *jsonWriter)
}

// NewNotice converts a log entry to a notice. raw is the entry in CBOR, nil for forms
// that do not need entries; boot is the boot time, in nanoseconds since the Unix epoch,
// to which its times are relative. ok is false if the entry is not about the log, or
// reports nothing missing.
func NewNotice(g *event.Group, raw []byte, boot int64) (n *Notice, ok bool) {
	n = &Notice{Start: event.WallTime(boot, g.Start), End: event.WallTime(boot, g.End)}
	if l, ok := g.Loss(); ok {
		n.about = (*loss)(&l)
	} else if u, ok := g.Unrecorded(boot); ok {
		n.Start, n.End = u.From, u.To
		n.about = (*unrecorded)(&u)
	} else if r, ok := g.Removal(); ok {
		n.about = (*removal)(&r)
	} else if m, ok := g.Missing(); ok {
		n.about = (*missing)(&m)
	} else {
		return nil, false
	}
	n.Entry = Entry{Bytes: bytes.Clone(raw), Boot: boot}
	return n, true
}

// NewUnrecorded returns the notice of a time without recording. It has no entry.
func NewUnrecorded(u event.Unrecorded) *Notice {
	return &Notice{Start: u.From, End: u.To, about: (*unrecorded)(&u)}
}

// NewMissing returns the notice of entries that are missing in a log. at is their time,
// derived from the adjacent entries; boot is as for NewNotice.
func NewMissing(m event.Missing, at, boot int64) *Notice {
	return &Notice{Start: at, End: at, Entry: Entry{Bytes: event.AppendMissing(nil, &m), Boot: boot}, about: (*missing)(&m)}
}

// Kind returns the notice's kind.
func (n *Notice) Kind() Kind { return n.about.kind() }

// Text returns the notice as a sentence without a full stop, with times in the time zone
// location.
func (n *Notice) Text(location *time.Location) string {
	return n.about.text(n, spanText{location})
}

// spanText formats times.
type spanText struct{ location *time.Location }

func (s spanText) at(ns int64) string { return time.Unix(0, ns).In(s.location).Format(timeLayout) }

// between returns two times, the second without its date if it is the same as the
// first's.
func (s spanText) between(start, end int64) (string, string) {
	a, b := s.at(start), s.at(end)
	if date := len("2006-01-02 "); len(b) == len(timeLayout) && strings.HasPrefix(a, b[:date]) {
		b = b[date:]
	}
	return a, b
}

type loss event.Loss

func (l *loss) kind() Kind { return Loss }

func (l *loss) text(n *Notice, when spanText) string {
	var amount string
	switch {
	case l.Hits == 0 || l.Hits == l.Events:
		amount = Counted(l.Events, "event")
	case l.Events == 0:
		amount = Counted(l.Hits, "probe hit")
	default:
		amount = Counted(l.Events, "event") + " of " + Counted(l.Hits, "probe hit")
	}
	reason := printable([]byte(l.Reason))
	if l.Place != "" {
		reason = strings.TrimPrefix(reason+", "+printable([]byte(l.Place)), ", ")
	}
	if reason != "" {
		reason = " (" + reason + ")"
	}
	start, end := when.between(n.Start, n.End)
	span := "between " + start + " and " + end
	if when.at(n.Start) == when.at(n.End) {
		span = "at " + start
	}
	return fmt.Sprintf("%s lost%s %s", amount, reason, span)
}

func (l *loss) members(j *jsonWriter) {
	j.unsigned("events_lost", l.Events)
	j.unsigned("hits_lost", l.Hits)
	j.text("reason", l.Reason)
	j.text("place", l.Place)
}

type unrecorded event.Unrecorded

func (u *unrecorded) kind() Kind { return Unrecorded }

func (u *unrecorded) text(n *Notice, when spanText) string {
	phrase := "not recorded"
	if u.Library != "" {
		phrase = printable([]byte(u.Library)) + " was not recorded"
	}
	start, end := when.between(n.Start, n.End)
	return fmt.Sprintf("%s from %s to %s (%s)", phrase, start, end, unrecordedWords(u.Reason))
}

// unrecordedWords describes a reason.
func unrecordedWords(r event.UnrecordedReason) string {
	switch r {
	case event.AgentStopped:
		return "agent was stopped"
	case event.AgentKilled:
		return "agent was killed"
	case event.MachineStopped:
		return "machine was stopped"
	case event.MachineCrashed:
		return "machine crashed"
	case event.LibraryReplaced:
		return "file was replaced"
	case event.LibraryAdded:
		return "file is new"
	case event.LibraryOverwritten:
		return "file was overwritten"
	}
	return printable([]byte(r))
}

func (u *unrecorded) members(j *jsonWriter) {
	j.text("reason", string(u.Reason))
	if u.Library != "" {
		j.text("library", u.Library)
		j.text("build_id", hex.EncodeToString(u.BuildID))
	}
}

type removal event.Removal

func (r *removal) kind() Kind { return Removal }

func (r *removal) text(n *Notice, when spanText) string {
	return fmt.Sprintf("%s (%s)", Entries(r.First, r.Last, "was removed", "were removed"), RemovedBy((*event.Removal)(r), n.Start, when.location))
}

// RemovedBy describes who removed entries, why and when. at is in nanoseconds since the
// Unix epoch.
func RemovedBy(r *event.Removal, at int64, location *time.Location) string {
	user := printable([]byte(r.User))
	if user == "" {
		user = fmt.Sprintf("user %d", r.UID)
	}
	if r.Policy != "" {
		user += ", " + printable([]byte(r.Policy))
	}
	return "by " + user + ", at " + spanText{location}.at(at)
}

func (r *removal) members(j *jsonWriter) {
	j.unsigned("first_sequence", r.First)
	j.unsigned("last_sequence", r.Last)
	j.unsigned("segments", uint64(max(r.Segments, 0)))
	j.unsigned("bytes", uint64(max(r.Bytes, 0)))
	j.text("user", r.User)
	j.unsigned("uid", uint64(r.UID))
	j.text("policy", r.Policy)
}

type missing event.Missing

func (m *missing) kind() Kind { return Missing }

func (m *missing) text(*Notice, spanText) string {
	reason := printable([]byte(m.Reason))
	switch m.Reason {
	case "":
		reason = "unknown reason"
	case event.Truncated:
		reason = "removed"
	case event.Corrupt:
		reason = "damaged"
	}
	return Counted(m.Entries, "entry") + " missing (" + reason + ")"
}

func (m *missing) members(j *jsonWriter) {
	j.unsigned("entries", m.Entries)
	j.text("reason", string(m.Reason))
}

// Entries returns a phrase about the entries with the sequences first to last:
// singular is the predicate for a single entry, plural for several; empty: no predicate.
func Entries(first, last uint64, singular, plural string) string {
	text := fmt.Sprintf("entries %d–%d %s", first, last, plural)
	if first == last {
		text = fmt.Sprintf("entry %d %s", first, singular)
	}
	return strings.TrimSuffix(text, " ")
}
