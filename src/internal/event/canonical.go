// SPDX-License-Identifier: Apache-2.0

package event

import "encoding/binary"

// scanner reads an entry in exactly the form that Append writes, as all entries of the agent
// are: it compares whole keys in their order. For any other input, including errors, the decoder
// is used.
type scanner struct {
	b   []byte
	pos int
	ok  bool
}

// canonical decodes an entry in that form. ok is false for another form; the contents of g are
// then undefined.
func (d *decoder) canonical(g *Group) (ok bool) {
	s := scanner{b: d.b, ok: true}
	*g = Group{Events: g.Events[:0]}
	keys := 0
	s.literal("\x67context\x50", 1)
	s.id(&g.Context)
	s.literal("\x65start\x1b", 0)
	g.Start = s.fixed()
	s.literal("\x63end\x1b", 0)
	g.End = s.fixed()
	if s.next("\x64name") {
		g.Name = s.text()
		keys++
	}
	if s.next("\x6aexecutable") {
		g.Executable = s.bytes(majorBytes)
		keys++
	}
	if s.next("\x66origin") {
		g.Origin = s.bytes(majorBytes)
		keys++
	}
	if s.next("\x64unit") {
		g.Unit = s.text()
		keys++
	}
	if s.next("\x66source") {
		g.Source = s.text()
		keys++
	}
	s.literal("\x66events", 0)
	major, n := s.head()
	if !s.ok || s.b[0] != majorMap|byte(4+keys) || major != majorArray || n > MaxEvents {
		return false
	}
	for range n {
		if len(g.Events) < cap(g.Events) {
			g.Events = g.Events[:len(g.Events)+1]
			g.Events[len(g.Events)-1] = Event{}
		} else {
			g.Events = append(g.Events, Event{})
		}
		if s.event(&g.Events[len(g.Events)-1]); !s.ok {
			return false
		}
	}
	d.pos = s.pos
	return true
}

func (s *scanner) event(e *Event) {
	if s.next("\xa1\x6aNewContext\xa3\x66parent\x50") {
		e.Kind = NewContext
		s.id(&e.Parent)
		s.literal("\x66origin", 0)
		e.Origin = s.bytes(majorBytes)
		s.literal("\x6aexecutable", 0)
		e.Executable = s.bytes(majorBytes)
		return
	}
	// Elements with more keys, because their value is incomplete, are rare.
	s.literal("\xa1\x64Data\xa2\x63key", 0)
	e.Key = s.text()
	s.literal("\x65value", 0)
	at := s.pos
	switch major, n := s.head(); major {
	case majorUint, majorNegint:
		s.ok = s.ok && n <= 1<<63-1
		e.Value.Word = int64(n)
		if major == majorNegint {
			e.Value.Word = ^int64(n)
		}
	case majorText:
		s.pos = at
		e.Value.Kind, e.Value.Bytes = String, s.text()
	case majorBytes:
		s.pos = at
		e.Value.Kind, e.Value.Bytes = Blob, s.bytes(majorBytes)
	default:
		s.ok = false
	}
}

// next skips an optional literal and reports whether it was present.
func (s *scanner) next(literal string) bool {
	end := s.pos + len(literal)
	if end > len(s.b) || string(s.b[s.pos:end]) != literal {
		return false
	}
	s.pos = end
	return true
}

// literal skips a required literal after skip bytes.
func (s *scanner) literal(literal string, skip int) {
	s.pos += skip
	s.ok = s.next(literal) && s.ok
}

func (s *scanner) id(id *ContextID) {
	if len(s.b)-s.pos < len(id) {
		s.ok = false
		return
	}
	*id = ContextID(s.b[s.pos:])
	s.pos += len(id)
}

// fixed reads an eight-byte number.
func (s *scanner) fixed() uint64 {
	if len(s.b)-s.pos < 8 {
		s.ok = false
		return 0
	}
	s.pos += 8
	return binary.BigEndian.Uint64(s.b[s.pos-8:])
}

// head reads the head of an item.
func (s *scanner) head() (major byte, n uint64) {
	if s.pos < len(s.b) && s.b[s.pos]&0x1f < 24 {
		c := s.b[s.pos]
		s.pos++
		return c & 0xe0, uint64(c & 0x1f)
	}
	d := decoder{b: s.b, pos: s.pos}
	major, n = d.head()
	s.pos, s.ok = d.pos, s.ok && d.err == nil
	return major, n
}

// bytes reads a string of the given major type.
func (s *scanner) bytes(major byte) []byte {
	m, n := s.head()
	if !s.ok || m != major || n > uint64(len(s.b)-s.pos) {
		s.ok = false
		return nil
	}
	start := s.pos
	s.pos += int(n)
	return s.b[start:s.pos:s.pos]
}

func (s *scanner) text() []byte {
	b := s.bytes(majorText)
	s.ok = s.ok && validText(b)
	return b
}
