// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"

	"crypto-auditing/src/internal/wire/dtls"
	"crypto-auditing/src/internal/wire/tls"
)

// dtlsBytes is the approximate size of the state of a DTLS connection, without
// messages.
const dtlsBytes = 512

// dtlsDatagram processes a DTLS datagram. A socket may have many peers, each with one
// connection.
func (t *Tracker) dtlsDatagram(f *Fragment) {
	key := t.datagramKey(f, binary.LittleEndian.AppendUint32(nil, f.Peer))
	for rest := f.Data; len(rest) > 0; {
		r, ok := dtls.Next(&rest)
		if !ok {
			break
		}
		r.Fragments(func(m *dtls.Fragment) { t.dtlsMessage(f, key, m) })
		if c := t.connections[key]; c != nil && !c.finished {
			if level, description, ok := r.Alert(); ok {
				c.tls.Alerted(level, description)
			}
			if r.Finished() {
				c.tls.Encrypted(f.Received)
			}
			t.dtlsProgress(c, f)
		}
	}
	t.limit()
}

// dtlsMessage processes a fragment of a handshake message.
func (t *Tracker) dtlsMessage(f *Fragment, key uint64, m *dtls.Fragment) {
	c := t.connections[key]
	if c != nil && c.dtls.Restarts(m, c.finished) {
		t.finish(c, whole)
		t.remove(c)
		c = nil
	}
	if c == nil {
		// Other messages belong to a connection whose beginning was not seen.
		if !m.IsHello() {
			return
		}
		c = t.open(key, f)
		c.dtls = &dtls.Connection{}
		c.dtls.Restarts(m, false)
		c.tls.Datagrams()
	}
	if !c.finished {
		c.dtls.Add(f.Received, m, tls.Keep, func(kind uint8, body []byte, more bool) { c.tls.Whole(f.Received, kind, body, more) })
	}
}

// dtlsProgress updates a connection after a record.
func (t *Tracker) dtlsProgress(c *connection, f *Fragment) {
	c.end = f.Time
	t.note(c, f)
	if at := index(f.Received); c.first[at] == 0 {
		c.first[at] = f.Task
	}
	t.account(c)
	t.noteLeg(c, f)
	// The connection is kept so that repeated datagrams are recognised.
	if c.tls.Complete() {
		t.finish(c, whole)
	}
}
