// SPDX-License-Identifier: Apache-2.0

package marshal

import (
	"encoding/binary"

	"crypto-auditing/src/internal/broker/operations"
	"crypto-auditing/src/internal/schema"
)

// OperationsSignature is the signature of an array of operations.
const OperationsSignature = "aa{sv}"

// Operations is the result of ReadOperations.
type Operations struct {
	Next    string
	Missing uint64

	most int
	// body is the array, whose length is not filled in.
	body []byte
	n    int
}

// NewOperations returns one whose array takes at most so many bytes, unless an operation must be
// taken that is longer. It has room for n operations of the usual size at first.
func NewOperations(most, n int) *Operations {
	const usual = 1 << 10
	return &Operations{most: most, body: make([]byte, 4, min(most, n*usual)+4)}
}

// maxReply is the size of an array with an operation that must be taken above which it is returned
// without the contexts inside it, and without its data, in bytes. It does not depend on what
// there is room for now: an operation is the same whenever it is read.
const maxReply = 4 << 20

// Empty reports whether it has no operations.
func (p *Operations) Empty() bool { return p.n == 0 }

// Take adds an operation if there is room for it, or if it must be taken. It is an
// operations.Take.
func (p *Operations) Take(o *operations.Operation, whole bool) bool {
	before := len(p.body)
	p.body = appendOperation(p.body, o, nil)
	if len(p.body) > p.most && !whole {
		p.body = p.body[:before]
		return false
	}
	for _, less := range shorter(o) {
		if len(p.body) <= maxReply {
			break
		}
		less()
		p.body = appendOperation(p.body[:before], o, nil)
	}
	p.n++
	return true
}

// Reply implements Encoded.
func (p *Operations) Reply(serial uint32, destination string, call uint32) [][]byte {
	header := appendHeader(make([]byte, 0, Overhead), typeReply, serial,
		field{code: fieldReplySerial, kind: 'u', number: call}, field{code: fieldDestination, kind: 's', text: destination},
		field{code: fieldSignature, kind: 'g', text: OperationsSignature + "st"})
	binary.LittleEndian.PutUint32(p.body, uint32(len(p.body)-4))
	body := pad(appendText(p.body, p.Next), 8)
	body = binary.LittleEndian.AppendUint64(body, p.Missing)
	binary.LittleEndian.PutUint32(header[bodyLengthAt:], uint32(len(body)))
	return [][]byte{header, body}
}

// maxSignal is the size of an operation in a signal above which it is sent without the contexts
// inside it, and without its data, in bytes.
const maxSignal = 256 << 10

// AppendOperation is the operations.Form of operations in signals; len(dst) must be a multiple of
// 8, and the result is, so that another can follow.
func AppendOperation(dst []byte, o *operations.Operation) []byte {
	before := len(dst)
	dst = appendOperation(dst, o, nil)
	for _, less := range shorter(o) {
		if len(dst)-before <= maxSignal {
			break
		}
		less()
		dst = appendOperation(dst[:before], o, nil)
	}
	return dst
}

// shorter returns changes that make an operation shorter, one after the other.
func shorter(o *operations.Operation) []func() {
	return []func(){func() { o.Children, o.Truncated = nil, true }, func() { o.Data, o.Names = nil, nil }}
}

// OperationsSignal returns the signal Operations of a subscription in parts. all come from
// AppendOperation.
func OperationsSignal(serial uint32, destination, path, iface string, all []byte, cursor string) [][]byte {
	header := appendHeader(make([]byte, 0, Overhead), typeSignal, serial,
		field{code: fieldPath, kind: 'o', text: path}, field{code: fieldInterface, kind: 's', text: iface},
		field{code: fieldMember, kind: 's', text: "Operations"}, field{code: fieldDestination, kind: 's', text: destination},
		field{code: fieldSignature, kind: 'g', text: OperationsSignature + "s"})
	body := len(header)
	// The first begins after the length of the array: the padding after its own length, which
	// it has at a multiple of 8, is not needed there.
	header = binary.LittleEndian.AppendUint32(header, uint32(len(all)-4))
	header = append(header, all[:4]...)
	after := appendText(make([]byte, 0, 128), cursor)
	binary.LittleEndian.PutUint32(header[bodyLengthAt:], uint32(len(header)-body+len(all)-8+len(after)))
	return [][]byte{header, all[8:], after}
}

// appendOperation appends an operation as a{sv}; dst is aligned as in the message. Attributes that
// are those of the operation around it, if there is one, are left out.
func appendOperation(dst []byte, o, around *operations.Operation) []byte {
	if around == nil {
		around = &operations.Operation{}
	}
	dst, at := beginArray(dst)
	for _, text := range [...]struct{ key, value, around string }{
		{"cursor", o.Cursor, ""}, {"context", o.Context, ""}, {"name", o.Name, ""}, {"executable", o.Executable, around.Executable},
		{"unit", o.Unit, around.Unit}, {"library", o.Library, around.Library}, {"origin", o.Origin, around.Origin},
		{"source", o.Source, around.Source},
	} {
		if text.value != text.around {
			dst = appendText(variant(appendText(pad(dst, 8), text.key), "s"), text.value)
		}
	}
	dst = appendTime(dst, "start", o.Start)
	for _, flag := range [...]struct {
		key string
		set bool
	}{{"orphan", o.Orphan}, {"truncated", o.Truncated}} {
		if flag.set {
			dst = variant(appendText(pad(dst, 8), flag.key), "b")
			dst = binary.LittleEndian.AppendUint32(pad(dst, 4), 1)
		}
	}
	if o.Cursor != "" {
		dst = appendTexts(dst, "summary", o.Summary)
	}
	dst = appendData(dst, o.Data)
	if len(o.Names) > 0 {
		dst = appendTexts(dst, "names", o.Names)
	}
	if len(o.Children) > 0 {
		dst = pad(variant(appendText(pad(dst, 8), "children"), OperationsSignature), 4)
		length := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		for i := range o.Children {
			dst = appendOperation(dst, &o.Children[i], o)
		}
		binary.LittleEndian.PutUint32(dst[length:], uint32(len(dst)-length-4))
	}
	dst = appendTime(dst, "end", o.End) // the last, so that it ends at a multiple of 8
	endArray(dst, at)
	return dst
}

// appendTime appends an entry with a time in µs.
func appendTime(dst []byte, key string, us uint64) []byte {
	dst = variant(appendText(pad(dst, 8), key), "t")
	return binary.LittleEndian.AppendUint64(pad(dst, 8), us)
}

// variant appends the signature of a variant.
func variant(dst []byte, signature string) []byte {
	return append(append(append(dst, byte(len(signature))), signature...), 0)
}

// appendTexts appends an entry with a value a{ss}.
func appendTexts(dst []byte, key string, texts []operations.Text) []byte {
	dst, at := beginArray(variant(appendText(pad(dst, 8), key), "a{ss}"))
	for _, t := range texts {
		dst = appendText(appendText(pad(dst, 8), t.Key), t.Text)
	}
	endArray(dst, at)
	return dst
}

// appendData appends the entry with data, a(sv).
func appendData(dst []byte, data []schema.Datum) []byte {
	dst, at := beginArray(variant(appendText(pad(dst, 8), "data"), "a(sv)"))
	for i := range data {
		dst = appendValue(appendText(pad(dst, 8), data[i].Key), &data[i].Value)
	}
	endArray(dst, at)
	return dst
}
