// SPDX-License-Identifier: Apache-2.0

package sockets_test

import (
	"bytes"
	"crypto/tls"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/probe/sockets"
)

// portion is the data of one call of a handshake.
type portion struct {
	fromClient bool
	data       []byte
}

// recorder records the portions of both directions in order.
type recorder struct {
	*tee
	client bool
	mu     *sync.Mutex
	to     *[]portion
}

func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	*r.to = append(*r.to, portion{r.client, append([]byte{}, b...)})
	r.mu.Unlock()
	return r.tee.Write(b)
}

// record makes a handshake over a connection and returns its portions.
func record(t *testing.T, a, b *net.TCPConn, client, server *tls.Config) (portions []portion) {
	t.Helper()
	var mu sync.Mutex
	c := &recorder{&tee{TCPConn: a}, true, &mu, &portions}
	s := &recorder{&tee{TCPConn: b}, false, &mu, &portions}
	if err, other := shake(c, s, client, server); err != nil || other != nil {
		t.Fatalf("the handshake failed: %v, %v", err, other)
	}
	return portions
}

// call transfers at most all of b by one system call, and returns the number of bytes.
type call func(fd int, b []byte) (int, error)

// scatter splits b into an array for readv(2) and similar calls, with empty parts.
func scatter(b []byte) (vectors []unix.Iovec) {
	add := func(part []byte) {
		v := unix.Iovec{Len: uint64(len(part))}
		if len(part) > 0 {
			v.Base = &part[0]
		}
		vectors = append(vectors, v)
	}
	add(nil)
	for i, n := range []int{5, 0, 1, 3, 0, 0, 70} {
		n = min(n, len(b))
		if i == 6 {
			n = len(b)
		}
		add(b[:n])
		b = b[n:]
	}
	return vectors
}

// many splits b into parts of n bytes.
func many(b []byte, n int) (vectors []unix.Iovec) {
	for len(b) > 0 {
		n = min(n, len(b))
		vectors = append(vectors, unix.Iovec{Base: &b[0], Len: uint64(n)})
		b = b[n:]
	}
	return vectors
}

func system(number uintptr, arguments ...uintptr) (int, error) {
	var a [6]uintptr
	copy(a[:], arguments)
	n, _, errno := unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func vectored(number uintptr, cut func([]byte) []unix.Iovec) call {
	return func(fd int, b []byte) (int, error) {
		v := cut(b)
		if number == unix.SYS_PREADV2 || number == unix.SYS_PWRITEV2 {
			return system(number, uintptr(fd), uintptr(unsafe.Pointer(&v[0])), uintptr(len(v)), ^uintptr(0), ^uintptr(0), 0)
		}
		return system(number, uintptr(fd), uintptr(unsafe.Pointer(&v[0])), uintptr(len(v)))
	}
}

func message(number uintptr, flags uintptr) call {
	return func(fd int, b []byte) (int, error) {
		v := scatter(b)
		m := unix.Msghdr{Iov: &v[0]}
		m.SetIovlen(len(v))
		return system(number, uintptr(fd), uintptr(unsafe.Pointer(&m)), flags)
	}
}

// messages transfers b as a number of scattered messages by one call.
func messages(number uintptr, count int) call { return messagesOf(number, count, scatter) }

func messagesOf(number uintptr, count int, cut func([]byte) []unix.Iovec) call {
	type multiple struct {
		unix.Msghdr
		length uint32
	}
	return func(fd int, b []byte) (n int, err error) {
		list := make([]multiple, count)
		vectors := make([][]unix.Iovec, count)
		for i := range list {
			part := b[len(b)*i/count : len(b)*(i+1)/count]
			vectors[i] = cut(part)
			list[i].Iov = &vectors[i][0]
			list[i].SetIovlen(len(vectors[i]))
		}
		done, err := system(number, uintptr(fd), uintptr(unsafe.Pointer(&list[0])), uintptr(count), 0, 0)
		for i := range done {
			n += int(list[i].length)
		}
		return n, err
	}
}

func peekFirst(fd int, b []byte) (int, error) {
	if n, _, err := unix.Recvfrom(fd, b, unix.MSG_PEEK); err != nil || n == 0 {
		return n, err
	}
	return unix.Read(fd, b)
}

// spliced transfers b through a pipe.
func spliced(receive bool) call {
	return func(fd int, b []byte) (int, error) {
		r, w, err := os.Pipe()
		if err != nil {
			return 0, err
		}
		defer r.Close()
		defer w.Close()
		if !receive {
			b = b[:min(len(b), 4096)]
			if _, err := w.Write(b); err != nil {
				return 0, err
			}
			n, err := unix.Splice(int(r.Fd()), nil, fd, nil, len(b), 0)
			return int(n), err
		}
		n, err := unix.Splice(fd, nil, int(w.Fd()), nil, min(len(b), 4096), 0)
		if err != nil || n == 0 {
			return int(n), err
		}
		return r.Read(b[:n])
	}
}

func oneSegment(b []byte) []unix.Iovec { return many(b, len(b)) }
func hundredBytes(b []byte) []unix.Iovec {
	// A call accepts at most 1,024 segments, the BPF programs 128.
	return many(b, max(100, len(b)/100))
}
func oneByte(b []byte) []unix.Iovec { return many(b[:min(len(b), 1000)], 1) }

func sendto(fd int, b []byte) (int, error) {
	return system(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0, 0, 0)
}

func recvfrom(fd int, b []byte) (int, error) {
	return system(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0, 0, 0)
}

// whole reports whether a side has all plaintext of its end.
func whole(s side, c *tee) bool {
	return bytes.HasPrefix(c.moved[sent], s.data[sent]) && len(s.data[sent]) == plaintext(c.moved[sent]) &&
		bytes.HasPrefix(c.moved[received], s.data[received]) && len(s.data[received]) == plaintext(c.moved[received])
}

// replay transfers portions over a connection by the given calls and returns the data of
// both directions.
func replay(t *testing.T, client, server *net.TCPConn, portions []portion, send, receive call) (fromClient, fromServer []byte) {
	t.Helper()
	var fds [2]int
	for i, c := range []*net.TCPConn{client, server} {
		f, err := c.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		defer c.Close()
		fds[i] = int(f.Fd()) // blocking from here on
	}
	return exchange(t, fds[0], fds[1], portions, send, receive)
}

// exchange is replay for descriptors.
func exchange(t *testing.T, client, server int, portions []portion, send, receive call) (fromClient, fromServer []byte) {
	t.Helper()
	buffer := make([]byte, 64<<10)
	for _, p := range portions {
		from, to := client, server
		if !p.fromClient {
			from, to = to, from
		}
		for left := p.data; len(left) > 0; {
			n, err := send(from, left)
			if err != nil || n == 0 {
				t.Fatalf("%d bytes were sent: %v", n, err)
			}
			for got := 0; got < n; {
				k, err := receive(to, buffer[:n-got])
				if err != nil || k == 0 {
					t.Fatalf("%d bytes were received: %v", k, err)
				}
				got += k
			}
			left = left[n:]
		}
		if p.fromClient {
			fromClient = append(fromClient, p.data...)
		} else {
			fromServer = append(fromServer, p.data...)
		}
	}
	return fromClient, fromServer
}

func TestEverySystemCallThatTransfersDataIsRecordedOrCounted(t *testing.T) {
	w := watch(t)
	config := &tls.Config{Certificates: []tls.Certificate{certificate(t, 10)}}
	a, b := connect(t)
	hello := record(t, a, b, &tls.Config{InsecureSkipVerify: true}, config)
	a, b = connect(t)
	classical := record(t, a, b, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}, config)
	all := w.source.FrontEnd() == sockets.Trampoline
	ring := newUring(t)

	for name, test := range map[string]struct {
		send, receive call
		// whole means that all plaintext is copied. Otherwise a side may be missing or
		// incomplete.
		whole bool
	}{
		"read and write":                        {syscall.Write, syscall.Read, true},
		"sendto and recvfrom":                   {sendto, recvfrom, true},
		"sendmsg and recvmsg":                   {message(unix.SYS_SENDMSG, 0), message(unix.SYS_RECVMSG, 0), true},
		"writev and readv":                      {vectored(unix.SYS_WRITEV, scatter), vectored(unix.SYS_READV, scatter), true},
		"writev and readv of one segment":       {vectored(unix.SYS_WRITEV, oneSegment), vectored(unix.SYS_READV, oneSegment), true},
		"writev and readv of many segments":     {vectored(unix.SYS_WRITEV, hundredBytes), vectored(unix.SYS_READV, hundredBytes), true},
		"writev of more segments than are read": {vectored(unix.SYS_WRITEV, oneByte), syscall.Read, false},
		"pwritev2 and preadv2":                  {vectored(unix.SYS_PWRITEV2, scatter), vectored(unix.SYS_PREADV2, scatter), true},
		"sendmmsg and recvmmsg of one":          {messages(unix.SYS_SENDMMSG, 1), messages(unix.SYS_RECVMMSG, 1), true},
		"sendmmsg of two":                       {messages(unix.SYS_SENDMMSG, 2), syscall.Read, all},
		"a peek before the read":                {syscall.Write, peekFirst, true},
		"send and receive by io_uring":          {ring.do(uringSend), ring.do(uringReceive), all},
		"splice to the socket":                  {spliced(false), syscall.Read, false},
		"splice from the socket":                {syscall.Write, spliced(true), false},
	} {
		if ring == nil && strings.HasSuffix(name, "io_uring") {
			continue
		}
		for version, portions := range map[string][]portion{"TLS 1.3": hello, "TLS 1.2": classical} {
			t.Run(name+"/"+version, func(t *testing.T) {
				client, server := connect(t)
				cookies := []uint64{cookie(t, client), cookie(t, server)}
				fromClient, fromServer := replay(t, client, server, portions, test.send, test.receive)
				ends := []*tee{{moved: [2][]byte{fromClient, fromServer}}, {moved: [2][]byte{fromServer, fromClient}}}
				if test.whole {
					for i, s := range w.await(t, cookies...) {
						expect(t, s, ends[i])
					}
					return
				}
				for i, cookie := range cookies {
					if s := w.side(cookie); s.invalid || s.ended[sent] && s.ended[received] && !whole(s, ends[i]) {
						t.Errorf("not all calls were seen, but a side is %s", describe(s))
					}
				}
			})
		}
	}
}
