// SPDX-License-Identifier: Apache-2.0

package dtls

import "slices"

const (
	// maxAhead bounds the messages of a direction that are assembled at a time. No
	// flight has more.
	maxAhead = 10
	// maxHeld bounds their bytes.
	maxHeld = 64 << 10
	// maxParts bounds the separate parts of a message. A peer that misses more sends
	// the message again.
	maxParts = 64
)

// Keep returns the number of needed bytes at the beginning of a message's body.
type Keep func(kind uint8) int

// Assembler assembles the messages of one direction. The zero value is ready to use. It
// must be used by one goroutine only.
type Assembler struct {
	// next is the number of the next message, if known is set: after the first hello.
	next    uint16
	known   bool
	pending []message
	held    int
}

// message is a message that is being assembled.
type message struct {
	kind   uint8
	number uint16
	length int
	// body has the needed bytes up to the last received one. parts are the received
	// ranges, in order and not adjacent.
	body  []byte
	parts []part
}

// part is a range of bytes.
type part struct{ from, to int }

// Held returns the number of bytes that are kept.
func (a *Assembler) Held() int { return a.held }

// Add adds a fragment. It passes each message that becomes complete to done, in order:
// its type, the needed bytes of its body, and whether the body has more. The bytes are
// valid during the call.
func (a *Assembler) Add(f *Fragment, keep Keep, done func(kind uint8, body []byte, more bool)) {
	// Numbers of earlier messages are beyond the bound, too.
	if a.known && f.Number-a.next >= maxAhead {
		return
	}
	m := a.find(f)
	if m == nil {
		return
	}
	a.add(m, f, min(f.Length, keep(f.Kind)))
	for i := a.first(keep); i >= 0; i = a.first(keep) {
		m := a.pending[i]
		a.pending = slices.Delete(a.pending, i, i+1)
		a.held -= cap(m.body)
		// A server that requested another hello may restart its numbers.
		a.next, a.known = m.number+1, m.kind != helloVerify
		a.forget()
		done(m.kind, m.body, len(m.body) < m.length)
	}
}

// find returns the message of a fragment, nil if there is none.
func (a *Assembler) find(f *Fragment) *message {
	i := slices.IndexFunc(a.pending, func(m message) bool { return m.number == f.Number })
	switch {
	case i < 0 && len(a.pending) < maxAhead:
		a.pending = append(a.pending, message{kind: f.Kind, number: f.Number, length: f.Length})
		return &a.pending[len(a.pending)-1]
	case i < 0 || a.pending[i].kind != f.Kind || a.pending[i].length != f.Length:
		return nil
	}
	return &a.pending[i]
}

// first returns the index of the next message if it is complete, otherwise -1.
func (a *Assembler) first(keep Keep) int {
	return slices.IndexFunc(a.pending, func(m message) bool {
		if a.known && m.number != a.next || !a.known && !begins(m.kind) {
			return false
		}
		need := min(m.length, keep(m.kind))
		return need == 0 || len(m.parts) == 1 && m.parts[0] == part{0, need}
	})
}

// begins reports whether the messages of a direction may begin with one of this type.
func begins(kind uint8) bool {
	return kind == clientHello || kind == serverHello || kind == helloVerify
}

// forget drops messages that are no longer expected.
func (a *Assembler) forget() {
	a.pending = slices.DeleteFunc(a.pending, func(m message) bool {
		if !a.known || m.number-a.next < maxAhead {
			return false
		}
		a.held -= cap(m.body)
		return true
	})
}

// add adds the bytes of a fragment that are among the first need bytes.
func (a *Assembler) add(m *message, f *Fragment, need int) {
	added := part{f.Offset, min(f.Offset+len(f.Data), need)}
	if added.from >= added.to {
		return
	}
	// Merge the fragment with the parts that it overlaps or touches.
	from, to := 0, 0
	for from < len(m.parts) && m.parts[from].to < added.from {
		from++
	}
	for to = from; to < len(m.parts) && m.parts[to].from <= added.to; to++ {
	}
	if from == to && len(m.parts) >= maxParts || !a.grow(m, added.to, need) {
		return
	}
	copy(m.body[added.from:added.to], f.Data)
	if from < to {
		added = part{min(added.from, m.parts[from].from), max(added.to, m.parts[to-1].to)}
	}
	m.parts = slices.Replace(m.parts, from, to, added)
}

// grow extends the body to at least n of the needed bytes. It reports whether the bound
// allows it.
func (a *Assembler) grow(m *message, n, need int) bool {
	if n > cap(m.body) {
		// Twice the size, so that small fragments are not copied often.
		size := min(need, max(n, 2*cap(m.body)))
		if a.held-cap(m.body)+size > maxHeld {
			return false
		}
		body := make([]byte, len(m.body), size)
		copy(body, m.body)
		a.held += cap(body) - cap(m.body)
		m.body = body
	}
	m.body = m.body[:max(n, len(m.body))]
	return true
}
