// SPDX-License-Identifier: Apache-2.0

// Package entry connects the log store with the event model: it decodes the entries of
// the store as event groups, and classifies its errors as missing entries.
package entry

import (
	"errors"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/frame"
)

// AppendTerms appends the hashes of all terms of a group for the filters of the store.
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
		e := &g.Events[i]
		if e.Kind != event.Data {
			continue
		}
		dst = append(dst, logstore.TermHash(logstore.Key, e.Key))
		if len(g.Name) == 0 && string(e.Key) == event.KeyName && e.Value.Kind == event.String {
			dst = append(dst, logstore.TermHash(logstore.Name, e.Value.Bytes))
		}
	}
	return dst
}

// AppendValues appends the hashes of the terms of kind Value of a group: one for each
// element, except those with a value that is too long, and the name of the context, which
// is a term already.
func AppendValues(dst []uint64, g *event.Group) []uint64 {
	for i := range g.Events {
		e := &g.Events[i]
		if e.Kind != event.Data || string(e.Key) == event.KeyName {
			continue
		}
		if hash, ok := ValueHash(frame.NewValueSeed(e.Key), &e.Value); ok {
			dst = append(dst, hash)
		}
	}
	return dst
}

// ValueHash returns the hash of a value of the key of a seed; ok is false if the value has
// no term.
func ValueHash(key frame.ValueSeed, v *event.Value) (hash uint64, ok bool) {
	if v.Kind == event.Word {
		return key.Word(v.Word), true
	}
	return key.Bytes(v.Bytes)
}

// ValueTerms returns the terms of values of a key. A chunk with one of the values matches
// one of the terms. ok is false if a value has no term.
func ValueTerms(key string, values []event.Value) (terms []logstore.Term, ok bool) {
	seed := frame.NewValueSeed(key)
	for i := range values {
		hash, ok := ValueHash(seed, &values[i])
		if !ok {
			return nil, false
		}
		terms = append(terms, logstore.Term{Kind: logstore.Value, Hash: hash})
	}
	return terms, key != event.KeyName
}

// Terms returns a function for logstore.Options.Terms, for use by one goroutine at a time
// when sealing.
func Terms() frame.TermsFunc {
	var g event.Group
	return func(terms, values []uint64, entry []byte) ([]uint64, []uint64) {
		if _, err := event.Decode(entry, &g); err != nil {
			return terms, values
		}
		return AppendTerms(terms, &g), AppendValues(values, &g)
	}
}

// Lack is a part of a log that a reader skips.
type Lack struct {
	// First and Last are the missing entries; both are 0 if these are unknown, or if
	// it is unknown whether any are missing.
	First, Last uint64
	Reason      event.MissingReason
	// Newest is set if the newest segment cannot be read. Then no later error may
	// report the missing entries.
	Newest bool
	// Harmless is set if no entry is missing that should have been kept.
	Harmless bool
}

// Missing returns the contents of the notice for it.
func (l *Lack) Missing() event.Missing {
	if l.Last == 0 {
		return event.Missing{}
	}
	return event.Missing{Entries: l.Last - l.First + 1, Reason: l.Reason}
}

// LackOf classifies an error of a logstore.Reader after which the reader continues; ok is
// false for other errors.
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
		return Lack{Reason: event.PassedOver}, true // no entry is missing
	}
	return Lack{}, false
}
