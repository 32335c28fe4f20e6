// SPDX-License-Identifier: Apache-2.0

package sockets_test

import (
	"bytes"
	"fmt"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/loss"
	"crypto-auditing/src/internal/probe/sockets"
)

// datagram returns a datagram of n bytes with the given beginning.
func datagram(n int, beginning ...byte) []byte {
	return append(beginning, bytes.Repeat([]byte{0x5a}, n-len(beginning))...)
}

func TestDatagramsThatBeginAQUICConnectionAreCopied(t *testing.T) {
	w := watch(t)
	for network, address := range map[string]string{"udp4": "127.0.0.1:0", "udp6": "[::1]:0"} {
		t.Run(network, func(t *testing.T) {
			packets, err := net.ListenPacket(network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer packets.Close()
			server := packets.(*net.UDPConn)
			connection, err := net.Dial(network, server.LocalAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer connection.Close()
			client := connection.(*net.UDPConn)
			initial := datagram(1200, 0xc3, 0, 0, 0, 1, 8)
			second := datagram(1252, 0xd1, 0x6b, 0x33, 0x43, 0xcf, 8)
			buffer := make([]byte, 2000)
			for _, b := range [][]byte{
				datagram(40, 0xc3, 0, 0, 0, 1, 8),            // too short
				datagram(1200, 0x43, 0, 0, 0, 1, 8),          // a short header
				datagram(1200, 0xe3, 0, 0, 0, 1, 8),          // a Handshake packet
				datagram(1200, 0xc3, 0, 0, 0, 0, 8),          // a version negotiation
				datagram(1200, 0x16, 0xfe, 0xfe, 0, 0, 0, 0), // no version of DTLS
				initial,
				second,
			} {
				if _, err := client.Write(b); err != nil {
					t.Fatal(err)
				}
				if n, err := server.Read(buffer); err != nil || n != len(b) {
					t.Fatalf("%d bytes of %d were received: %v", n, len(b), err)
				}
			}
			for direction, c := range []*net.UDPConn{client, server} {
				var s side
				waitFor(t, "two datagrams", func() bool { s = w.side(cookie(t, c)); return s.pieces >= 2 }, func() string { return describe(s) })
				if want := append(bytes.Clone(initial), second...); s.protocol != sockets.QUIC || s.unit != unit || !bytes.Equal(s.data[direction], want) || len(s.data[1-direction]) > 0 {
					t.Errorf("the side is %s", describe(s))
				}
			}
		})
	}
}

// Libraries send or receive several datagrams by one call. A front end that does not see
// these calls counts the socket.
func TestSeveralDatagramsOfOneCall(t *testing.T) {
	w := watch(t)
	before := w.counts(t)
	var pair [2]int
	var addresses [2]unix.Sockaddr
	var cookies [2]uint64
	for i := range pair {
		pair[i], addresses[i], cookies[i] = openUDP(t, unix.AF_INET)
	}
	for i := range pair {
		if err := unix.Connect(pair[i], addresses[1-i]); err != nil {
			t.Fatal(err)
		}
	}
	single := datagram(1200, 0xc3, 0, 0, 0, 1, 8)
	both := append(bytes.Clone(single), single...)
	if n, err := messagesOf(unix.SYS_SENDMMSG, 2, oneSegment)(pair[0], both); err != nil || n != len(both) {
		t.Fatalf("%d bytes were sent: %v", n, err)
	}
	if n, err := messagesOf(unix.SYS_RECVMMSG, 2, oneSegment)(pair[1], make([]byte, len(both))); err != nil || n != len(both) {
		t.Fatalf("%d bytes were received: %v", n, err)
	}
	if w.source.FrontEnd() == sockets.Tracepoint {
		waitFor(t, "both sockets to be counted", func() bool {
			return lost(w.counts(t), loss.WireUnsupported) >= lost(before, loss.WireUnsupported)+2
		}, func() string { return fmt.Sprintf("%+v, before %+v", w.counts(t), before) })
		return
	}
	for direction, cookie := range cookies {
		var s side
		waitFor(t, "two datagrams", func() bool { s = w.side(cookie); return s.pieces >= 2 }, func() string { return describe(s) })
		if !bytes.Equal(s.data[direction], both) {
			t.Errorf("the side is %s", describe(s))
		}
	}
}

// dtlsRecord returns a datagram of n bytes that begins with a record of DTLS.
func dtlsRecord(n int, kind, minor, epoch byte) []byte {
	return datagram(n, kind, 0xfe, minor, 0, epoch, 0, 0, 0, 0, 0, 9)
}

// openUDP returns a socket at a free port of the loopback interface.
func openUDP(t *testing.T, family int) (fd int, address unix.Sockaddr, cookie uint64) {
	t.Helper()
	fd, err := unix.Socket(family, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	var local unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if family == unix.AF_INET6 {
		local = &unix.SockaddrInet6{Addr: [16]byte{15: 1}}
	}
	if err := unix.Bind(fd, local); err != nil {
		t.Fatal(err)
	}
	if address, err = unix.Getsockname(fd); err != nil {
		t.Fatal(err)
	}
	if cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil {
		t.Fatal(err)
	}
	return fd, address, cookie
}

func TestDatagramsOfDTLSAreCopiedWithTheirPeers(t *testing.T) {
	w := watch(t)
	wanted := [][]byte{
		dtlsRecord(14, 20, 0xff, 0),
		dtlsRecord(15, 21, 0xfd, 0),
		dtlsRecord(200, 22, 0xff, 0),
		dtlsRecord(1400, 22, 0xfd, 0),
		dtlsRecord(16000, 22, 0xfd, 0),
		dtlsRecord(61, 22, 0xfd, 1),
	}
	others := [][]byte{
		dtlsRecord(13, 22, 0xfd, 0),
		dtlsRecord(200, 22, 0xfc, 0),
		dtlsRecord(200, 23, 0xfd, 0),
		dtlsRecord(200, 23, 0xfd, 1),
		dtlsRecord(200, 21, 0xfd, 1),
		dtlsRecord(200, 22, 0xfd, 2),
		datagram(200, 22, 0xfe, 0xfd, 0, 0, 1, 0, 0), // a sequence number that no handshake reaches
		datagram(200, 22, 3, 3, 0, 0, 0, 0, 0),
	}
	for name, family := range map[string]int{"IPv4": unix.AF_INET, "IPv6": unix.AF_INET6} {
		t.Run(name, func(t *testing.T) {
			before := w.counts(t)
			server, address, serverCookie := openUDP(t, family)
			var clients [2]int
			var cookies [2]uint64
			for i := range clients {
				clients[i], _, cookies[i] = openUDP(t, family)
				if err := unix.Connect(clients[i], address); err != nil {
					t.Fatal(err)
				}
			}
			buffer := make([]byte, 20000)
			// Both clients send each datagram, and the server returns it.
			for _, b := range append(others, wanted...) {
				for _, client := range clients {
					if err := unix.Send(client, b, 0); err != nil {
						t.Fatal(err)
					}
					n, from, err := unix.Recvfrom(server, buffer, 0)
					if err != nil || n != len(b) {
						t.Fatalf("%d bytes of %d were received: %v", n, len(b), err)
					}
					if err := unix.Sendto(server, buffer[:n], 0, from); err != nil {
						t.Fatal(err)
					}
					if n, err := unix.Read(client, buffer); err != nil || n != len(b) {
						t.Fatalf("%d bytes of %d were received: %v", n, len(b), err)
					}
				}
			}
			all := bytes.Join(wanted, nil)
			for _, cookie := range cookies {
				var s side
				waitFor(t, "the datagrams of a client", func() bool { s = w.side(cookie); return s.pieces >= 2*len(wanted) }, func() string { return describe(s) })
				if s.protocol != sockets.DTLS || s.unit != unit || !bytes.Equal(s.data[sent], all) || !bytes.Equal(s.data[received], all) {
					t.Errorf("the side is %s", describe(s))
				}
				for _, peer := range append(s.peers[sent], s.peers[received]...) {
					if peer == 0 || peer != s.peers[sent][0] {
						t.Errorf("the peers are %x", s.peers)
						break
					}
				}
			}
			if first, second := w.side(cookies[0]), w.side(cookies[1]); first.peers[sent][0] != second.peers[sent][0] || first.pair == second.pair {
				t.Errorf("the clients have the peers %x and %x, the pairs %x and %x", first.peers[sent][0], second.peers[sent][0], first.pair, second.pair)
			}
			// The server's socket is not connected: tracepoints do not see the peer of
			// received datagrams.
			directions := []int{sent, received}
			if w.source.FrontEnd() == sockets.Tracepoint {
				directions = directions[:1]
				waitFor(t, "the socket to be counted once", func() bool {
					return lost(w.counts(t), loss.WireUnsupported) == lost(before, loss.WireUnsupported)+1
				}, func() string { return fmt.Sprintf("%+v, before %+v", w.counts(t), before) })
			}
			var s side
			waitFor(t, "the datagrams of the server", func() bool { s = w.side(serverCookie); return s.pieces >= 2*len(directions)*len(wanted) }, func() string { return describe(s) })
			for _, direction := range directions {
				if len(s.data[direction]) != 2*len(all) {
					t.Errorf("the side is %s", describe(s))
				}
				for i, peer := range s.peers[direction] {
					if peer == 0 || peer != s.peers[sent][i%2] || peer == s.peers[sent][1-i%2] {
						t.Errorf("the peers are %x", s.peers)
						break
					}
				}
			}
		})
	}
}

func TestATooLongDTLSDatagramIsCounted(t *testing.T) {
	w := watch(t)
	before := w.counts(t)
	_, address, _ := openUDP(t, unix.AF_INET)
	client, _, cookie := openUDP(t, unix.AF_INET)
	if err := unix.Connect(client, address); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{20000, 100} {
		if err := unix.Send(client, dtlsRecord(n, 22, 0xfd, 0), 0); err != nil {
			t.Fatal(err)
		}
	}
	var s side
	waitFor(t, "the short datagram", func() bool { s = w.side(cookie); return s.pieces > 0 }, func() string { return describe(s) })
	if after := w.counts(t); len(s.data[sent]) != 100 || lost(after, loss.WireCut) <= lost(before, loss.WireCut) {
		t.Errorf("%+v, before %+v; the side is %s", after, before, describe(s))
	}
}

// Datagrams that an unconnected socket of a client receives are assigned to the server of
// its hello, even if their peer is unknown.
func TestReceivedDatagramsAreAssignedToTheOnlyServerOfASocket(t *testing.T) {
	w := watch(t)
	client, clientAddress, cookie := openUDP(t, unix.AF_INET)
	var servers [2]int
	var addresses [2]unix.Sockaddr
	for i := range servers {
		servers[i], addresses[i], _ = openUDP(t, unix.AF_INET)
	}
	// The type of the message follows the header of the record. In a change of keys, it
	// is 1.
	const change = 99
	message := func(kind byte) []byte {
		b := append(dtlsRecord(13, 22, 0xfd, 0), bytes.Repeat([]byte{kind}, 40)...)
		if kind == change {
			b[0], b[13] = 20, 1
		}
		return b
	}
	exchange := func(server int, sent, received byte) {
		t.Helper()
		buffer := make([]byte, 100)
		for _, b := range []struct {
			from, to int
			address  unix.Sockaddr
			kind     byte
		}{{client, servers[server], addresses[server], sent}, {servers[server], client, clientAddress, received}} {
			if err := unix.Sendto(b.from, message(b.kind), 0, b.address); err != nil {
				t.Fatal(err)
			}
			if n, _, err := unix.Recvfrom(b.to, buffer, 0); err != nil || n != len(message(0)) {
				t.Fatalf("%d bytes were received: %v", n, err)
			}
		}
	}
	exchange(0, 16, 2) // before a hello
	exchange(0, 1, 2)  // an answer
	exchange(0, change, change)
	exchange(0, 16, 1)  // a hello may be from any peer
	exchange(1, 16, 11) // as if it were of the server
	exchange(1, 1, 2)   // from either server
	exchange(0, 1, 2)
	want := [2]string{string([]byte{16, 1, change, 16, 16, 1, 1}), string([]byte{2, change, 11})}
	if w.source.FrontEnd() == sockets.Trampoline {
		want[received] = string([]byte{2, 2, change, 1, 11, 2, 2})
	}
	var s side
	waitFor(t, "the datagrams of the client", func() bool { s = w.side(cookie); return s.pieces >= len(want[sent])+len(want[received]) }, func() string { return describe(s) })
	for direction, want := range want {
		var got []byte
		for i := 14; i < len(s.data[direction]); i += len(message(0)) {
			got = append(got, s.data[direction][i])
		}
		if string(got) != want {
			t.Errorf("direction %d: messages %v, want %v", direction, got, []byte(want))
		}
	}
	if w.source.FrontEnd() == sockets.Tracepoint && (s.peers[received][0] != s.peers[sent][0] || s.peers[received][0] == s.peers[sent][4]) {
		t.Errorf("the peers are %x", s.peers)
	}
}
