// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"encoding/binary"
	"errors"
	"unsafe"

	"crypto-auditing/bpf"
)

// Type is the type of a value.
type Type uint8

// The types.
const (
	Word   = Type(bpf.AuditElementTypeELEMENT_WORD)
	String = Type(bpf.AuditElementTypeELEMENT_STRING)
	Blob   = Type(bpf.AuditElementTypeELEMENT_BLOB)
)

// Element is a key with its value, as passed to a probe.
type Element struct {
	// Key is nil if it could not be read.
	Key  []byte
	Type Type
	// Word is the value of a Word, Bytes the value of the other types.
	Word  int64
	Bytes []byte
	// Truncated reports that the key or the value exceeded the size of a record,
	// Unreadable that the value could not be read, Null that the pointer to a string
	// was NULL.
	Truncated, Unreadable, Null bool
}

// Record is one probe hit. Its byte slices are valid as long as the raw record; those
// completed from the library's file remain valid longer.
type Record struct {
	// Time is in nanoseconds since boot, suspend included.
	Time uint64
	// PIDTGID is the process in the upper half, the thread in the lower.
	PIDTGID         uint64
	Context, Parent uint64
	// NewContext: the hit opens a context; Parent and Executable are valid.
	NewContext bool
	Executable []byte
	// Library contains the site; nil if it was forgotten in the meantime.
	Library *Library
	// NoArguments reports that the arguments could not be read: only the time, the task
	// and the library are valid.
	NoArguments bool
	// Elements are the elements; Dropped is the number of further elements that could
	// not be read or exceeded the limit.
	Elements []Element
	Dropped  int
	// ArrayUnreadable reports that Dropped is due to unreadable memory.
	ArrayUnreadable bool
}

// Kind is the kind of a ring record, which determines how to decode it.
type Kind uint8

// The kinds.
const (
	// UnknownKind is a record that no program of this version writes.
	UnknownKind Kind = iota
	// Hit is a probe hit, decoded by Tracer.Decode.
	Hit
	// Piece is a piece of a connection, decoded by package sockets.
	Piece
	// Owned is an Owner, decoded by DecodeOwner.
	Owned
	// Function is a call of a library's function, decoded by DecodeCall.
	Function
)

// KindOf returns the kind of a record from Ring.Drain.
func KindOf(raw []byte) Kind {
	if len(raw) < int(unsafe.Sizeof(bpf.AuditRecord{})) {
		return UnknownKind
	}
	switch kind := bpf.AuditRecordKind(raw[unsafe.Offsetof(bpf.AuditRecord{}.Kind)]); {
	case kind == bpf.AuditRecordKindRECORD_WIRE:
		return Piece
	case kind == bpf.AuditRecordKindRECORD_OWNER:
		return Owned
	case kind == bpf.AuditRecordKindRECORD_CALL:
		return Function
	case kind >= bpf.AuditRecordKindRECORD_NEW_CONTEXT && kind < bpf.AuditRecordKindRECORD_WIRE:
		return Hit
	}
	return UnknownKind
}

// errRecord reports a record that the BPF programs cannot have written.
var errRecord = errors.New("cannot decode a ring record: programs and agent do not match")

const (
	recordHead  = int(unsafe.Offsetof(bpf.AuditRecord{}.Flags) + unsafe.Sizeof(bpf.AuditRecord{}.Flags))
	elementHead = int(unsafe.Sizeof(bpf.AuditElement{}))
)

// Decode decodes a record from Ring.Drain into r and completes from the library's file
// what the programs could not read. It reuses the array of r.Elements.
func (t *Tracer) Decode(raw []byte, r *Record) error {
	if len(raw) < int(unsafe.Sizeof(bpf.AuditRecord{})) {
		return errRecord
	}
	// The ring aligns records to eight bytes, as the type requires, and the length was
	// checked above.
	head := (*bpf.AuditRecord)(unsafe.Pointer(&raw[0]))
	if int(head.Length) > len(raw) {
		return errRecord
	}
	*r = Record{
		Time: head.Time, PIDTGID: head.PidTgid, Context: head.Context, Parent: head.Parent,
		Dropped:         int(head.Dropped),
		NoArguments:     head.Flags&uint8(bpf.AuditRecordFlagsRECORD_NO_ARGUMENTS) != 0,
		ArrayUnreadable: head.Flags&uint8(bpf.AuditRecordFlagsRECORD_NO_ARRAY) != 0,
		Elements:        r.Elements[:0],
	}
	switch bpf.AuditRecordKind(head.Kind) {
	case bpf.AuditRecordKindRECORD_NEW_CONTEXT, bpf.AuditRecordKindRECORD_NEW_CONTEXT_WITH_DATA:
		r.NewContext = true
	}
	if table := *t.table.Load(); int(head.Site) < len(table) {
		r.Library = table[head.Site]
	}
	rest := raw[recordHead:max(int(head.Length), recordHead)]
	if int(head.ExeLen) > len(rest) {
		return errRecord
	}
	r.Executable, rest = rest[:head.ExeLen], rest[head.ExeLen:]
	for range head.Count {
		if len(rest) < elementHead {
			return errRecord
		}
		flags := rest[0]
		keyLen, valueLen := int(rest[1]), int(binary.NativeEndian.Uint16(rest[2:]))
		rest = rest[elementHead:]
		if keyLen+valueLen > len(rest) {
			return errRecord
		}
		r.Elements = append(r.Elements, Element{})
		e := &r.Elements[len(r.Elements)-1]
		if !e.decode(flags, rest[:keyLen:keyLen], rest[keyLen:keyLen+valueLen:keyLen+valueLen], r.Library) {
			return errRecord
		}
		rest = rest[keyLen+valueLen:]
	}
	return nil
}

// decode fills e. It returns false if the lengths contradict the flags.
func (e *Element) decode(flags uint8, key, value []byte, l *Library) bool {
	const (
		keyAway   = uint8(bpf.AuditElementFlagsELEMENT_KEY_AWAY)
		valueAway = uint8(bpf.AuditElementFlagsELEMENT_VALUE_AWAY)
		cut       = uint8(bpf.AuditElementFlagsELEMENT_KEY_CUT | bpf.AuditElementFlagsELEMENT_VALUE_CUT)
		null      = uint8(bpf.AuditElementFlagsELEMENT_VALUE_NULL)
	)
	e.Type = Type(flags & uint8(bpf.AuditElementTypeELEMENT_TYPE))
	e.Truncated = flags&cut != 0
	e.Null = flags&null != 0
	e.Key = key
	if flags&keyAway != 0 {
		if len(key) != 8 {
			return false
		}
		e.Key = nil
		if address := binary.NativeEndian.Uint64(key); address != 0 && l != nil {
			if text, ok := l.literal(address); ok {
				e.Key = e.cut(text, maxKey)
			}
		}
	}
	switch {
	case flags&valueAway != 0:
		return e.fetch(value, l)
	case e.Type == Word:
		if len(value) != 8 {
			return false
		}
		e.Word = int64(binary.NativeEndian.Uint64(value))
	default:
		e.Bytes = value
	}
	return true
}

// fetch completes a value from the library's file. It returns false if the length
// contradicts the type.
func (e *Element) fetch(value []byte, l *Library) bool {
	e.Unreadable = true
	var text []byte
	var ok bool
	limit := maxString
	switch {
	case e.Type == String && len(value) == 8:
		if l != nil {
			text, ok = l.literal(binary.NativeEndian.Uint64(value))
		}
	case e.Type == Blob && len(value) == 16:
		limit = maxBlob
		if l != nil {
			size := min(binary.NativeEndian.Uint64(value[8:]), maxBlob)
			text, ok = l.text(binary.NativeEndian.Uint64(value), int(size))
		}
	default:
		return false
	}
	if ok {
		e.Bytes, e.Unreadable = e.cut(text, limit), false
	}
	return true
}

// cut truncates text to limit and sets Truncated if it was longer.
func (e *Element) cut(text []byte, limit int) []byte {
	if len(text) <= limit {
		return text
	}
	e.Truncated = true
	return text[:limit:limit]
}
