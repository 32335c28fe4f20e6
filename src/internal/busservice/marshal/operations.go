// SPDX-License-Identifier: Apache-2.0

package marshal

import (
	"encoding/binary"
	"encoding/hex"

	"crypto-auditing/src/internal/broker/operations"
	"crypto-auditing/src/internal/schema"
)

// OperationsSignature is the signature of an array of operations.
const OperationsSignature = "aa{sv}"

// OperationEncoder is how operations are encoded in messages. Its value is the largest size of an
// operation in bytes: a larger one is encoded without the contexts inside it, or without its data. It
// does not depend on what a message has room for, so that an operation is the same whenever it is
// read.
type OperationEncoder int

// The encoders.
const (
	InReplies OperationEncoder = 4 << 20
	InSignals OperationEncoder = 256 << 10
)

// Append implements operations.Encoder; len(dst) must be a multiple of 8, and the result is, so that
// another operation can follow.
func (f OperationEncoder) Append(dst []byte, o *operations.Operation) []byte {
	before := len(dst)
	dst = appendOperation(dst, o, nil)
	for _, shorten := range []func(){
		func() { o.Children, o.Truncated = nil, true },
		func() { o.Data, o.Names = nil, nil },
	} {
		if len(dst)-before <= int(f) {
			break
		}
		shorten()
		dst = appendOperation(dst[:before], o, nil)
	}
	return dst
}

// Operations is the result of ReadOperations. Operations come from InReplies.
type Operations struct {
	Operations []byte
	Next       string
	Missing    uint64
}

// Reply implements Encoded.
func (p *Operations) Reply(serial uint32, destination string, call uint32) [][]byte {
	header := replyHeader(serial, destination, call, OperationsSignature)
	return operationsMessage(header, p.Operations, func(dst []byte) []byte {
		return binary.LittleEndian.AppendUint64(pad(appendText(dst, p.Next), 8), p.Missing)
	})
}

// OperationsSignal returns the signal Operations of a subscription in parts. all come from
// InSignals.
func OperationsSignal(serial uint32, destination, path, iface string, all []byte, cursor string) [][]byte {
	header := signalHeader(serial, destination, path, iface, "Operations", OperationsSignature)
	return operationsMessage(header, all, func(dst []byte) []byte { return appendText(dst, cursor) })
}

// operationsMessage returns a message in parts: everything before the operations, with the beginning
// of the first, the operations, and the output of tail.
func operationsMessage(header, all []byte, tail func(dst []byte) []byte) [][]byte {
	body := len(header)
	var length uint32
	var rest []byte
	if len(all) > 0 {
		// The first begins after the length of the array: the padding after its own length,
		// which it has at a multiple of 8, is not needed there.
		length, rest = uint32(len(all)-4), all[8:]
	}
	header = binary.LittleEndian.AppendUint32(header, length)
	if len(all) > 0 {
		header = append(header, all[:4]...)
	}
	end := (len(header) + len(rest)) % 8 // alignment depends only on this
	after := tail(make([]byte, end, 128))[end:]
	binary.LittleEndian.PutUint32(header[bodyLengthAt:], uint32(len(header)-body+len(rest)+len(after)))
	return [][]byte{header, rest, after}
}

// The beginnings of the entries of an operation: the length and the text of the key, and the
// signature of the value.
const (
	entryCursor     = "\x06\x00\x00\x00cursor\x00" + text
	entryContext    = "\x07\x00\x00\x00context\x00" + text
	entryName       = "\x04\x00\x00\x00name\x00" + text
	entryExecutable = "\x0a\x00\x00\x00executable\x00" + text
	entryUnit       = "\x04\x00\x00\x00unit\x00" + text
	entryLibrary    = "\x07\x00\x00\x00library\x00" + text
	entryOrigin     = "\x06\x00\x00\x00origin\x00" + text
	entrySource     = "\x06\x00\x00\x00source\x00" + text
	entryStart      = "\x05\x00\x00\x00start\x00" + number
	entryEnd        = "\x03\x00\x00\x00end\x00" + number
	entryOrphan     = "\x06\x00\x00\x00orphan\x00" + flag
	entryTruncated  = "\x09\x00\x00\x00truncated\x00" + flag
	entrySummary    = "\x07\x00\x00\x00summary\x00" + texts
	entryNames      = "\x05\x00\x00\x00names\x00" + texts
	entryData       = "\x04\x00\x00\x00data\x00" + "\x05a(sv)\x00"
	entryChildren   = "\x08\x00\x00\x00children\x00" + "\x06" + OperationsSignature + "\x00"

	text   = "\x01s\x00"
	number = "\x01t\x00"
	flag   = "\x01b\x00"
	texts  = "\x05a{ss}\x00"
)

// appendOperation appends an operation as a{sv}; dst is aligned as in the message. Attributes that
// equal those of the operation around it, if there is one, are omitted.
func appendOperation(dst []byte, o, around *operations.Operation) []byte {
	if around == nil {
		around = &operations.Operation{}
	}
	dst, at := beginArray(dst)
	for _, text := range [...]struct{ begin, value, around string }{
		{entryCursor, o.Cursor, ""}, {entryName, o.Name, ""}, {entryExecutable, o.Executable, around.Executable},
		{entryUnit, o.Unit, around.Unit}, {entryLibrary, o.Library, around.Library}, {entryOrigin, o.Origin, around.Origin},
		{entrySource, o.Source, around.Source},
	} {
		if text.value != text.around {
			dst = appendText(append(pad(dst, 8), text.begin...), text.value)
		}
	}
	dst = append(pad(dst, 8), entryContext...)
	dst = binary.LittleEndian.AppendUint32(pad(dst, 4), 2*uint32(len(o.Context)))
	dst = append(hex.AppendEncode(dst, o.Context[:]), 0)
	dst = appendTime(dst, entryStart, o.Start)
	for _, flag := range [...]struct {
		begin string
		set   bool
	}{{entryOrphan, o.Orphan}, {entryTruncated, o.Truncated}} {
		if flag.set {
			dst = append(pad(dst, 8), flag.begin...)
			dst = binary.LittleEndian.AppendUint32(pad(dst, 4), 1)
		}
	}
	if o.Cursor != "" {
		dst = appendTexts(dst, entrySummary, o.Summary)
	}
	dst = appendData(dst, o.Data)
	if len(o.Names) > 0 {
		dst = appendTexts(dst, entryNames, o.Names)
	}
	if len(o.Children) > 0 {
		dst = pad(append(pad(dst, 8), entryChildren...), 4)
		length := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		for i := range o.Children {
			dst = appendOperation(dst, &o.Children[i], o)
		}
		binary.LittleEndian.PutUint32(dst[length:], uint32(len(dst)-length-4))
	}
	dst = appendTime(dst, entryEnd, o.End) // the last, so that it ends at a multiple of 8
	endArray(dst, at)
	return dst
}

// appendTime appends an entry with a time in µs.
func appendTime(dst []byte, begin string, us uint64) []byte {
	dst = append(pad(dst, 8), begin...)
	return binary.LittleEndian.AppendUint64(pad(dst, 8), us)
}

// appendTexts appends an entry with a value a{ss}.
func appendTexts(dst []byte, begin string, texts []operations.Text) []byte {
	dst, at := beginArray(append(pad(dst, 8), begin...))
	for _, t := range texts {
		dst = appendText(appendText(pad(dst, 8), t.Key), t.Text)
	}
	endArray(dst, at)
	return dst
}

// appendData appends the entry with data, a(sv).
func appendData(dst []byte, data []schema.Datum) []byte {
	dst, at := beginArray(append(pad(dst, 8), entryData...))
	for i := range data {
		dst = appendValue(appendText(pad(dst, 8), data[i].Key), &data[i].Value)
	}
	endArray(dst, at)
	return dst
}
