// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"unicode/utf8"
)

// Limits of Decode. Entries of the agent are far smaller; the limits bound the cost of a damaged
// or malicious file.
const (
	// MaxEntry is the maximum length of an entry in bytes.
	MaxEntry = 1 << 20
	// MaxEvents is the maximum number of events in a group.
	MaxEvents = 1 << 16
	// maxDepth is the maximum nesting of unknown items, which are skipped.
	maxDepth = 16
)

// A SyntaxError reports invalid bytes in an entry.
type SyntaxError struct {
	// Offset is the offset in the entry, in bytes.
	Offset int
	// Problem describes the error.
	Problem string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("bad event group at byte %d: %s", e.Offset, e.Problem)
}

// Decode decodes the first entry of b into g and returns its length. Byte slices of g alias b;
// the array of g.Events is reused. Unknown map keys are skipped. The form is described in RFC
// 8949 and RFC 8742; items of indefinite length are not accepted.
//
// The error is io.EOF if b is empty, io.ErrUnexpectedEOF if b ends inside the entry, and a
// *SyntaxError if the entry is not an event group.
func Decode(b []byte, g *Group) (int, error) {
	if len(b) == 0 {
		return 0, io.EOF
	}
	d := newDecoder(b)
	if !d.canonical(g) {
		d.group(g)
	}
	return d.length(b)
}

// Len returns the length of the first entry of b without decoding it. Its errors are those of
// Decode.
func Len(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, io.EOF
	}
	d := newDecoder(b)
	if b[0]>>5 != majorMap>>5 {
		return 0, &SyntaxError{0, "not a map"}
	}
	d.skip()
	return d.length(b)
}

// decoder reads items from b. After the first error its methods do nothing.
type decoder struct {
	b   []byte
	pos int
	err error
}

// newDecoder returns a decoder for the first entry of b.
func newDecoder(b []byte) decoder { return decoder{b: b[:min(len(b), MaxEntry)]} }

// length returns the length of the first entry of b after it was decoded.
func (d *decoder) length(b []byte) (int, error) {
	switch {
	case d.err == nil:
		return d.pos, nil
	case d.err == io.ErrUnexpectedEOF && len(b) > MaxEntry:
		return 0, &SyntaxError{MaxEntry, "entry longer than the limit"}
	}
	return 0, d.err
}

func (d *decoder) fail(problem string) {
	if d.err == nil {
		d.err = &SyntaxError{d.pos, problem}
	}
}

// head reads the head of an item and returns its major type and argument.
func (d *decoder) head() (byte, uint64) {
	if d.err != nil {
		return 0, 0
	}
	if d.pos >= len(d.b) {
		d.err = io.ErrUnexpectedEOF
		return 0, 0
	}
	first := d.b[d.pos]
	major, low := first&0xe0, first&0x1f
	if low < 24 {
		d.pos++
		return major, uint64(low)
	}
	if low > 27 {
		d.fail("item of reserved or indefinite length")
		return 0, 0
	}
	size := 1 << (low - 24)
	if len(d.b)-d.pos-1 < size {
		d.err = io.ErrUnexpectedEOF
		return 0, 0
	}
	p := d.b[d.pos+1:]
	var n uint64
	switch size {
	case 1:
		n = uint64(p[0])
	case 2:
		n = uint64(binary.BigEndian.Uint16(p))
	case 4:
		n = uint64(binary.BigEndian.Uint32(p))
	default:
		n = binary.BigEndian.Uint64(p)
	}
	d.pos += 1 + size
	return major, n
}

// expect reads a head that must be of the given major type.
func (d *decoder) expect(major byte, expected string) uint64 {
	at := d.pos
	got, n := d.head()
	if d.err == nil && got != major {
		d.pos = at
		d.fail("not " + expected)
	}
	return n
}

// take returns the next n bytes.
func (d *decoder) take(n uint64) []byte {
	if d.err != nil {
		return nil
	}
	if n > uint64(len(d.b)-d.pos) {
		if n > MaxEntry {
			d.fail("string longer than the limit")
		} else {
			d.err = io.ErrUnexpectedEOF
		}
		return nil
	}
	b := d.b[d.pos : d.pos+int(n) : d.pos+int(n)]
	d.pos += int(n)
	return b
}

func (d *decoder) text(expected string) []byte {
	at := d.pos
	b := d.take(d.expect(majorText, expected))
	if d.err == nil && !validText(b) {
		d.pos = at
		d.fail("not UTF-8")
	}
	return b
}

// validText is utf8.Valid with a fast path for short ASCII text.
func validText(b []byte) bool {
	short := b
	for ; len(short) >= 8; short = short[8:] {
		if binary.LittleEndian.Uint64(short)&0x8080808080808080 != 0 {
			return utf8.Valid(b)
		}
	}
	for _, c := range short {
		if c >= utf8.RuneSelf {
			return utf8.Valid(b)
		}
	}
	return true
}

// bytesOrText reads a byte string, or a text string, which some encoders write instead.
func (d *decoder) bytesOrText(expected string) []byte {
	at := d.pos
	major, n := d.head()
	if d.err == nil && major != majorBytes && major != majorText {
		d.pos = at
		d.fail("not " + expected)
	}
	return d.take(n)
}

func (d *decoder) context(id *ContextID) {
	at := d.pos
	b := d.take(d.expect(majorBytes, "a byte string"))
	if d.err != nil {
		return
	}
	if len(b) != len(id) {
		d.pos = at
		d.fail("context id not of 16 bytes")
		return
	}
	copy(id[:], b)
}

// Bits of the required map keys of a group.
const (
	hasContext = 1 << iota
	hasStart
	hasEnd
	hasEvents
	hasAll = hasContext | hasStart | hasEnd | hasEvents
)

func (d *decoder) group(g *Group) {
	*g = Group{Events: g.Events[:0]}
	seen := 0
	for n := d.expect(majorMap, "a map"); n > 0 && d.err == nil; n-- {
		switch string(d.text("a text key")) {
		case "context":
			d.context(&g.Context)
			seen |= hasContext
		case "start":
			g.Start = d.expect(majorUint, "a time")
			seen |= hasStart
		case "end":
			g.End = d.expect(majorUint, "a time")
			seen |= hasEnd
		case "name":
			g.Name = d.text("a name")
		case "executable":
			g.Executable = d.bytesOrText("an executable")
		case "origin":
			g.Origin = d.bytesOrText("an origin")
		case "unit":
			g.Unit = d.text("a unit")
		case "source":
			g.Source = d.text("a source")
		case "events":
			d.events(g)
			seen |= hasEvents
		default:
			d.skip()
		}
	}
	if d.err == nil && seen != hasAll {
		d.fail("context, start, end or events missing")
	}
}

func (d *decoder) events(g *Group) {
	n := d.expect(majorArray, "an array of events")
	if d.err == nil && n > MaxEvents {
		d.fail("more events than the limit")
	}
	for ; n > 0 && d.err == nil; n-- {
		if len(g.Events) < cap(g.Events) {
			g.Events = g.Events[:len(g.Events)+1]
			g.Events[len(g.Events)-1] = Event{}
		} else {
			g.Events = append(g.Events, Event{})
		}
		d.event(&g.Events[len(g.Events)-1])
	}
}

func (d *decoder) event(e *Event) {
	at := d.pos
	if d.expect(majorMap, "an event") != 1 {
		if d.err == nil {
			d.pos = at
			d.fail("event is not a map of one key")
		}
		return
	}
	switch string(d.text("an event's kind")) {
	case "NewContext":
		e.Kind = NewContext
		d.newContext(e)
	case "Data":
		e.Kind = Data
		d.data(e)
	default:
		d.fail("event neither NewContext nor Data")
	}
}

func (d *decoder) newContext(e *Event) {
	parent := false
	for n := d.expect(majorMap, "a map"); n > 0 && d.err == nil; n-- {
		switch string(d.text("a text key")) {
		case "parent":
			d.context(&e.Parent)
			parent = true
		case "origin":
			e.Origin = d.bytesOrText("an origin")
		case "executable":
			e.Executable = d.bytesOrText("an executable")
		default:
			d.skip()
		}
	}
	if d.err == nil && !parent {
		d.fail("NewContext without parent")
	}
}

func (d *decoder) data(e *Event) {
	key, value := false, false
	for n := d.expect(majorMap, "a map"); n > 0 && d.err == nil; n-- {
		switch string(d.text("a text key")) {
		case "key":
			e.Key = d.text("a key")
			key = true
		case "value":
			d.value(&e.Value)
			value = true
		case "truncated":
			e.Value.Truncated = d.boolean()
		case "unreadable":
			e.Value.Unreadable = d.boolean()
		default:
			d.skip()
		}
	}
	if d.err == nil && (!key || !value) {
		d.fail("Data without key or value")
	}
}

func (d *decoder) value(v *Value) {
	at := d.pos
	major, n := d.head()
	switch {
	case d.err != nil:
	case major == majorUint || major == majorNegint:
		v.Kind, v.Word = Word, d.signed(at, major, n)
	case major == majorText:
		v.Kind, v.Bytes = String, d.take(n)
		if d.err == nil && !validText(v.Bytes) {
			d.pos = at
			d.fail("not UTF-8")
		}
	case major == majorBytes:
		v.Kind, v.Bytes = Blob, d.take(n)
	default:
		d.pos = at
		d.fail("value neither word nor string nor blob")
	}
}

// signed converts n, from the head at offset at, to a signed number.
func (d *decoder) signed(at int, major byte, n uint64) int64 {
	if n > math.MaxInt64 {
		d.pos = at
		d.fail("word of more than 64 bits")
	}
	if major == majorNegint {
		return ^int64(n)
	}
	return int64(n)
}

// word reads a signed 64-bit number.
func (d *decoder) word(expected string) int64 {
	at := d.pos
	major, n := d.head()
	if d.err == nil && major != majorUint && major != majorNegint {
		d.pos = at
		d.fail("not " + expected)
	}
	return d.signed(at, major, n)
}

// key reads a text key that must equal name.
func (d *decoder) key(name string) {
	at := d.pos
	if string(d.text("a text key")) != name && d.err == nil {
		d.pos = at
		d.fail("not the key " + name)
	}
}

func (d *decoder) boolean() bool {
	at := d.pos
	major, n := d.head()
	if d.err == nil && (major != majorSimple || n != 20 && n != 21) {
		d.pos = at
		d.fail("not a boolean")
	}
	return n == 21
}

// skip skips one item of any kind.
func (d *decoder) skip() {
	// The number of items to skip at each depth.
	var left [maxDepth]uint64
	left[0] = 1
	for level := 0; level >= 0; {
		if left[level] == 0 {
			level--
			continue
		}
		left[level]--
		var major byte
		var n uint64
		// Most heads are one byte.
		if d.pos < len(d.b) && d.b[d.pos]&0x1f < 24 {
			major, n = d.b[d.pos]&0xe0, uint64(d.b[d.pos]&0x1f)
			d.pos++
		} else if major, n = d.head(); d.err != nil {
			return
		}
		switch major {
		case majorBytes, majorText:
			if n <= uint64(len(d.b)-d.pos) {
				d.pos += int(n)
			} else {
				d.take(n)
				return
			}
			continue
		case majorArray, majorMap:
			// Every item takes at least one byte, so a huge count fails at the end of the
			// input.
			if n > MaxEntry {
				d.fail("more items than the limit")
				return
			}
			if major == majorMap {
				n *= 2
			}
		case majorTag:
			n = 1
		default:
			continue
		}
		if n == 0 {
			continue
		}
		if level++; level == maxDepth {
			d.fail("items nested too deeply")
			return
		}
		left[level] = n
	}
}
