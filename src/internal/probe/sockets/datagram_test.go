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

// datagram returns one of n bytes that begins so.
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
				datagram(1200, 0x16, 0xfe, 0xfd, 0, 0, 0, 0), // DTLS
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

// Libraries send several datagrams by one call, or receive so. A front end that does not
// see these counts the socket.
func TestSeveralDatagramsOfOneCall(t *testing.T) {
	w := watch(t)
	before := w.counts(t)
	pair := [2]int{}
	var addresses [2]unix.Sockaddr
	for i := range pair {
		var err error
		if pair[i], err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(pair[i])
		if err := unix.Bind(pair[i], &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			t.Fatal(err)
		}
		if addresses[i], err = unix.Getsockname(pair[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i := range pair {
		if err := unix.Connect(pair[i], addresses[1-i]); err != nil {
			t.Fatal(err)
		}
	}
	var cookies [2]uint64
	for i := range pair {
		var err error
		if cookies[i], err = unix.GetsockoptUint64(pair[i], unix.SOL_SOCKET, unix.SO_COOKIE); err != nil {
			t.Fatal(err)
		}
	}
	one := datagram(1200, 0xc3, 0, 0, 0, 1, 8)
	both := append(bytes.Clone(one), one...)
	if n, err := messagesOf(unix.SYS_SENDMMSG, 2, oneSegment)(pair[0], both); err != nil || n != len(both) {
		t.Fatalf("%d bytes were sent: %v", n, err)
	}
	if n, err := messagesOf(unix.SYS_RECVMMSG, 2, oneSegment)(pair[1], make([]byte, len(both))); err != nil || n != len(both) {
		t.Fatalf("%d bytes were received: %v", n, err)
	}
	if w.source.FrontEnd() == sockets.Tracepoint {
		waitFor(t, "both sockets are counted", func() bool {
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
