// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/binary"
	"strconv"
	"strings"
	"unicode/utf8"
)

// CBOR major types (RFC 8949, section 3.1), shifted into place.
const (
	majorUint   = 0 << 5
	majorNegint = 1 << 5
	majorBytes  = 2 << 5
	majorText   = 3 << 5
	majorArray  = 4 << 5
	majorMap    = 5 << 5
	majorTag    = 6 << 5
	majorSimple = 7 << 5
)

// simpleTrue is the simple value true (RFC 8949, section 3.3).
const simpleTrue = majorSimple | 21

// Append appends the CBOR form of g, one entry of the log, to dst.
func Append(dst []byte, g *Group) []byte {
	dst = AppendHead(dst, &Head{
		Context: g.Context, Start: g.Start, End: g.End,
		Name: g.Name, Executable: g.Executable, Origin: g.Origin, Unit: g.Unit, Source: g.Source,
	}, len(g.Events))
	for i := range g.Events {
		e := &g.Events[i]
		if e.Kind == NewContext {
			dst = AppendNewContext(dst, e.Parent, e.Origin, e.Executable)
		} else {
			dst = AppendData(dst, e.Key, &e.Value)
		}
	}
	return dst
}

// Head is a Group without its events.
type Head struct {
	Context                  ContextID
	Start, End               uint64
	Name, Executable, Origin []byte
	Unit, Source             []byte
}

// AppendHead appends the part of a group before its events, with the number of events. The caller
// appends the events with AppendNewContext and AppendData. The result equals that of Append.
func AppendHead(dst []byte, h *Head, events int) []byte {
	entries := byte(4)
	for _, attribute := range [...][]byte{h.Name, h.Executable, h.Origin, h.Unit, h.Source} {
		if len(attribute) != 0 {
			entries++
		}
	}
	dst = append(dst, majorMap|entries)
	dst = append(dst, "\x67context\x50"...)
	dst = append(dst, h.Context[:]...)
	dst = append(dst, "\x65start"...)
	dst = appendTime(dst, h.Start)
	dst = append(dst, "\x63end"...)
	dst = appendTime(dst, h.End)
	if len(h.Name) != 0 {
		dst = append(dst, "\x64name"...)
		dst = appendText(dst, h.Name)
	}
	if len(h.Executable) != 0 {
		dst = append(dst, "\x6aexecutable"...)
		dst = appendBytes(dst, h.Executable)
	}
	if len(h.Origin) != 0 {
		dst = append(dst, "\x66origin"...)
		dst = appendBytes(dst, h.Origin)
	}
	if len(h.Unit) != 0 {
		dst = append(dst, "\x64unit"...)
		dst = appendText(dst, h.Unit)
	}
	if len(h.Source) != 0 {
		dst = append(dst, "\x66source"...)
		dst = appendText(dst, h.Source)
	}
	dst = append(dst, "\x66events"...)
	return appendHeader(dst, majorArray, uint64(events))
}

// AppendNewContext appends one NewContext event.
func AppendNewContext(dst []byte, parent ContextID, origin, executable []byte) []byte {
	dst = append(dst, "\xa1\x6aNewContext\xa3\x66parent\x50"...)
	dst = append(dst, parent[:]...)
	dst = append(dst, "\x66origin"...)
	dst = appendBytes(dst, origin)
	dst = append(dst, "\x6aexecutable"...)
	return appendBytes(dst, executable)
}

// AppendData appends one Data event. A key that is not UTF-8 is escaped; a String that is not
// UTF-8 is written as a byte string.
func AppendData(dst, key []byte, v *Value) []byte {
	entries := byte(2)
	if v.Truncated {
		entries++
	}
	if v.Unreadable {
		entries++
	}
	dst = AppendValue(appendDataHead(dst, entries, key), v)
	if v.Truncated {
		dst = append(dst, "\x69truncated"...)
		dst = append(dst, simpleTrue)
	}
	if v.Unreadable {
		dst = append(dst, "\x6aunreadable"...)
		dst = append(dst, simpleTrue)
	}
	return dst
}

// DataHead returns the bytes that AppendData writes before a value of a key, for values that are
// neither truncated nor unreadable. AppendValue completes the event. It avoids encoding a key
// for each of many values.
func DataHead(key []byte) []byte { return appendDataHead(nil, 2, key) }

func appendDataHead(dst []byte, entries byte, key []byte) []byte {
	dst = append(dst, "\xa1\x64Data"...)
	dst = append(dst, majorMap|entries)
	dst = append(dst, "\x63key"...)
	dst = appendText(dst, key)
	return append(dst, "\x65value"...)
}

// AppendValue appends a value in the form of a Data event.
func AppendValue(dst []byte, v *Value) []byte {
	switch v.Kind {
	case Word:
		return appendWord(dst, v.Word)
	case String:
		if utf8.Valid(v.Bytes) {
			dst = appendHeader(dst, majorText, uint64(len(v.Bytes)))
			return append(dst, v.Bytes...)
		}
	}
	return appendBytes(dst, v.Bytes)
}

// appendTime always writes a time in the nine-byte form: equal offsets in neighbouring entries
// make them compress well.
func appendTime(dst []byte, t uint64) []byte {
	dst = append(dst, majorUint|27)
	return binary.BigEndian.AppendUint64(dst, t)
}

func appendWord(dst []byte, word int64) []byte {
	if word < 0 {
		return appendHeader(dst, majorNegint, uint64(^word))
	}
	return appendHeader(dst, majorUint, uint64(word))
}

func appendBytes(dst, b []byte) []byte {
	dst = appendHeader(dst, majorBytes, uint64(len(b)))
	return append(dst, b...)
}

func appendText(dst, b []byte) []byte {
	if !utf8.Valid(b) {
		b = AppendEscaped(nil, b)
	}
	dst = appendHeader(dst, majorText, uint64(len(b)))
	return append(dst, b...)
}

// appendHeader writes the shortest head of a data item (RFC 8949, section 3).
func appendHeader(dst []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(dst, major|byte(n))
	case n < 1<<8:
		return append(dst, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(dst, major|26), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, major|27), n)
	}
}

// AppendEscaped appends b with every invalid UTF-8 byte, every control character and the
// backslash written as \xNN. This is the only external form of such names.
func AppendEscaped(dst, b []byte) []byte {
	const digits = "0123456789abcdef"
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if (r == utf8.RuneError && n == 1) || r < 0x20 || (r >= 0x7f && r < 0xa0) || r == '\\' {
			for _, c := range b[:n] {
				dst = append(dst, '\\', 'x', digits[c>>4], digits[c&15])
			}
		} else {
			dst = append(dst, b[:n]...)
		}
		b = b[n:]
	}
	return dst
}

// Unescape is the inverse of AppendEscaped. A backslash that does not start \xNN stands for
// itself.
func Unescape(text string) string {
	if !strings.Contains(text, `\x`) {
		return text
	}
	b := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) && text[i+1] == 'x' {
			if n, err := strconv.ParseUint(text[i+2:i+4], 16, 8); err == nil {
				b = append(b, byte(n))
				i += 3
				continue
			}
		}
		b = append(b, text[i])
	}
	return string(b)
}
