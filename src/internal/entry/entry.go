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

// AppendValues appends the hashes of the terms of the kind Value of a group: one
// for each datum whose value is not too long, but for the name of the context, of
// which there is a term already.
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

// ValueHash returns the hash of a value of the key of a seed; ok is false if there
// is no term of it.
func ValueHash(key frame.ValueSeed, v *event.Value) (hash uint64, ok bool) {
	if v.Kind == event.Word {
		return key.Word(v.Word), true
	}
	return key.Bytes(v.Bytes)
}

// ValueTerms returns the terms of values of a key, one of which a chunk may hold
// that holds one of the values; ok is false if a value has no term.
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

// Terms returns a function for logstore.Options.Terms. It is for sealing, by one
// goroutine at a time.
func Terms() frame.TermsFunc {
	var g event.Group
	return func(terms, values []uint64, entry []byte) ([]uint64, []uint64) {
		if _, err := event.Decode(entry, &g); err != nil {
			return terms, values
		}
		return AppendTerms(terms, &g), AppendValues(values, &g)
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
