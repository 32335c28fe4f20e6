// SPDX-License-Identifier: Apache-2.0

// Package marshal encodes groups, and the messages that carry them, in the D-Bus
// wire format (D-Bus specification, "Message Protocol"), little endian. A group is
// encoded once, regardless of how many messages carry it.
package marshal

import (
	"encoding/binary"
	"encoding/hex"

	"crypto-auditing/src/internal/event"
)

// GroupsSignature is the signature of an array of groups.
const GroupsSignature = "a(tstta{sv}a(sv))"

// Alignment is relative to the beginning of the slice, whose offset in the message
// is a multiple of 8.

// AppendGroup is the reading.Encoder of groups in messages. It pads the group to a
// multiple of 8, so that another can follow; len(dst) must be a multiple of 8.
func AppendGroup(dst []byte, e *event.Entry) []byte {
	g := e.Group
	dst = binary.LittleEndian.AppendUint64(dst, e.Sequence)
	dst = binary.LittleEndian.AppendUint32(dst, 2*uint32(len(g.Context)))
	dst = hex.AppendEncode(dst, g.Context[:])
	dst = pad(append(dst, 0), 8)
	dst = binary.LittleEndian.AppendUint64(dst, e.Start())
	dst = binary.LittleEndian.AppendUint64(dst, e.End())

	dst, at := beginArray(dst)
	var room [event.MaxAttributes]event.Attribute
	for _, a := range e.Attributes(room[:0]) {
		dst = appendText(pad(dst, 8), a.Name)
		if a.Text != nil {
			dst = appendText(append(dst, 1, 's', 0), a.Text)
			continue
		}
		dst = pad(append(dst, 1, 't', 0), 8)
		dst = binary.LittleEndian.AppendUint64(dst, a.Number)
	}
	endArray(dst, at)

	dst, at = beginArray(dst)
	for i := range g.Events {
		if d := &g.Events[i]; d.Kind == event.Data {
			dst = appendText(pad(dst, 8), event.Escaped(d.Key))
			dst = appendValue(dst, &d.Value)
		}
	}
	endArray(dst, at)
	return pad(dst, 8)
}

// pad aligns dst to a power of two, 8 at most.
func pad(dst []byte, to int) []byte {
	return append(dst, "\x00\x00\x00\x00\x00\x00\x00"[:-len(dst)&(to-1)]...)
}

// beginArray starts an array whose elements are aligned to 8.
func beginArray(dst []byte) ([]byte, int) {
	dst = pad(dst, 4)
	at := len(dst)
	return pad(append(dst, 0, 0, 0, 0), 8), at
}

// endArray fills in the length of the array that started at.
func endArray(dst []byte, at int) {
	begin := (at + 4 + 7) &^ 7
	binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-begin))
}

func appendText[T []byte | string](dst []byte, text T) []byte {
	dst = binary.LittleEndian.AppendUint32(pad(dst, 4), uint32(len(text)))
	dst = append(dst, text...)
	return append(dst, 0)
}

// appendValue appends a value as a variant.
func appendValue(dst []byte, v *event.Value) []byte {
	switch v.Form() {
	case event.Word:
		dst = pad(append(dst, 1, 'x', 0), 8)
		return binary.LittleEndian.AppendUint64(dst, uint64(v.Word))
	case event.String:
		return appendText(append(dst, 1, 's', 0), v.Bytes)
	}
	dst = pad(append(dst, 2, 'a', 'y', 0), 4)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(v.Bytes)))
	return append(dst, v.Bytes...)
}

// groupEnd returns the end of the first group of b, without its padding.
func groupEnd(b []byte) int {
	const attributes = 64 // the part before has a fixed length
	at := attributes + 8 + int(binary.LittleEndian.Uint32(b[attributes:]))
	at = (at + 3) &^ 3
	data := (at + 4 + 7) &^ 7
	return data + int(binary.LittleEndian.Uint32(b[at:]))
}

// trim removes the padding after the last group, which does not belong to an
// array.
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
	typeReply         = 2
	typeSignal        = 4
	flagNoReply       = 1
	flagNoAutoStart   = 2
	fieldPath         = 1
	fieldInterface    = 2
	fieldMember       = 3
	fieldReplySerial  = 5
	fieldDestination  = 6
	fieldSignature    = 8
	protocolVersion   = 1
	bodyLengthAt      = 4
	littleEndianOrder = 'l'
)

// Overhead bounds the size of a message of this package without its groups, in
// bytes.
const Overhead = 512

// field is a header field with a string or, for kind 'u', a number.
type field struct {
	code, kind byte
	text       string
	number     uint32
}

// appendHeader appends the header of a message. The caller fills in the length of
// the body at bodyLengthAt.
func appendHeader(dst []byte, kind byte, serial uint32, fields ...field) []byte {
	dst = append(dst, littleEndianOrder, kind, flagNoReply|flagNoAutoStart, protocolVersion, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint32(dst, serial)
	dst, at := beginArray(dst)
	for _, f := range fields {
		dst = append(pad(dst, 8), f.code, 1, f.kind, 0)
		switch f.kind {
		case 'u':
			dst = binary.LittleEndian.AppendUint32(dst, f.number)
		case 'g':
			dst = append(dst, byte(len(f.text)))
			dst = append(append(dst, f.text...), 0)
		default:
			dst = appendText(dst, f.text)
		}
	}
	endArray(dst, at)
	return pad(dst, 8)
}

// message returns a message in three parts: everything before the groups, the
// groups, and the output of tail, which is aligned like the groups.
func message(header, groups []byte, tail func(dst []byte) []byte) [][]byte {
	groups = trim(groups)
	body := len(header)
	header = pad(binary.LittleEndian.AppendUint32(header, uint32(len(groups))), 8)
	// Alignment depends only on the offset of the end of the groups.
	end := len(groups) % 8
	after := tail(make([]byte, end, 128))[end:]
	binary.LittleEndian.PutUint32(header[bodyLengthAt:], uint32(len(header)-body+len(groups)+len(after)))
	return [][]byte{header, groups, after}
}

// Events returns the signal Events of a subscription in parts. groups come from
// AppendGroup.
func Events(serial uint32, destination, path, iface string, groups []byte, cursor string) [][]byte {
	header := signalHeader(serial, destination, path, iface, "Events", GroupsSignature)
	return message(header, groups, func(dst []byte) []byte { return appendText(dst, cursor) })
}

// signalHeader returns the header of a signal with an array and a cursor.
func signalHeader(serial uint32, destination, path, iface, member, array string) []byte {
	return appendHeader(make([]byte, 0, Overhead), typeSignal, serial,
		field{code: fieldPath, kind: 'o', text: path}, field{code: fieldInterface, kind: 's', text: iface},
		field{code: fieldMember, kind: 's', text: member}, field{code: fieldDestination, kind: 's', text: destination},
		field{code: fieldSignature, kind: 'g', text: array + "s"})
}

// replyHeader returns the header of a reply with an array, a cursor and a number.
func replyHeader(serial uint32, destination string, call uint32, array string) []byte {
	return appendHeader(make([]byte, 0, Overhead), typeReply, serial,
		field{code: fieldReplySerial, kind: 'u', number: call}, field{code: fieldDestination, kind: 's', text: destination},
		field{code: fieldSignature, kind: 'g', text: array + "st"})
}

// Encoded is a result whose encoding is known.
type Encoded interface {
	// Reply returns the reply to a call, in parts.
	Reply(serial uint32, destination string, call uint32) [][]byte
}

// Page is the result of Read. Groups come from AppendGroup.
type Page struct {
	Groups  []byte
	Next    string
	Missing uint64
}

// Reply returns the reply to a call of Read, in parts.
func (p *Page) Reply(serial uint32, destination string, call uint32) [][]byte {
	header := replyHeader(serial, destination, call, GroupsSignature)
	return message(header, p.Groups, func(dst []byte) []byte {
		dst = pad(appendText(dst, p.Next), 8)
		return binary.LittleEndian.AppendUint64(dst, p.Missing)
	})
}
