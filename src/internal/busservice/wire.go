// SPDX-License-Identifier: Apache-2.0

package busservice

import (
	"encoding/binary"
	"encoding/hex"

	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/event"
)

// The marshalling is that of the D-Bus specification, "Message Protocol",
// little endian. Everything is aligned by the beginning of the slice that is
// appended to, which stands at a multiple of 8 in the message.

// groupSignature is that of a group.
const groupSignature = "(tstta{sv}a(sv))"

// AppendGroup is the reading.Form of groups in signals. It ends at a multiple of
// 8, so that another group can follow; dst has to begin and end at one.
func AppendGroup(dst []byte, e *reading.Entry) []byte {
	g := e.Group
	dst = binary.LittleEndian.AppendUint64(dst, e.Sequence)
	dst = binary.LittleEndian.AppendUint32(dst, 2*uint32(len(g.Context)))
	dst = hex.AppendEncode(dst, g.Context[:])
	dst = pad(append(dst, 0), 8)
	dst = binary.LittleEndian.AppendUint64(dst, e.Microseconds(g.Start))
	dst = binary.LittleEndian.AppendUint64(dst, e.Microseconds(g.End))

	dst, at := beginArray(dst)
	reading.Attributes(e, func(name string, value []byte) {
		dst = appendText(pad(dst, 8), []byte(name))
		dst = append(dst, 1, 's', 0)
		dst = appendText(dst, value)
	}, func(name string, value uint64) {
		dst = appendText(pad(dst, 8), []byte(name))
		dst = pad(append(dst, 1, 't', 0), 8)
		dst = binary.LittleEndian.AppendUint64(dst, value)
	})
	endArray(dst, at)

	dst, at = beginArray(dst)
	for i := range g.Events {
		if d := &g.Events[i]; d.Kind == event.Data {
			dst = appendText(pad(dst, 8), reading.Plain(d.Key))
			dst = appendValue(dst, &d.Value)
		}
	}
	endArray(dst, at)
	return pad(dst, 8)
}

// pad aligns dst.
func pad(dst []byte, to int) []byte {
	for len(dst)%to != 0 {
		dst = append(dst, 0)
	}
	return dst
}

// beginArray begins an array of elements that are aligned to 8.
func beginArray(dst []byte) ([]byte, int) {
	dst = pad(dst, 4)
	at := len(dst)
	return pad(append(dst, 0, 0, 0, 0), 8), at
}

// endArray fills in the length of the array that began at.
func endArray(dst []byte, at int) {
	begin := (at + 4 + 7) &^ 7
	binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-begin))
}

func appendText(dst, text []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(pad(dst, 4), uint32(len(text)))
	dst = append(dst, text...)
	return append(dst, 0)
}

// appendValue appends a value as a variant.
func appendValue(dst []byte, v *event.Value) []byte {
	switch {
	case v.Kind == event.Word:
		dst = pad(append(dst, 1, 'x', 0), 8)
		return binary.LittleEndian.AppendUint64(dst, uint64(v.Word))
	case reading.IsText(v):
		return appendText(append(dst, 1, 's', 0), v.Bytes)
	}
	dst = pad(append(dst, 2, 'a', 'y', 0), 4)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(v.Bytes)))
	return append(dst, v.Bytes...)
}

// groupEnd returns where the group at the beginning of b ends, without the
// padding behind it.
func groupEnd(b []byte) int {
	const attributes = 64 // what precedes has the same length in each
	at := attributes + 8 + int(binary.LittleEndian.Uint32(b[attributes:]))
	at = (at + 3) &^ 3
	data := (at + 4 + 7) &^ 7
	return data + int(binary.LittleEndian.Uint32(b[at:]))
}

// trim returns groups without the padding behind the last of them, which is no
// part of an array.
func trim(groups []byte) []byte {
	for at := 0; at < len(groups); {
		end := at + groupEnd(groups[at:])
		next := (end + 7) &^ 7
		if next >= len(groups) {
			return groups[:end]
		}
		at = next
	}
	return groups
}

// Message types, flags and header fields of the specification.
const (
	typeSignal        = 4
	flagNoReply       = 1
	flagNoAutoStart   = 2
	fieldPath         = 1
	fieldInterface    = 2
	fieldMember       = 3
	fieldDestination  = 6
	fieldSignature    = 8
	protocolVersion   = 1
	bodyLengthAt      = 4
	eventsSignature   = "a" + groupSignature + "s"
	headerOfEvents    = 256 // bytes, about
	littleEndianOrder = 'l'
)

// appendSignal appends the header of a signal, up to where the body begins. The
// length of the body has to be filled in, at bodyLengthAt.
func appendSignal(dst []byte, serial uint32, destination, path, iface, member, signature string) []byte {
	dst = append(dst, littleEndianOrder, typeSignal, flagNoReply|flagNoAutoStart, protocolVersion, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, serial)
	dst, at := beginArray(dst)
	for _, f := range []struct {
		field byte
		kind  byte
		value string
	}{
		{fieldPath, 'o', path}, {fieldInterface, 's', iface}, {fieldMember, 's', member},
		{fieldDestination, 's', destination},
	} {
		dst = append(pad(dst, 8), f.field, 1, f.kind, 0)
		dst = appendText(dst, []byte(f.value))
	}
	dst = append(pad(dst, 8), fieldSignature, 1, 'g', 0, byte(len(signature)))
	dst = append(dst, signature...)
	dst = append(dst, 0)
	endArray(dst, at)
	return pad(dst, 8)
}

// eventsMessage returns the signal Events in two parts around the groups, which
// stand between them.
func eventsMessage(serial uint32, destination, path string, groups []byte, cursor string) (before, after []byte) {
	before = make([]byte, 0, headerOfEvents)
	before = appendSignal(before, serial, destination, path, subscriptionInterface, "Events", eventsSignature)
	body := len(before)
	before = binary.LittleEndian.AppendUint32(before, uint32(len(groups)))
	before = pad(before, 8)
	// The cursor stands behind the array, aligned to 4.
	after = make([]byte, 0, 64)
	for (len(groups)+len(after))%4 != 0 {
		after = append(after, 0)
	}
	after = binary.LittleEndian.AppendUint32(after, uint32(len(cursor)))
	after = append(append(after, cursor...), 0)
	binary.LittleEndian.PutUint32(before[bodyLengthAt:], uint32(len(before)-body+len(groups)+len(after)))
	return before, after
}
