// SPDX-License-Identifier: Apache-2.0

package busservice

import (
	"encoding/hex"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/event"
)

// group is a group in a reply.
type group struct {
	Sequence   uint64
	Context    string
	Start, End uint64
	Attributes map[string]dbus.Variant
	Data       []datum
}

// datum is a key with its value.
type datum struct {
	Key   string
	Value dbus.Variant
}

// groupOf returns what AppendGroup writes.
func groupOf(e *reading.Entry) group {
	g := e.Group
	r := group{
		Sequence: e.Sequence, Context: hex.EncodeToString(g.Context[:]),
		Start: e.Microseconds(g.Start), End: e.Microseconds(g.End),
		Attributes: map[string]dbus.Variant{}, Data: []datum{},
	}
	reading.Attributes(e, func(name string, value []byte) {
		r.Attributes[name] = dbus.MakeVariant(string(value))
	}, func(name string, value uint64) {
		r.Attributes[name] = dbus.MakeVariant(value)
	})
	for i := range g.Events {
		if d := &g.Events[i]; d.Kind == event.Data {
			r.Data = append(r.Data, datum{string(reading.Plain(d.Key)), valueOf(&d.Value)})
		}
	}
	return r
}

func valueOf(v *event.Value) dbus.Variant {
	switch {
	case v.Kind == event.Word:
		return dbus.MakeVariant(v.Word)
	case reading.IsText(v):
		return dbus.MakeVariant(string(v.Bytes))
	}
	// The bytes are the log's, and valid only until the next entry.
	return dbus.MakeVariant(append([]byte{}, v.Bytes...))
}
