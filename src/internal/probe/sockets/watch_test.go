// SPDX-License-Identifier: Apache-2.0

package sockets_test

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/loss"
	"crypto-auditing/src/internal/probe"
	"crypto-auditing/src/internal/probe/sockets"
)

// patience bounds all waiting of tests.
const patience = 60 * time.Second

const (
	// unitVariable has the name of the control group if the tests are already in it.
	unitVariable = "SOCKETS_UNIT"
	// frontEndVariable names the front end to test, by default the best one.
	frontEndVariable = "SOCKETS_FRONT_END"
)

// unit is the control group of the tests, with the name of a service.
var unit string

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv(floodVariable) != "" {
		if err := flood(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	unit = os.Getenv(unitVariable)
	if !capable() || unit != "" {
		os.Exit(m.Run())
	}
	leave, err := enterUnit()
	if err != nil {
		fmt.Fprintf(os.Stderr, "cannot enter a control group: %v\n", err)
		os.Exit(1)
	}
	code := m.Run()
	leave()
	os.Exit(code)
}

// capable reports whether the tests of the kernel can run: as root, or as an ordinary user
// if runAsNobody started them, with or without the capabilities.
func capable() bool { return !testing.Short() && (os.Geteuid() == 0 || unit != "") }

// needKernel skips a test that attaches programs if that is impossible.
func needKernel(t *testing.T) {
	t.Helper()
	if !capable() {
		t.Skip("needs root and BPF")
	}
}

// enterUnit makes a control group and moves the process there.
func enterUnit() (leave func(), err error) {
	root, err := unified()
	if err != nil {
		return nil, err
	}
	unit = fmt.Sprintf("crypto-auditing-wire-%d.service", os.Getpid())
	dir := filepath.Join(root, unit)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	self := []byte(strconv.Itoa(os.Getpid()))
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), self, 0o644); err != nil {
		return nil, err
	}
	return func() {
		_ = os.WriteFile(filepath.Join(root, "cgroup.procs"), self, 0o644)
		_ = os.Remove(dir)
	}, nil
}

// unified returns the mount point of cgroup version 2.
func unified() (string, error) {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if field := strings.Fields(lines.Text()); len(field) > 2 && field[2] == "cgroup2" {
			return field[1], nil
		}
	}
	return "", fmt.Errorf("no file system of type cgroup2 is mounted")
}

// Directions, as indices.
const (
	sent = iota
	received
)

// side is one end of a connection, as read from the ring.
type side struct {
	connection uint64
	pair       uint32
	protocol   sockets.Protocol
	executable string
	unit       string
	process    uint32
	// data is the copied data, with zeros in gaps; skipped is the size of all gaps.
	data    [2][]byte
	skipped [2]int
	ended   [2]bool
	pieces  int
	// peers are the peers of the pieces, in both directions.
	peers [2][]uint32

	invalid, cut, closed bool
	reason               loss.Reason
}

// finished reports whether no more data follows.
func (s *side) finished() bool {
	return s.ended[sent] && s.ended[received] || s.invalid || s.cut || s.closed
}

// watcher collects the records in the ring.
type watcher struct {
	tracer *probe.Tracer
	source *sockets.Source
	done   chan struct{}
	stop   chan struct{}

	mu    sync.Mutex
	sides map[uint64]*side
}

// watch attaches the programs until the test ends.
func watch(t *testing.T) *watcher {
	t.Helper()
	needKernel(t)
	tracer, err := probe.Load(probe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tracer.Close() })
	source, err := sockets.Attach(tracer, sockets.Options{FrontEnd: sockets.FrontEnd(os.Getenv(frontEndVariable)), Datagrams: true})
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{
		tracer: tracer, source: source, sides: map[uint64]*side{},
		done: make(chan struct{}), stop: make(chan struct{}),
	}
	go w.read()
	t.Cleanup(func() {
		source.Close()
		close(w.stop)
		tracer.Ring().Wake()
		<-w.done
	})
	return w
}

func (w *watcher) read() {
	defer close(w.done)
	for {
		select {
		case <-w.stop:
			return
		default:
		}
		if w.tracer.Ring().Wait(1, time.Second) != nil {
			return
		}
		w.tracer.Ring().Drain(1<<20, w.take)
	}
}

func (w *watcher) take(raw []byte) {
	var p sockets.Piece
	if kind := probe.KindOf(raw); kind != probe.Piece {
		panic(fmt.Sprintf("a record has the kind %d", kind))
	}
	if err := sockets.Decode(raw, &p); err != nil {
		panic(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sides[p.Connection]
	if s == nil {
		s = &side{connection: p.Connection, pair: p.Pair, protocol: p.Protocol}
		w.sides[p.Connection] = s
	}
	if len(p.Executable) > 0 && s.executable == "" {
		s.executable, s.unit, s.process = string(p.Executable), string(p.Unit), uint32(p.PIDTGID>>32)
	}
	s.pieces++
	d := sent
	if p.Received {
		d = received
	}
	s.peers[d] = append(s.peers[d], p.Peer)
	if p.Protocol == sockets.QUIC || p.Protocol == sockets.DTLS {
		p.Offset = uint32(len(s.data[d]))
	}
	if gap := int(p.Offset) - len(s.data[d]); gap > 0 && len(p.Data) > 0 {
		s.data[d] = append(s.data[d], make([]byte, gap)...)
		s.skipped[d] += gap
	}
	s.data[d] = append(s.data[d], p.Data...)
	s.ended[d] = s.ended[d] || p.End
	s.invalid = s.invalid || p.Invalid
	s.closed = s.closed || p.Closed
	if p.Cut {
		s.cut, s.reason = true, p.Reason
	}
}

// side returns a copy of the side of a socket, by its cookie.
func (w *watcher) side(cookie uint64) side {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.sides[cookie]; s != nil {
		return *s
	}
	return side{connection: cookie}
}

// await waits until the sides of sockets are finished, and returns them.
func (w *watcher) await(t *testing.T, cookies ...uint64) (sides []side) {
	t.Helper()
	for _, cookie := range cookies {
		waitFor(t, "the end of a side", func() bool { s := w.side(cookie); return s.finished() },
			func() string { return "it is " + describe(w.side(cookie)) })
		sides = append(sides, w.side(cookie))
	}
	return sides
}

// counts reads the counters.
func (w *watcher) counts(t *testing.T) sockets.Counts {
	t.Helper()
	c, err := w.source.Counts()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// cookie returns the cookie of a socket.
func cookie(t *testing.T, c syscall.Conn) (cookie uint64) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if other := raw.Control(func(fd uintptr) { cookie, err = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE) }); other != nil || err != nil {
		t.Fatal(other, err)
	}
	return cookie
}

// describe describes a side for a failed test.
func describe(s side) string {
	return fmt.Sprintf("%s %d: protocol %d, sent %d ended %v, received %d ended %v, invalid %v, cut %v (%v), closed %v, %d pieces",
		s.executable, s.connection, s.protocol, len(s.data[sent]), s.ended[sent], len(s.data[received]), s.ended[received],
		s.invalid, s.cut, s.reason, s.closed, s.pieces)
}

// waitFor waits until a condition holds.
func waitFor(t *testing.T, what string, holds func() bool, state func() string) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timeout waiting for %s; %s", what, state())
		}
	}
}
