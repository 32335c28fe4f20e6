// SPDX-License-Identifier: Apache-2.0

package dtls

// maxRandoms bounds the kept random values of a side's hellos: a HelloRetryRequest
// has one, too.
const maxRandoms = 2

// Connection assembles both directions of a handshake. The zero value is ready to use.
// It must be used by one goroutine only.
type Connection struct {
	directions [2]Assembler // sent, received
	client     hellos
	server     hellos
}

// hellos has the random values of the hellos of a side.
type hellos struct {
	randoms [maxRandoms][randomEnd - randomAt]byte
	count   int
}

// Add adds a fragment of a direction. See Assembler.Add.
func (c *Connection) Add(received bool, f *Fragment, keep Keep, done func(kind uint8, body []byte, more bool)) {
	at := 0
	if received {
		at = 1
	}
	c.directions[at].Add(f, keep, done)
}

// Restarts reports whether a fragment begins another handshake between the same
// addresses; otherwise it records the fragment. finished indicates that the handshake is
// complete.
func (c *Connection) Restarts(f *Fragment, finished bool) bool {
	random := f.Random()
	if random == nil {
		return false
	}
	h := &c.client
	if f.Kind == serverHello {
		h = &c.server
	}
	for i := range h.count {
		if string(h.randoms[i][:]) == string(random) {
			return false
		}
	}
	// The first hello of each handshake has the number 0; repeated with a cookie, it has
	// the same random value.
	if finished || f.Kind == clientHello && f.Number == 0 && h.count > 0 {
		return true
	}
	if h.count < maxRandoms {
		copy(h.randoms[h.count][:], random)
		h.count++
	}
	return false
}

// Held returns the number of bytes of messages that are kept.
func (c *Connection) Held() int { return c.directions[0].Held() + c.directions[1].Held() }

// Release frees the messages that are being assembled.
func (c *Connection) Release() { c.directions = [2]Assembler{} }
