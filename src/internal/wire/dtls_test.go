// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"crypto-auditing/src/internal/wire"
	"crypto-auditing/src/internal/wire/tls"
	"crypto-auditing/src/internal/wire/wiretest"
)

// dtlsCaptures returns the recorded handshakes of DTLS.
func dtlsCaptures(t testing.TB) []wiretest.Capture {
	t.Helper()
	all := slices.DeleteFunc(wiretest.Captures(t), func(c wiretest.Capture) bool { return c.Want["protocol"] != "dtls" })
	if len(all) < 10 {
		t.Fatalf("%d captures", len(all))
	}
	for _, c := range all {
		delete(c.Want, "protocol")
	}
	return all
}

// capture returns a recorded handshake.
func capture(t testing.TB, name string) wiretest.Capture {
	t.Helper()
	all := dtlsCaptures(t)
	i := slices.IndexFunc(all, func(c wiretest.Capture) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("the capture %s is missing", name)
	}
	return all[i]
}

// refragment returns fragments of handshake messages of at most n bytes that overlap,
// each in a datagram.
func refragment(all []wire.Fragment, n int) (cut []wire.Fragment) {
	const recordHeader, messageHeader, overlap = 13, 12, 3
	for _, f := range all {
		for b := f.Data; len(b) > 0; {
			g := f
			if len(b) < recordHeader || b[1] != 0xfe { // encrypted, version 1.3
				g.Data = b
				cut = append(cut, g)
				break
			}
			end := recordHeader + int(binary.BigEndian.Uint16(b[11:]))
			record := b[:end]
			b = b[end:]
			if record[0] != 22 || record[4] != 0 || len(record) <= recordHeader+messageHeader {
				g.Data = record
				cut = append(cut, g)
				continue
			}
			header, body := record[recordHeader:recordHeader+messageHeader], record[recordHeader+messageHeader:]
			offset := int(header[6])<<16 | int(header[7])<<8 | int(header[8])
			for at := 0; at < len(body); at += n {
				from := max(0, at-overlap)
				part := body[from:min(len(body), at+n)]
				piece := slices.Concat(record[:11], []byte{0, 0}, header, part)
				binary.BigEndian.PutUint16(piece[11:], uint16(messageHeader+len(part)))
				start := offset + from
				copy(piece[recordHeader+6:], []byte{byte(start >> 16), byte(start >> 8), byte(start), 0, byte(len(part) >> 8), byte(len(part))})
				g := f
				g.Data = piece
				cut = append(cut, g)
			}
		}
	}
	return cut
}

// shuffle swaps adjacent fragments of one direction.
func shuffle(all []wire.Fragment, seed uint64) []wire.Fragment {
	all = slices.Clone(all)
	random := rand.New(rand.NewPCG(seed, seed))
	for i := range all[1:] {
		if j := min(len(all)-1, i+1+random.IntN(4)); !slices.ContainsFunc(all[i+1:j+1], func(f wire.Fragment) bool { return f.Received != all[i+1].Received }) {
			all[i+1].Data, all[j].Data = all[j].Data, all[i+1].Data
		}
	}
	return all
}

func twice(all []wire.Fragment) (doubled []wire.Fragment) {
	for _, f := range all {
		doubled = append(doubled, f, f)
	}
	return append(doubled, all...)
}

func TestTrackerReadsDTLS(t *testing.T) {
	for way, change := range map[string]func([]wire.Fragment) []wire.Fragment{
		"unchanged":              func(all []wire.Fragment) []wire.Fragment { return all },
		"twice":                  twice,
		"in fragments of 1":      func(all []wire.Fragment) []wire.Fragment { return refragment(all, 1) },
		"in fragments of 37":     func(all []wire.Fragment) []wire.Fragment { return refragment(all, 37) },
		"in fragments, shuffled": func(all []wire.Fragment) []wire.Fragment { return shuffle(refragment(all, 37), 1) },
		"shuffled":               func(all []wire.Fragment) []wire.Fragment { return shuffle(all, 2) },
		"shuffled and twice":     func(all []wire.Fragment) []wire.Fragment { return twice(shuffle(all, 3)) },
	} {
		t.Run(way, func(t *testing.T) {
			for _, c := range dtlsCaptures(t) {
				r := collect(wire.DefaultLimits())
				// The server's socket has two peers.
				client := change(fragments(&c.Handshake, side{1, 7, clientTask, true}))
				server := change(fragments(&c.Handshake, side{2, 7, serverTask, false}))
				other := change(fragments(&c.Handshake, side{2, 8, serverTask, false}))
				for i := range client {
					r.add(client[i], server[i], other[i])
				}
				r.Expire(1 << 62)
				s := r.Stats()
				checkStats(t, s)
				if len(r.got) != 3 || s.Seen != 3 || s.Decoded != 3 {
					t.Errorf("%s: %d handshakes, %+v", c.Name, len(r.got), s)
					continue
				}
				for _, h := range r.got {
					if got := wiretest.Facts(&h.TLS); !maps.Equal(got, c.Want) {
						t.Errorf("%s:\n%v, want\n%v", c.Name, got, c.Want)
					}
					if h.Executable == "" || (h.TLS.Role == tls.Client) != (h.Task == clientTask) || len(h.TLS.OfferedGroups()) == 0 {
						t.Errorf("%s: %+v", c.Name, h)
					}
				}
			}
		})
	}
}

// A front end may only see the datagrams that an unconnected socket sends.
func TestTheDatagramsOfAServerAreEnough(t *testing.T) {
	for _, c := range dtlsCaptures(t) {
		r := collect(wire.DefaultLimits())
		for _, f := range fragments(&c.Handshake, side{2, 7, serverTask, false}) {
			if f.Executable, f.Unit = []byte("server"), nil; !f.Received {
				r.add(f)
			}
		}
		r.Expire(1 << 62)
		checkStats(t, r.Stats())
		want := maps.Clone(c.Want)
		for key, value := range want {
			if key == "client_signature" || key == "client_certificate" || key == "alert" || value == "failed" {
				delete(want, key)
			}
		}
		// A resumed session ends with the client's Finished.
		if want["result"] == "" || want["resumed"] == "yes" {
			want["result"] = "unknown"
		}
		if want["resumed"] == "yes" {
			delete(want, "resumed")
		}
		if len(r.got) != 1 || !maps.Equal(wiretest.Facts(&r.got[0].TLS), want) || r.got[0].TLS.Role != tls.Server {
			t.Errorf("%s: %+v, want %v", c.Name, r.got, want)
		}
	}
}

func TestAnotherHandshakeBetweenTheSameAddressesIsRecorded(t *testing.T) {
	first, next, modern := capture(t, "dtls-openssl"), capture(t, "dtls-gnutls"), capture(t, "dtls-dimpl-dtls13-hrr")
	of := func(c wiretest.Capture) []wire.Fragment {
		return fragments(&c.Handshake, side{1, 7, clientTask, true})
	}
	for name, test := range map[string]struct {
		sequence [][]wire.Fragment
		want     int
	}{
		"after the first":                      {[][]wire.Fragment{of(first), of(next), of(modern)}, 3},
		"after half of one":                    {[][]wire.Fragment{of(first)[:5], of(next)}, 2},
		"the first, sent again":                {[][]wire.Fragment{of(first), of(first), of(modern), of(modern)}, 2},
		"after a hello that was only verified": {[][]wire.Fragment{of(first)[:2], of(next)}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := collect(wire.DefaultLimits())
			for _, all := range test.sequence {
				r.add(all...)
			}
			r.Expire(1 << 62)
			checkStats(t, r.Stats())
			if len(r.got) != test.want {
				t.Errorf("%d handshakes, want %d; %+v", len(r.got), test.want, r.Stats())
			}
		})
	}
}

// A server answers a hello without a cookie, whose source address may be forged.
func TestAVerifiedHelloIsNotAHandshake(t *testing.T) {
	c := capture(t, "dtls-openssl")
	r := collect(wire.DefaultLimits())
	all := fragments(&c.Handshake, side{2, 7, serverTask, false})
	r.add(all[:2]...)
	// The rest belongs to a connection whose beginning was not seen.
	for _, f := range all[4:] {
		f.Peer = 9
		r.add(f)
	}
	r.Expire(1 << 62)
	if s := r.Stats(); len(r.got) != 0 || s.Seen != 1 || s.NoHandshake != 1 || s.Evicted != 0 {
		t.Errorf("%d handshakes, %+v", len(r.got), s)
	}
}

func TestRelaysOfDatagramsAreDropped(t *testing.T) {
	c := capture(t, "dtls-wolfssl")
	const relay = 300<<32 | 300
	ends := [][]wire.Fragment{
		fragments(&c.Handshake, side{1, 10, clientTask, true}), fragments(&c.Handshake, side{2, 10, relay, false}),
		fragments(&c.Handshake, side{3, 20, relay, true}), fragments(&c.Handshake, side{4, 20, serverTask, false}),
	}
	r := collect(wire.DefaultLimits())
	for i := range ends[0] {
		for _, end := range ends {
			r.add(end[i])
		}
	}
	if s := r.Stats(); len(r.got) != 2 || s.Relayed != 2 {
		t.Errorf("%d handshakes, %+v", len(r.got), s)
	}
}

func TestFloodsOfDatagramsAreBoundedAndCounted(t *testing.T) {
	c := capture(t, "dtls-dimpl-dtls13")
	hello := fragments(&c.Handshake, side{1, 7, serverTask, false})[0]
	limits := wire.Limits{Connections: 100, Bytes: 256 << 10, Time: 60 * second}
	for name, fragment := range map[string]func(i uint32) wire.Fragment{
		"hellos of many addresses": func(i uint32) wire.Fragment { f := hello; f.Peer = i; return f },
		"ends of long messages": func(i uint32) wire.Fragment {
			f := hello
			f.Peer = i / 50
			// One byte of a ClientHello of 20,000 bytes.
			f.Data = []byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13, 1, 0, 0x4e, 0x20, 0, byte(i % 50), 0, 0x4e, 0x1f, 0, 0, 1, 0}
			return f
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := collect(limits)
			for i := range uint32(3000) {
				r.add(fragment(i))
				if s := r.Stats(); s.Open > uint64(limits.Connections) || r.Held() > limits.Bytes {
					t.Fatalf("%d open, %d bytes", s.Open, r.Held())
				}
			}
			r.Expire(1 << 62)
			s := r.Stats()
			checkStats(t, s)
			if s.Open != 0 || r.Held() != 0 || s.Evicted == 0 {
				t.Errorf("%d bytes, %+v", r.Held(), s)
			}
		})
	}
}
