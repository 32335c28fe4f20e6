// SPDX-License-Identifier: Apache-2.0

package client

import (
	"fmt"
	"math"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/event"
)

// Cursor is an opaque string that names the position just after an entry. It never
// expires.
type Cursor string

// The words for the ends of the log, for use in place of a cursor.
const (
	Oldest Cursor = "oldest"
	Newest Cursor = "newest"
)

// Group is an entry of the log: events of one context that happened close
// together.
type Group struct {
	// Sequence is the number of the entry.
	Sequence uint64
	// Context is the context's id in 32 hexadecimal digits. It only identifies the
	// groups of one context. The log's own notices have the id of all zeros.
	Context string
	// Start and End are the times of the first and the last event, rounded to
	// microseconds if received by signal or Read.
	Start, End time.Time
	// Opens reports that the group opens the context, as a child of Parent. The
	// Parent of a root is an id that no group opens.
	Opens  bool
	Parent string
	// Name is the name of the context, Origin the build-id of the library in
	// hexadecimal digits, Executable the base name of the program; empty if unknown.
	Name, Origin, Executable string
	// Unit is the systemd unit of the process, empty if unknown. Source is the
	// source of the events: "function" or "wire", or empty for USDT probes.
	Unit, Source string
	// Lost is the number of lost events and Reason its reason, in a loss notice.
	Lost   uint64
	Reason string
	// UnrecordedSince and UnrecordedUntil delimit a time in which nothing was recorded,
	// or one library was not, and Reason is its reason, in such a notice.
	UnrecordedSince, UnrecordedUntil time.Time
	// Data are keys with their values, in the order in which they were captured.
	Data []Datum
}

// Datum is a key with its value.
type Datum struct {
	// Key is [SCOPE::]NAME.
	Key string
	// Value is an int64, a string, or a []byte that is not valid text.
	Value any
}

// IsMetadata reports whether the group is about the log itself.
func (g *Group) IsMetadata() bool { return g.Context == metadataContext }

const metadataContext = "00000000000000000000000000000000"

// Value returns the last value of a key, nil if the group has none.
func (g *Group) Value(key string) any {
	for i := len(g.Data) - 1; i >= 0; i-- {
		if g.Data[i].Key == key {
			return g.Data[i].Value
		}
	}
	return nil
}

// fromMicros converts microseconds since the Unix epoch.
func fromMicros(us uint64) time.Time {
	return time.UnixMicro(int64(min(us, math.MaxInt64)))
}

// micros is the inverse of fromMicros; earlier times map to the epoch.
func micros(t time.Time) uint64 { return uint64(max(t.UnixMicro(), 0)) }

// groupsOf decodes an array of groups as sent over the bus, a(tstta{sv}a(sv)).
func groupsOf(value any) ([]Group, error) {
	list, ok := value.([][]any)
	if !ok {
		return nil, fmt.Errorf("%w: groups of type %T", ErrProtocol, value)
	}
	groups := make([]Group, len(list))
	for i, fields := range list {
		if !groupOf(fields, &groups[i]) {
			return nil, fmt.Errorf("%w: group %d has not the form (tstta{sv}a(sv))", ErrProtocol, i)
		}
	}
	return groups, nil
}

func groupOf(fields []any, g *Group) bool {
	if len(fields) != 6 {
		return false
	}
	var start, end uint64
	var attributes map[string]dbus.Variant
	var data [][]any
	for _, ok := range []bool{
		as(fields[0], &g.Sequence), as(fields[1], &g.Context), as(fields[2], &start), as(fields[3], &end),
		as(fields[4], &attributes), as(fields[5], &data),
	} {
		if !ok {
			return false
		}
	}
	g.Start, g.End = fromMicros(start), fromMicros(end)
	for name, value := range attributes {
		g.setAttribute(name, value.Value())
	}
	var ok bool
	g.Data, ok = dataOf(data)
	return ok
}

// dataOf decodes data as sent over the bus, a(sv).
func dataOf(pairs [][]any) ([]Datum, bool) {
	data := make([]Datum, len(pairs))
	for i, pair := range pairs {
		var value dbus.Variant
		if len(pair) != 2 || !as(pair[0], &data[i].Key) || !as(pair[1], &value) {
			return nil, false
		}
		switch v := value.Value().(type) {
		case int64, string, []byte:
			data[i].Value = v
		default:
			return nil, false
		}
	}
	return data, true
}

// as stores a value in to if it has its type.
func as[T any](value any, to *T) bool {
	v, ok := value.(T)
	if ok {
		*to = v
	}
	return ok
}

// setAttribute stores an attribute, a string or a number. It ignores unknown
// attributes and those of another type.
func (g *Group) setAttribute(name string, value any) {
	var us uint64
	switch name {
	case event.AttributeParent:
		g.Opens = as(value, &g.Parent)
	case event.AttributeName:
		as(value, &g.Name)
	case event.AttributeOrigin:
		as(value, &g.Origin)
	case event.AttributeExecutable:
		as(value, &g.Executable)
	case event.AttributeUnit:
		as(value, &g.Unit)
	case event.AttributeSource:
		as(value, &g.Source)
	case event.AttributeLost:
		as(value, &g.Lost)
	case event.AttributeReason:
		as(value, &g.Reason)
	case event.AttributeUnrecordedSince:
		if as(value, &us) {
			g.UnrecordedSince = fromMicros(us)
		}
	case event.AttributeUnrecordedUntil:
		if as(value, &us) {
			g.UnrecordedUntil = fromMicros(us)
		}
	}
}

// groupOfEntry converts an entry of a stream, whose times are more precise than
// those sent over the bus.
func groupOfEntry(e *event.Entry) Group {
	g := Group{
		Sequence: e.Sequence, Context: e.Group.Context.String(), Data: make([]Datum, 0, len(e.Group.Events)),
		Start: time.Unix(0, max(event.WallTime(e.Boot, e.Group.Start), 0)), End: time.Unix(0, max(event.WallTime(e.Boot, e.Group.End), 0)),
	}
	var room [event.MaxAttributes]event.Attribute
	for _, a := range e.Attributes(room[:0]) {
		if a.Text != nil {
			g.setAttribute(a.Name, string(a.Text))
		} else {
			g.setAttribute(a.Name, a.Number)
		}
	}
	for i := range e.Group.Events {
		v := &e.Group.Events[i]
		if v.Kind == event.NewContext {
			continue
		}
		d := Datum{Key: string(event.Escaped(v.Key))}
		switch v.Value.Form() {
		case event.Word:
			d.Value = v.Value.Word
		case event.String:
			d.Value = string(v.Value.Bytes)
		default:
			d.Value = append([]byte{}, v.Value.Bytes...)
		}
		g.Data = append(g.Data, d)
	}
	return g
}
