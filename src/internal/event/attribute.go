// SPDX-License-Identifier: Apache-2.0

package event

import (
	"bytes"
	"encoding/hex"
	"math"
	"time"
	"unicode/utf8"
)

// Entry is a numbered group of the log. This type alone defines how entries appear on the
// interfaces: D-Bus signals, Read and Open, varlink, the Go client and crauctl have the same
// attributes, keys, values and times.
type Entry struct {
	Sequence uint64
	// Boot is the boot time to which the times of the group are relative, in nanoseconds
	// since the Unix epoch.
	Boot int64
	// Group is the decoded entry, Raw its bytes in the log.
	Group *Group
	Raw   []byte
}

// WallTime returns the time ns nanoseconds after boot; boot and the result are in nanoseconds
// since the Unix epoch. On overflow it returns the epoch, as the public project's tools do.
func WallTime(boot int64, ns uint64) int64 {
	if ns > math.MaxInt64 || (boot > 0 && int64(ns) > math.MaxInt64-boot) {
		return 0
	}
	return boot + int64(ns)
}

// Microseconds converts ns since the Unix epoch to µs. Earlier times become 0.
func Microseconds(ns int64) uint64 { return uint64(max(ns, 0)) / uint64(time.Microsecond) }

// Start returns the time of the first event, in µs since the Unix epoch.
func (e *Entry) Start() uint64 { return Microseconds(WallTime(e.Boot, e.Group.Start)) }

// End returns the time of the last event, in µs since the Unix epoch.
func (e *Entry) End() uint64 { return Microseconds(WallTime(e.Boot, e.Group.End)) }

// Names of the attributes of a group on all interfaces.
const (
	AttributeParent     = "parent"
	AttributeName       = "name"
	AttributeOrigin     = "origin"
	AttributeExecutable = "executable"
	AttributeUnit       = "unit"
	AttributeSource     = "source"
	AttributeLost       = "lost"
	AttributeReason     = "reason"
	// The bounds of a period without recording.
	AttributeUnrecordedSince = "unrecorded-since"
	AttributeUnrecordedUntil = "unrecorded-until"
)

// MaxAttributes is the maximum number of attributes of a group.
const MaxAttributes = 10

// Attribute is a property of a group other than its elements.
type Attribute struct {
	Name string
	// Text is UTF-8 without NUL; nil if the attribute is a number.
	Text   []byte
	Number uint64
}

// Attributes appends the attributes of the group. Origin and parent are in hexadecimal digits,
// times in µs since the Unix epoch.
func (e *Entry) Attributes(dst []Attribute) []Attribute {
	g := e.Group
	text := func(name string, text []byte) { dst = append(dst, Attribute{Name: name, Text: text}) }
	number := func(name string, n uint64) { dst = append(dst, Attribute{Name: name, Number: n}) }
	if len(g.Events) > 0 && g.Events[0].Kind == NewContext {
		text(AttributeParent, hex.AppendEncode(nil, g.Events[0].Parent[:]))
	}
	if len(g.Name) > 0 {
		text(AttributeName, Escaped(g.Name))
	}
	if origin := g.ContextOrigin(); len(origin) > 0 {
		text(AttributeOrigin, hex.AppendEncode(nil, origin))
	}
	if executable := g.ContextExecutable(); len(executable) > 0 {
		text(AttributeExecutable, Escaped(executable))
	}
	if len(g.Unit) > 0 {
		text(AttributeUnit, Plain(g.Unit)) // backslashes are common in unit names
	}
	if len(g.Source) > 0 {
		text(AttributeSource, Plain(g.Source))
	}
	if !g.IsNotice() {
		return dst
	}
	if loss, ok := g.Loss(); ok {
		number(AttributeLost, loss.Events)
		text(AttributeReason, Plain(loss.Reason))
	} else if u, ok := g.Unrecorded(e.Boot); ok {
		number(AttributeUnrecordedSince, Microseconds(u.From))
		number(AttributeUnrecordedUntil, Microseconds(u.To))
		text(AttributeReason, Plain(u.Reason))
	}
	return dst
}

// ContextOrigin returns the build-id of the library that opened the context, empty if unknown.
func (g *Group) ContextOrigin() []byte {
	if len(g.Origin) == 0 && len(g.Events) > 0 && g.Events[0].Kind == NewContext {
		return g.Events[0].Origin
	}
	return g.Origin
}

// ContextExecutable returns the base name of the context's program as in the log, empty if
// unknown.
func (g *Group) ContextExecutable() []byte {
	if len(g.Executable) == 0 && len(g.Events) > 0 && g.Events[0].Kind == NewContext {
		return g.Events[0].Executable
	}
	return g.Executable
}

// Form returns the external form of a value: Word for a number, String for text, which is UTF-8
// without NUL, and Blob for bytes.
func (v *Value) Form() ValueKind {
	if v.Kind == String && (bytes.IndexByte(v.Bytes, 0) >= 0 || !utf8.Valid(v.Bytes)) {
		return Blob
	}
	return v.Kind
}

// Escaped returns the external form of a key, or of the name of a context or program: that of
// AppendEscaped. A name that needs no escapes is returned unchanged.
func Escaped[T []byte | string](name T) T {
	for i := range len(name) {
		if c := name[i]; c < 0x20 || c > 0x7e || c == '\\' {
			return T(AppendEscaped(make([]byte, 0, len(name)+8), []byte(name)))
		}
	}
	return name
}

// Plain returns text of the log that is not a name, such as a reason or a unit. It escapes the
// text only if it is not valid text otherwise. It never returns nil.
func Plain[T ~string | ~[]byte](text T) []byte {
	b := append([]byte{}, text...)
	if bytes.IndexByte(b, 0) >= 0 || !utf8.Valid(b) {
		return AppendEscaped([]byte{}, b)
	}
	return b
}
