// SPDX-License-Identifier: Apache-2.0

// Package entry is where the log store and the event model meet: what the store
// takes for bytes are event groups here, and its errors are entries that are
// missing.
package entry

import (
	"errors"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/frame"
)

// AppendTerms appends the hashes of all terms of a group: what the filters of the
// store must know of it, whoever makes them.
func AppendTerms(dst []uint64, g *event.Group) []uint64 {
	if len(g.Name) > 0 {
		dst = append(dst, logstore.TermHash(logstore.Name, g.Name))
	}
	if len(g.Executable) > 0 {
		dst = append(dst, logstore.TermHash(logstore.Executable, g.Executable))
	}
	if len(g.Unit) > 0 {
		dst = append(dst, logstore.TermHash(logstore.Unit, g.Unit))
	}
	if len(g.Source) > 0 {
		dst = append(dst, logstore.TermHash(logstore.Source, g.Source))
	}
	for i := range g.Events {
		if e := &g.Events[i]; e.Kind == event.Data {
			dst = append(dst, logstore.TermHash(logstore.Key, e.Key))
		}
	}
	return dst
}

// Terms returns a function for logstore.Options.Terms. It is for sealing, by one
// goroutine at a time.
func Terms() func(dst []uint64, entry []byte) []uint64 {
	var g event.Group
	return func(dst []uint64, entry []byte) []uint64 {
		if _, err := event.Decode(entry, &g); err != nil {
			return dst
		}
		return AppendTerms(dst, &g)
	}
}

// Lack is a part of a log that a reader passes over.
type Lack struct {
	// First and Last are the entries that are missing; both are 0 if it is not
	// known which are, or whether any is.
	First, Last uint64
	Reason      event.MissingReason
	// Newest is set if the newest segment cannot be read: no later error may tell
	// what is missing.
	Newest bool
	// Harmless is set if nothing is missing that was promised to be kept.
	Harmless bool
}

// Missing returns what a notice reports of it.
func (l *Lack) Missing() event.Missing {
	if l.Last == 0 {
		return event.Missing{}
	}
	return event.Missing{Entries: l.Last - l.First + 1, Reason: l.Reason}
}

// LackOf classifies an error of a logstore.Reader after which it continues; ok is
// false for others.
func LackOf(err error) (l Lack, ok bool) {
	var missing *logstore.MissingError
	var corrupt *logstore.CorruptError
	var unreadable *logstore.UnreadableError
	switch {
	case errors.As(err, &missing):
		return Lack{First: missing.From, Last: missing.To, Reason: event.Truncated, Harmless: true}, true
	case errors.As(err, &corrupt):
		torn := corrupt.Kind == frame.KindTorn && corrupt.To == 0
		return Lack{First: corrupt.From, Last: corrupt.To, Reason: event.Corrupt, Harmless: torn}, true
	case errors.As(err, &unreadable):
		return Lack{First: unreadable.From, Last: unreadable.To, Reason: event.Unreadable, Newest: unreadable.Newest}, true
	case errors.As(err, new(*logstore.IncompatibleError)):
		return Lack{Reason: event.Corrupt}, true
	case errors.As(err, new(*logstore.ForeignError)):
		return Lack{Reason: event.PassedOver}, true // nothing is missing for it
	}
	return Lack{}, false
}
