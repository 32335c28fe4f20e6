// SPDX-License-Identifier: Apache-2.0

package wire

// Relays (socat, HAProxy and nginx in TCP mode, CONNECT and SOCKS proxies) forward the
// handshakes of others: a process receives a ClientHello through one socket and sends
// it through another. They are recognised by the client's random value.

const (
	// relayLifetime is the time for which the legs of a handshake are kept, in
	// nanoseconds. Both legs of a relay transfer the ClientHello at nearly the same time.
	relayLifetime = 60e9
	// maxRandoms bounds the number of handshakes that are kept, maxLegs the number of
	// legs of each.
	maxRandoms = 16384
	maxLegs    = 16
)

// randomKey is one half of a client's random value, which is unique enough.
type randomKey [16]byte

// leg is one end of a connection that had a handshake.
type leg struct {
	connection uint64
	time       uint64 // of its ClientHello
	pair       uint32
	process    uint32
	server     bool
}

// relays holds the legs of recent handshakes.
type relays struct {
	legs map[randomKey][]leg
	// queue holds the keys ordered by time.
	queue []queuedRandom
}

type queuedRandom struct {
	key  randomKey
	time uint64
}

// add adds a leg.
func (r *relays) add(key randomKey, l leg) {
	for len(r.queue) > 0 && (len(r.queue) >= maxRandoms || r.queue[0].time+relayLifetime < l.time) {
		delete(r.legs, r.queue[0].key)
		r.queue = r.queue[1:]
	}
	legs, known := r.legs[key]
	if !known {
		r.queue = append(r.queue, queuedRandom{key, l.time})
	}
	if len(legs) < maxLegs {
		r.legs[key] = append(legs, l)
	}
}

// verdict classifies a leg. It is relayed if its process has another socket with the
// same handshake in the other role to another peer. It is suspected if the handshake
// passes through further processes of this machine and the leg is not at the end of
// it. The two ends of a connection within one process are a pair.
func (r *relays) verdict(key randomKey, l leg) (relayed, suspected bool) {
	for _, other := range r.legs[key] {
		switch {
		case other.connection == l.connection || other.pair == l.pair:
		case other.process == l.process && other.server != l.server:
			return true, false
		case other.process != l.process && other.server == l.server:
			// The client sees the ClientHello first, the server last.
			if l.server && other.time > l.time || !l.server && other.time < l.time {
				suspected = true
			}
		}
	}
	return false, suspected
}
