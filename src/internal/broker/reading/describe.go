// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"bytes"
	"encoding/hex"
	"time"
	"unicode/utf8"

	"crypto-auditing/src/internal/broker/filter"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore/frame"
)

// Names of the attributes of a group, on all interfaces.
const (
	AttributeParent     = "parent"
	AttributeName       = "name"
	AttributeOrigin     = "origin"
	AttributeExecutable = "executable"
	AttributeLost       = "lost"
	AttributeReason     = "reason"
	// The times of what was not recorded.
	AttributeUnrecordedSince = "unrecorded-since"
	AttributeUnrecordedUntil = "unrecorded-until"
)

// Attributes calls text and number for what is known of a group besides its
// data. Origin and parent are hex digits, times µs since the Unix epoch. What
// text is given is UTF-8 without NUL.
func Attributes(e *Entry, text func(name string, value []byte), number func(name string, value uint64)) {
	g := e.Group
	if len(g.Events) > 0 && g.Events[0].Kind == event.NewContext {
		text(AttributeParent, hex.AppendEncode(nil, g.Events[0].Parent[:]))
	}
	if len(g.Name) > 0 {
		text(AttributeName, Plain(g.Name))
	}
	if origin := filter.Origin(g); len(origin) > 0 {
		text(AttributeOrigin, hex.AppendEncode(nil, origin))
	}
	if executable := filter.Executable(g); len(executable) > 0 {
		text(AttributeExecutable, event.AppendEscaped(nil, executable))
	}
	if loss, ok := g.Loss(); ok {
		number(AttributeLost, loss.Events)
		text(AttributeReason, Plain([]byte(loss.Reason)))
	} else if u, ok := g.Unrecorded(e.Boot); ok {
		number(AttributeUnrecordedSince, microseconds(u.From))
		number(AttributeUnrecordedUntil, microseconds(u.To))
		text(AttributeReason, Plain([]byte(u.Reason)))
	}
}

// Plain returns a key or name of the log as it may stand in text everywhere.
// They are UTF-8 but may hold NUL, with which they are escaped.
func Plain(text []byte) []byte {
	if bytes.IndexByte(text, 0) >= 0 || !utf8.Valid(text) {
		return event.AppendEscaped(nil, text)
	}
	return text
}

// IsText reports whether a value is UTF-8 without NUL; if it is not, and no word,
// it travels as bytes.
func IsText(v *event.Value) bool {
	return v.Kind == event.String && bytes.IndexByte(v.Bytes, 0) < 0 && utf8.Valid(v.Bytes)
}

// Microseconds turns a time of an entry into µs since the Unix epoch.
func (e *Entry) Microseconds(t uint64) uint64 {
	return microseconds(frame.RealTime(t, e.Boot))
}

// microseconds turns ns since the Unix epoch into µs; times before are 0.
func microseconds(t int64) uint64 { return uint64(max(t, 0)) / uint64(time.Microsecond) }
