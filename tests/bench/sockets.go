// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"regexp"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/tests/bench/counter"
	"crypto-auditing/tests/bench/figures"
	"crypto-auditing/tests/bench/usage"
)

// watching makes the agent record only at sockets.
const watching settings = "sources = [\"wire\"]\n"

// traffic moves data through sockets; both ends are in this process.
type traffic struct {
	ends     [2]int // of an established connection
	listener net.Listener
	config   *tls.Config
	web      int // a listening socket
	address  unix.Sockaddr
}

// costs are processor times of this process in nanoseconds: for a call that sends a byte, a
// call that receives a byte, 64 KiB sent and received, a connection with an HTTP request,
// and a connection with a TLS 1.3 handshake.
type costs struct{ send, receive, bulk, web, handshake float64 }

// bulkSize is the number of bytes that a call of a bulk transfer sends.
const bulkSize = 64 << 10

func newTraffic() (*traffic, error) {
	w := &traffic{}
	var err error
	if w.web, w.address, err = listen(); err != nil {
		return nil, err
	}
	if w.ends[0], err = dial(w.address); err != nil {
		return nil, err
	}
	if w.ends[1], _, err = unix.Accept4(w.web, unix.SOCK_CLOEXEC); err != nil {
		return nil, err
	}
	for _, fd := range w.ends {
		// One goroutine sends and then receives: all data must fit the buffers.
		err := errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4*bulkSize),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4*bulkSize))
		if err != nil {
			return nil, err
		}
	}
	// The agent decides by the first bytes whether it follows a connection.
	for range 2 {
		for i := range w.ends {
			if err := move(w.ends[i], w.ends[1-i], make([]byte, 1000)); err != nil {
				return nil, err
			}
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	w.config = &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, InsecureSkipVerify: true,
		MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}, SessionTicketsDisabled: true,
	}
	w.listener, err = net.Listen("tcp", "127.0.0.1:0")
	return w, err
}

func listen() (fd int, address unix.Sockaddr, err error) {
	if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return 0, nil, err
	}
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 16)); err != nil {
		return 0, nil, err
	}
	address, err = unix.Getsockname(fd)
	return fd, address, err
}

func dial(address unix.Sockaddr) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	return fd, unix.Connect(fd, address)
}

// move moves bytes from one end of a connection to the other.
func move(from, to int, b []byte) error {
	if n, err := unix.Write(from, b); err != nil || n != len(b) {
		return fmt.Errorf("cannot send: %d bytes: %w", n, err)
	}
	for got := 0; got < len(b); {
		n, err := unix.Read(to, b[got:])
		if err != nil || n == 0 {
			return fmt.Errorf("cannot receive: %d bytes: %w", n, err)
		}
		got += n
	}
	return nil
}

// clock returns a processor time.
func clock(id int32) time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(id, &t) // it fails only for a bad clock
	return time.Duration(t.Nano())
}

// bytes moves single bytes, in runs of 64, and returns the costs of a call.
func (w *traffic) bytes(runs int) (send, receive float64, err error) {
	const run = 64
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b := []byte{1}
	var times [2]time.Duration
	for range runs {
		begin := clock(unix.CLOCK_THREAD_CPUTIME_ID)
		for range run {
			if n, err := unix.Write(w.ends[0], b); n != 1 {
				return 0, 0, fmt.Errorf("cannot send: %w", err)
			}
		}
		middle := clock(unix.CLOCK_THREAD_CPUTIME_ID)
		for range run {
			if n, err := unix.Read(w.ends[1], b); n != 1 {
				return 0, 0, fmt.Errorf("cannot receive: %w", err)
			}
		}
		times[0] += middle - begin
		times[1] += clock(unix.CLOCK_THREAD_CPUTIME_ID) - middle
	}
	calls := float64(runs * run)
	return float64(times[0]) / calls, float64(times[1]) / calls, nil
}

// bulk sends and receives 64 KiB, n times in each run, and returns the cost of both in the
// fastest run: the kernel's memory allocation sometimes takes longer than the difference to
// be measured. The result is not finite if n is 0.
func (w *traffic) bulk(n int) (float64, error) {
	const runs = 16
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b := make([]byte, bulkSize)
	var times figures.Sample
	for range runs {
		begin := clock(unix.CLOCK_THREAD_CPUTIME_ID)
		for range n {
			if err := move(w.ends[0], w.ends[1], b); err != nil {
				return 0, err
			}
		}
		times = append(times, float64(clock(unix.CLOCK_THREAD_CPUTIME_ID)-begin)/float64(n))
	}
	return times.Quantile(0), nil
}

// connections makes connections with an HTTP request and its response, one after the other,
// and returns the cost of one.
func (w *traffic) connections(n int) (float64, error) {
	request, answer := []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	begin := clock(unix.CLOCK_PROCESS_CPUTIME_ID)
	for range n {
		client, err := dial(w.address)
		if err != nil {
			return 0, err
		}
		server, _, err := unix.Accept4(w.web, unix.SOCK_CLOEXEC)
		if err != nil {
			return 0, err
		}
		err = errors.Join(move(client, server, request), move(server, client, answer),
			unix.SetsockoptLinger(client, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}),
			unix.Close(client), unix.Close(server))
		if err != nil {
			return 0, err
		}
	}
	return float64(clock(unix.CLOCK_PROCESS_CPUTIME_ID)-begin) / float64(n), nil
}

// handshakes makes TLS 1.3 handshakes, each over a new connection, one after the other, and
// returns the cost of one at both ends.
func (w *traffic) handshakes(n int) (float64, error) {
	served := make(chan error)
	go func() {
		for range n {
			served <- w.serve()
		}
	}()
	begin := clock(unix.CLOCK_PROCESS_CPUTIME_ID)
	for range n {
		c, err := tls.Dial("tcp", w.listener.Addr().String(), w.config)
		if err != nil {
			return 0, err
		}
		_, err = io.ReadFull(c, make([]byte, 1))
		if err := errors.Join(err, <-served, c.Close()); err != nil {
			return 0, err
		}
	}
	return float64(clock(unix.CLOCK_PROCESS_CPUTIME_ID)-begin) / float64(n), nil
}

func (w *traffic) serve() error {
	c, err := w.listener.Accept()
	if err != nil {
		return err
	}
	s := tls.Server(c, w.config)
	_, err = s.Write([]byte{1})
	return errors.Join(err, s.Close())
}

func (w *traffic) close() error {
	return errors.Join(unix.Close(w.ends[0]), unix.Close(w.ends[1]), unix.Close(w.web), w.listener.Close())
}

// block makes every kind of traffic. quantity is about its duration in milliseconds, and
// bulks the number of 64 KiB transfers per run.
func (w *traffic) block(quantity, bulks int) (c costs, err error) {
	time.Sleep(settle)
	if _, _, err = w.bytes(quantity / 8); err != nil {
		return c, err
	}
	if c.send, c.receive, err = w.bytes(quantity); err != nil {
		return c, err
	}
	if c.bulk, err = w.bulk(bulks); err != nil {
		return c, err
	}
	if c.web, err = w.connections(quantity * 4); err != nil {
		return c, err
	}
	c.handshake, err = w.handshakes(quantity)
	return c, err
}

var frontEnd = regexp.MustCompile(`front_end=(\w+)\n`)

// pair compares a cost while the agent watches with the cost with empty programs.
type pair struct{ ratio, added, empty figures.Sample }

func (p *pair) add(empty, agent float64) {
	p.ratio = append(p.ratio, agent/empty)
	p.added = append(p.added, agent-empty)
	p.empty = append(p.empty, empty)
}

// watched is the cost of this process's traffic while the agent watches.
type watched struct {
	frontEnd                            string
	send, receive, bulk, web, handshake pair
	// agent is the agent's processor time per handshake, in µs.
	agent figures.Sample
}

// watch compares the cost of traffic while the agent watches sockets with the cost while
// empty programs are attached to the same hooks. The blocks alternate.
func (b *bench) watch(rounds, quantity, bulks int) (*watched, error) {
	w, err := newTraffic()
	if err != nil {
		return nil, fmt.Errorf("cannot make connections: %w", err)
	}
	var all watched
	withAgent := func() (c costs, err error) {
		a, err := b.startAgent(watching)
		if err != nil {
			return c, err
		}
		used, err := usage.CPU(a.command.Process.Pid)
		if err == nil {
			c, err = w.block(quantity, bulks)
		}
		// The agent has logged the front end before it is ready.
		if m := frontEnd.FindStringSubmatch(a.stderr.String()); m != nil {
			all.frontEnd = m[1]
		}
		time.Sleep(settle * 10)
		now, cpuErr := usage.CPU(a.command.Process.Pid)
		all.agent = append(all.agent, float64((now-used).Microseconds())/float64(quantity))
		if err := errors.Join(err, cpuErr, a.stop()); err != nil {
			return c, err
		}
		r, err := readLog(a.dir)
		if err != nil {
			return c, err
		}
		// Two contexts per side, with at least six values.
		if want := uint64(quantity * 2 * 8); r.events < want {
			return c, fmt.Errorf("%d events were recorded and %d lost, want at least %d: see %s", r.events, r.lost, want, a.dir)
		}
		return c, a.remove()
	}
	withEmpty := func() (c costs, err error) {
		e, err := counter.AttachToSockets(all.frontEnd)
		if err != nil {
			return c, err
		}
		c, err = w.block(quantity, bulks)
		return c, errors.Join(err, e.Close())
	}
	// The first round warms up and finds the front end.
	if _, err := withAgent(); err != nil {
		return nil, err
	}
	all.agent = nil
	for i := range rounds {
		var measured [2]costs
		for k := range 2 {
			// The order alternates.
			which := (i + k) % 2
			if measured[which], err = []func() (costs, error){withEmpty, withAgent}[which](); err != nil {
				return nil, err
			}
		}
		e, a := measured[0], measured[1]
		all.send.add(e.send, a.send)
		all.receive.add(e.receive, a.receive)
		all.bulk.add(e.bulk, a.bulk)
		all.web.add(e.web, a.web)
		all.handshake.add(e.handshake, a.handshake)
	}
	return &all, w.close()
}

// sockets measures the cost of the source wire on this machine.
func (b *bench) sockets() error {
	w, err := b.watch(b.pick(8, 40), 300, 0)
	if err != nil {
		return err
	}
	report := func(name string, p pair, target float64, subject string) {
		b.figures.AtMost(name, p.ratio.Median(), target, p.ratio.Spread()+fmt.Sprintf(
			"; medians: %.0f ns added to %.0f ns, %s, front end %s", p.added.Median(), p.empty.Median(), subject, w.frontEnd))
	}
	report("wire_send_ratio", w.send, 1.10, "a call that sends a byte on an established connection")
	report("wire_receive_ratio", w.receive, 1.10, "a call that receives a byte")
	report("wire_http_ratio", w.web, 1.03, "a connection with an HTTP request")
	report("wire_handshake_ratio", w.handshake, 1.03, "a TLS 1.3 handshake, X25519, both ends")
	b.figures.Add("wire_agent_us_per_handshake", w.agent.Median(), "both ends, including the agent's other work; "+w.agent.Spread())
	return nil
}
