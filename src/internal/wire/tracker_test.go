// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"bytes"
	"crypto/elliptic"
	gotls "crypto/tls"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"crypto-auditing/src/internal/wire"
	"crypto-auditing/src/internal/wire/ssh"
	"crypto-auditing/src/internal/wire/tls"
	"crypto-auditing/src/internal/wire/wiretest"
)

const (
	clientTask = 100<<32 | 101
	serverTask = 200<<32 | 201
	second     = uint64(1e9)
)

// side describes an end of a connection in a test.
type side struct {
	connection uint64
	pair       uint32
	task       uint64
	client     bool
}

// fragments returns the fragments that a socket delivers of one side of a handshake.
func fragments(h *wiretest.Handshake, s side) []wire.Fragment {
	protocol := wire.TLS
	var plain, at [2]int
	for i, fromClient := range []bool{true, false} {
		stream := h.Stream(fromClient)
		if plain[i] = wiretest.Plain(stream); bytes.HasPrefix(stream, []byte("SSH-")) {
			protocol, plain[i] = wire.SSH, len(stream)
		}
	}
	var all []wire.Fragment
	peer := uint32(0)
	switch first := h.Portions[0].Data; {
	case first[0]&0x80 != 0:
		protocol, plain = wire.QUIC, [2]int{1 << 30, 1 << 30}
	case first[1] == 0xfe:
		protocol, plain, peer = wire.DTLS, [2]int{1 << 30, 1 << 30}, s.pair
	}
	for n, portion := range h.Portions {
		i := 1
		if portion.FromClient {
			i = 0
		}
		data := portion.Data[:min(len(portion.Data), plain[i]-at[i])]
		if len(data) == 0 {
			continue
		}
		f := wire.Fragment{
			Time: second + uint64(n), Task: s.task, Connection: s.connection, Pair: s.pair, Offset: uint32(at[i]), Peer: peer, Protocol: protocol,
			Received: portion.FromClient != s.client, End: at[i]+len(data) == plain[i], Data: data,
		}
		if len(all) == 0 {
			f.Executable, f.Unit = []byte("server"), []byte("server.service")
			if s.client {
				f.Executable, f.Unit = []byte("client"), []byte("session.scope")
			}
		}
		at[i] += len(data)
		all = append(all, f)
	}
	return all
}

// split cuts each fragment into pieces of n bytes.
func split(all []wire.Fragment, n int) []wire.Fragment {
	var cut []wire.Fragment
	for _, f := range all {
		for len(f.Data) > n {
			g := f
			g.Data, g.End = f.Data[:n], false
			cut = append(cut, g)
			f.Data, f.Offset = f.Data[n:], f.Offset+uint32(n)
			f.Executable, f.Unit = nil, nil
		}
		cut = append(cut, f)
	}
	return cut
}

// collector is a tracker that collects its handshakes.
type collector struct {
	*wire.Tracker
	got []wire.Handshake
}

func collect(limits wire.Limits, suspects ...string) *collector {
	c := &collector{}
	c.Tracker = wire.NewTracker(limits, func(name string) bool { return slices.Contains(suspects, name) }, func(h *wire.Handshake) { c.got = append(c.got, *h) })
	return c
}

func (c *collector) add(all ...wire.Fragment) {
	for i := range all {
		c.Add(&all[i])
	}
}

// checkStats checks that the sides add up.
func checkStats(t testing.TB, s wire.Stats) {
	t.Helper()
	if s.Seen != s.Decoded+s.Cut+s.Evicted+s.NoHandshake+s.Relayed+s.Open {
		t.Errorf("the sides do not add up: %+v", s)
	}
}

// handshake returns a handshake of crypto/tls.
func handshake(t testing.TB, client, server *gotls.Config) wiretest.Handshake {
	t.Helper()
	client.InsecureSkipVerify, client.ServerName = true, "secret.example"
	server.Certificates = []gotls.Certificate{wiretest.Certificate(t, elliptic.P256())}
	h := wiretest.TLS(t, client, server)
	if h.ClientError != nil || h.ServerError != nil {
		t.Fatalf("client: %v, server: %v", h.ClientError, h.ServerError)
	}
	return h
}

func TestTrackerReturnsBothSidesForAnyFragmentation(t *testing.T) {
	captures := wiretest.Captures(t)
	captures = append(captures, wiretest.Capture{Name: "go", Handshake: handshake(t, &gotls.Config{}, &gotls.Config{}), Want: map[string]string{"version": "0x0304"}})
	for _, c := range captures {
		if protocol := c.Want["protocol"]; protocol == "quic" || protocol == "dtls" {
			continue
		}
		client := fragments(&c.Handshake, side{1, 7, clientTask, true})
		server := fragments(&c.Handshake, side{2, 7, serverTask, false})
		for _, n := range []int{1 << 20, 1, 6, 500} {
			for _, seed := range []uint64{0, 1, 2, 3} {
				if seed > 0 && n < 500 {
					continue
				}
				r := collect(wire.DefaultLimits())
				all := append(split(client, n), split(server, n)...)
				if seed > 0 {
					// Threads may deliver a few pieces out of order.
					random := rand.New(rand.NewPCG(seed, seed))
					for i := range all[1:] {
						j := min(len(all)-1, i+1+random.IntN(3))
						if all[i+1].Received == all[j].Received && all[i+1].Connection == all[j].Connection {
							all[i+1], all[j] = all[j], all[i+1]
						}
					}
				}
				r.add(all...)
				r.Expire(1 << 62)
				checkStats(t, r.Stats())
				if len(r.got) != 2 {
					t.Errorf("%s, pieces of %d bytes, order %d: %d handshakes, %+v", c.Name, n, seed, len(r.got), r.Stats())
					continue
				}
				for _, h := range r.got {
					isClient := h.TLS.Role == tls.Client || h.SSH.Role == ssh.Client
					task, executable, unit := uint64(serverTask), "server", "server.service"
					if isClient {
						task, executable, unit = clientTask, "client", "session.scope"
					}
					if seed == 0 && (h.Task != task || h.Executable != executable || h.Unit != unit) {
						t.Errorf("%s: %x, %s, %s", c.Name, h.Task, h.Executable, h.Unit)
					}
					if v := c.Want["version"]; v != "" && fmt.Sprintf("%#04x", h.TLS.Version) != v {
						t.Errorf("%s, pieces of %d bytes, order %d: version %#x", c.Name, n, seed, h.TLS.Version)
					}
					if h.Cut || h.Suspected {
						t.Errorf("%s: %+v", c.Name, h)
					}
				}
			}
		}
	}
}

func TestAbandonedConnectionsReportKnownValues(t *testing.T) {
	h := handshake(t, &gotls.Config{MaxVersion: gotls.VersionTLS12}, &gotls.Config{})
	all := fragments(&h, side{1, 7, clientTask, true})
	for n := range all {
		for name, last := range map[string]wire.Fragment{
			"cut": {Cut: true}, "invalid": {Invalid: true}, "closed": {Closed: true}, "expired": {},
		} {
			r := collect(wire.DefaultLimits())
			r.add(all[:n+1]...)
			last.Connection, last.Protocol, last.Time = 1, wire.TLS, 2*second
			if name != "expired" {
				r.add(last)
			}
			r.Expire(1 << 62)
			s := r.Stats()
			checkStats(t, s)
			if len(r.got) != 1 || s.Open != 0 {
				t.Fatalf("%s after %d pieces: %d handshakes, %+v", name, n+1, len(r.got), s)
			}
			got := r.got[0]
			finished := n+1 == len(all)
			if got.Cut != (name == "cut" && !finished) || finished != (got.TLS.Result == tls.Completed) {
				t.Errorf("%s after %d of %d pieces: cut %v, result %d", name, n+1, len(all), got.Cut, got.TLS.Result)
			}
		}
	}
}

func TestALongCertificateChainIsRecordedOnBothSides(t *testing.T) {
	long := wiretest.Certificate(t, elliptic.P384())
	for range 90 {
		long.Certificate = append(long.Certificate, long.Certificate[0])
	}
	h := wiretest.TLS(t, &gotls.Config{InsecureSkipVerify: true, MaxVersion: gotls.VersionTLS12}, &gotls.Config{Certificates: []gotls.Certificate{long}})
	whole := h.Stream(false)
	if len(whole) < 24<<10 {
		t.Fatalf("the chain has %d bytes", len(whole))
	}
	for _, size := range []int{1 << 20, 1000, 3000} {
		r := collect(wire.DefaultLimits())
		for _, f := range fragments(&h, side{1, 7, serverTask, false}) {
			// As at a socket, only the first 4 KiB of the certificates and the headers
			// of records are copied.
			for _, f := range split([]wire.Fragment{f}, size) {
				r.add(copied(h.Stream(f.Received), f)...)
			}
		}
		if len(r.got) != 1 || r.got[0].TLS.Result != tls.Completed || r.got[0].TLS.ServerCertificate.Curve != "SECP384R1" || r.got[0].TLS.Group == 0 {
			t.Errorf("pieces of %d bytes: %+v", size, r.got)
		}
		checkStats(t, r.Stats())
	}
}

// copied returns the parts of a fragment that are not in the uncopied part of a
// certificate message.
func copied(stream []byte, f wire.Fragment) []wire.Fragment {
	wanted := make([]bool, len(stream)+1)
	message, copies, inCertificate := 0, 0, false
	for at := 0; at+5 <= len(stream); {
		n := int(stream[at+3])<<8 | int(stream[at+4])
		for i := range 5 {
			wanted[at+i] = true
		}
		body := stream[at+5 : min(len(stream), at+5+n)]
		for i := 0; i < len(body); i++ {
			if message == 0 {
				inCertificate = stream[at] == 22 && body[i] == 11
				copies = 0
				if message = n - i; i+4 <= len(body) {
					message = 4 + (int(body[i+1])<<16 | int(body[i+2])<<8 | int(body[i+3]))
				}
			}
			wanted[at+5+i] = !inCertificate || copies < 4+4096
			copies++
			message--
		}
		at += 5 + n
	}
	var parts []wire.Fragment
	for i := 0; i < len(f.Data); {
		j := i
		for j < len(f.Data) && wanted[int(f.Offset)+j] == wanted[int(f.Offset)+i] {
			j++
		}
		if wanted[int(f.Offset)+i] {
			g := f
			g.Offset, g.Data = f.Offset+uint32(i), f.Data[i:j]
			g.End = f.End && j == len(f.Data)
			parts = append(parts, g)
		}
		i = j
	}
	return parts
}

func TestAHandshakeBelongsToTheTaskOfItsFirstFlight(t *testing.T) {
	h := handshake(t, &gotls.Config{}, &gotls.Config{})
	all := fragments(&h, side{1, 7, serverTask, false})
	// The listener reads the ClientHello, a child continues.
	const child = 300<<32 | 300
	for i := range all[1:] {
		all[i+1].Task = child
	}
	all[1].Executable, all[1].Unit = []byte("child"), []byte("child.service")
	r := collect(wire.DefaultLimits())
	r.add(all...)
	if len(r.got) != 1 || r.got[0].Task != child || r.got[0].Executable != "child" || r.got[0].Unit != "child.service" {
		t.Errorf("%+v", r.got)
	}
}

func TestRelaysAreDropped(t *testing.T) {
	h := handshake(t, &gotls.Config{}, &gotls.Config{})
	const relay = 300<<32 | 300
	client := fragments(&h, side{1, 10, clientTask, true})
	inward := fragments(&h, side{2, 10, relay, false})
	outward := fragments(&h, side{3, 20, relay, true})
	server := fragments(&h, side{4, 20, serverTask, false})
	for name, test := range map[string]struct {
		sides     [][]wire.Fragment
		decoded   int
		suspected int
		relayed   uint64
	}{
		"a relay on the machine":            {[][]wire.Fragment{client, inward, outward, server}, 2, 0, 2},
		"only a relay":                      {[][]wire.Fragment{inward, outward}, 0, 0, 2},
		"both ends in one process":          {[][]wire.Fragment{client, fragments(&h, side{5, 10, clientTask, false})}, 2, 0, 0},
		"a relay elsewhere":                 {[][]wire.Fragment{client, server}, 2, 0, 0},
		"a relay of two processes":          {[][]wire.Fragment{client, inward, fragments(&h, side{6, 20, 400<<32 | 400, true}), server}, 4, 2, 0},
		"a listed executable on one socket": {[][]wire.Fragment{named(outward, "ssh")}, 1, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := collect(wire.DefaultLimits(), "ssh")
			for i := range len(test.sides[0]) {
				for n, fragments := range test.sides {
					if i < len(fragments) {
						f := fragments[i]
						f.Time += uint64(n)
						r.add(f)
					}
				}
			}
			suspected := 0
			for _, h := range r.got {
				if h.Suspected {
					suspected++
				}
			}
			s := r.Stats()
			checkStats(t, s)
			if len(r.got) != test.decoded || suspected != test.suspected || s.Relayed != test.relayed {
				t.Errorf("%d handshakes, %d suspected, %+v", len(r.got), suspected, s)
			}
		})
	}
}

func named(all []wire.Fragment, executable string) []wire.Fragment {
	all = append([]wire.Fragment(nil), all...)
	all[0].Executable = []byte(executable)
	return all
}

func TestFloodsAreBoundedAndCounted(t *testing.T) {
	h := handshake(t, &gotls.Config{}, &gotls.Config{})
	hello := fragments(&h, side{1, 7, clientTask, true})[0]
	limits := wire.Limits{Connections: 100, Bytes: 256 << 10, Time: 60 * second}
	for name, fragment := range map[string]func(i uint64) wire.Fragment{
		"half handshakes": func(i uint64) wire.Fragment { f := hello; f.Connection = i; return f },
		"beginnings of long messages": func(i uint64) wire.Fragment {
			f := hello
			f.Connection, f.Data = i, append([]byte{22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xf0}, make([]byte, 4000)...)
			return f
		},
		"pieces ahead": func(i uint64) wire.Fragment {
			f := hello
			f.Connection, f.Offset, f.Data = i/50, uint32(1000+i%50), make([]byte, 4000)
			return f
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := collect(limits)
			for i := range uint64(3000) {
				r.add(fragment(i))
				if s := r.Stats(); s.Open > uint64(limits.Connections) || r.Held() > limits.Bytes {
					t.Fatalf("%d open, %d bytes", s.Open, r.Held())
				}
			}
			s := r.Stats()
			checkStats(t, s)
			if s.Evicted == 0 && name != "pieces ahead" {
				t.Errorf("%+v", s)
			}
			r.Expire(1 << 62)
			if s := r.Stats(); s.Open != 0 || r.Held() != 0 {
				t.Errorf("%d open, %d bytes", s.Open, r.Held())
			}
		})
	}
}

func TestTrackerReadsQUIC(t *testing.T) {
	for _, c := range wiretest.Captures(t) {
		if c.Want["protocol"] != "quic" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			r := collect(wire.DefaultLimits())
			// Many connections of one server's socket, and the datagrams of one
			// in any order.
			client := fragments(&c.Handshake, side{1, 7, clientTask, true})
			server := fragments(&c.Handshake, side{2, 7, serverTask, false})
			other := fragments(&c.Handshake, side{2, 8, serverTask, false})
			for i := range client {
				r.add(client[i], server[i], other[i])
			}
			r.Expire(1 << 62)
			s := r.Stats()
			checkStats(t, s)
			if len(r.got) != 3 || s.Undecodable != 0 || s.Seen != 3 {
				t.Fatalf("%d handshakes, %+v", len(r.got), s)
			}
			for _, h := range r.got {
				got := map[string]string{"protocol": "quic"}
				for key, n := range map[string]uint16{"group": h.TLS.Group, "hrr": h.TLS.HelloRetryGroup} {
					if n != 0 {
						got[key] = fmt.Sprint(n)
					}
				}
				if h.TLS.Version != 0 {
					got["version"], got["suite"] = fmt.Sprintf("%#04x", h.TLS.Version), fmt.Sprintf("%#04x", h.TLS.Suite)
					got["resumed"] = [...]string{"", "no", "yes"}[h.TLS.Resumed]
				}
				if h.TLS.HasAlert {
					got["result"], got["alert"] = "failed", fmt.Sprint(h.TLS.Alert)
				}
				if !maps.Equal(got, c.Want) || h.Executable == "" || (h.TLS.Role == tls.Client) != (h.Task == clientTask) {
					t.Errorf("%v, want %v; %+v", got, c.Want, h)
				}
			}
		})
	}
}

// text returns all values of an operation.
func text(c wire.Context, depth int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s", strings.Repeat("  ", depth), c.Name)
	for _, e := range c.Elements {
		if e.Text != "" {
			fmt.Fprintf(&b, " %s=%q", e.Key, e.Text)
		} else {
			fmt.Fprintf(&b, " %s=%d", e.Key, e.Word)
		}
	}
	b.WriteByte('\n')
	for _, inner := range c.Contexts {
		b.WriteString(text(inner, depth+1))
	}
	return b.String()
}
