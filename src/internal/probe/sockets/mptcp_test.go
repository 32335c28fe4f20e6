// SPDX-License-Identifier: Apache-2.0

package sockets_test

import (
	"crypto/tls"
	"errors"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// rawSocket makes a file descriptor a syscall.Conn.
type rawSocket int

func (s rawSocket) SyscallConn() (syscall.RawConn, error) { return s, nil }
func (s rawSocket) Control(f func(uintptr)) error         { f(uintptr(s)); return nil }
func (s rawSocket) Read(func(uintptr) bool) error         { return errors.ErrUnsupported }
func (s rawSocket) Write(func(uintptr) bool) error        { return errors.ErrUnsupported }

// multipath returns both ends of a connection. The client uses the given protocol and the
// server Multipath TCP.
func multipath(t *testing.T, protocol int) (client, server rawSocket) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP)
	must(err)
	defer unix.Close(listener)
	must(unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(unix.Listen(listener, 1))
	address, err := unix.Getsockname(listener)
	must(err)
	c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, protocol)
	must(err)
	t.Cleanup(func() { unix.Close(c) })
	must(unix.Connect(c, address))
	s, _, err := unix.Accept(listener)
	must(err)
	t.Cleanup(func() { unix.Close(s) })
	return rawSocket(c), rawSocket(s)
}

// Go's listeners use Multipath TCP by default, and fall back to TCP with most clients.
func TestMultipathTCPIsRecorded(t *testing.T) {
	if _, err := os.Stat("/proc/sys/net/mptcp/enabled"); err != nil {
		t.Skip("the kernel has no Multipath TCP")
	}
	w := watch(t)
	a, b := connect(t)
	portions := record(t, a, b, &tls.Config{InsecureSkipVerify: true}, &tls.Config{Certificates: []tls.Certificate{certificate(t, 10)}})
	t.Run("bytes of the server have arrived first", func(t *testing.T) {
		client, server := multipath(t, unix.IPPROTO_MPTCP)
		// Unusually, the server answers before the hello arrives.
		watched := cookie(t, client)
		hello, answer := portions[0].data, portions[1].data
		if !portions[0].fromClient || portions[1].fromClient {
			t.Fatal("the handshake does not begin with the hello of the client")
		}
		send := func(from rawSocket, data []byte) {
			t.Helper()
			if n, err := syscall.Write(int(from), data); err != nil || n != len(data) {
				t.Fatalf("%d bytes were sent: %v", n, err)
			}
		}
		receive := func(to rawSocket, left int) {
			t.Helper()
			for left > 0 {
				n, err := syscall.Read(int(to), make([]byte, left))
				if err != nil || n == 0 {
					t.Fatalf("%d bytes were received: %v", n, err)
				}
				left -= n
			}
		}
		send(server, answer)
		// Wait until the data has arrived.
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(client), Events: unix.POLLIN}}, 60_000); err != nil || n != 1 {
			t.Fatalf("no data arrived: %v", err)
		}
		send(client, hello)
		receive(server, len(hello))
		receive(client, len(answer))
		fromClient, fromServer := exchange(t, int(client), int(server), portions[2:], syscall.Write, syscall.Read)
		fromClient, fromServer = append(hello[:len(hello):len(hello)], fromClient...), append(answer[:len(answer):len(answer)], fromServer...)
		expect(t, w.await(t, watched)[0], &tee{moved: [2][]byte{fromClient, fromServer}})
	})
	for name, protocol := range map[string]int{"both ends": unix.IPPROTO_MPTCP, "the server": unix.IPPROTO_TCP} {
		t.Run(name, func(t *testing.T) {
			client, server := multipath(t, protocol)
			cookies := []uint64{cookie(t, client), cookie(t, server)}
			fromClient, fromServer := exchange(t, int(client), int(server), portions, syscall.Write, syscall.Read)
			ends := []*tee{{moved: [2][]byte{fromClient, fromServer}}, {moved: [2][]byte{fromServer, fromClient}}}
			for i, s := range w.await(t, cookies...) {
				expect(t, s, ends[i])
			}
		})
	}
}
