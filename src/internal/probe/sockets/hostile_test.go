// SPDX-License-Identifier: Apache-2.0

package sockets_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"crypto-auditing/src/internal/loss"
	"crypto-auditing/src/internal/probe/sockets"
)

// lost returns the number of connections that were lost for a reason.
func lost(c sockets.Counts, reason loss.Reason) uint64 {
	for _, l := range c.Lost {
		if l.Reason == reason {
			return l.Events
		}
	}
	return 0
}

func TestInvalidConnectionsAreDropped(t *testing.T) {
	w := watch(t)
	garbage := make([]byte, 30000)
	for i := range garbage {
		garbage[i] = byte(rand.Uint32())
	}
	random := string(garbage)
	hello := "\x16\x03\x01\x00\xc8\x01\x00\x00\xc4" + strings.Repeat("h", 196)
	for name, test := range map[string]struct {
		portions []portion
		ends     func(s side) bool
	}{
		"a hello, then garbage":   {dialogue(hello, "\x00garbage", random), func(s side) bool { return s.invalid }},
		"a record of length 0":    {dialogue(hello, "\x16\x03\x03\x00\x00x"), func(s side) bool { return s.invalid }},
		"a record too long":       {dialogue(hello, "\x16\x03\x03\xff\xff"+random), func(s side) bool { return s.invalid }},
		"a message of 16 MB":      {dialogue("\x16\x03\x01\x3f\xf0\x01\x00\x3f\xec"+random[:16364]+"\x16\x03\x01\x3f\xf0\x01\xff\xff\xff"+random[:16364], ""), func(s side) bool { return s.cut && s.reason == loss.WireCut }},
		"records of one byte":     {dialogue(hello, strings.Repeat("\x16\x03\x03\x00\x01\x00", 5000)), func(s side) bool { return s.cut && s.reason == loss.WireCut }},
		"endless alerts":          {dialogue(hello, strings.Repeat("\x15\x03\x03\x00\x02\x01\x00", 4000)), func(s side) bool { return s.cut && s.reason == loss.WireCut }},
		"half a hello":            {dialogue(hello[:100]), func(s side) bool { return s.closed }},
		"SSH without a line":      {dialogue("SSH-" + strings.Repeat("x", 20000)), func(s side) bool { return s.cut && s.reason == loss.WireCut || s.pieces == 0 }},
		"SSH, a packet too long":  {dialogue("SSH-2.0-x\r\n\xff\xff\xff\xff\x08\x14"+random, "SSH-2.0-y\r\n"), func(s side) bool { return s.invalid }},
		"SSH, a packet too short": {dialogue("SSH-2.0-x\r\n\x00\x00\x00\x01\x00\x14"+random, "SSH-2.0-y\r\n"), func(s side) bool { return s.invalid }},
	} {
		t.Run(name, func(t *testing.T) {
			client, server := connect(t)
			cookies := []uint64{cookie(t, client), cookie(t, server)}
			replay(t, client, server, test.portions, syscall.Write, syscall.Read)
			for _, cookie := range cookies {
				waitFor(t, "the end of a side", func() bool { return test.ends(w.side(cookie)) }, func() string { return describe(w.side(cookie)) })
				s := w.side(cookie)
				if n := len(s.data[sent]) + len(s.data[received]); n > 2*20000 || s.pieces > 1001 {
					t.Errorf("%d bytes were copied: %s", n, describe(s))
				}
			}
		})
	}
}

// floodVariable makes this program call flood.
const floodVariable = "SOCKETS_FLOOD"

// flood makes connections as fast as possible, each with a garbage hello, until its input
// ends.
func flood() error {
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	garbage := []byte("\x16\x03\x01\x3f\xf0\x01\x00\x3f\xec" + strings.Repeat("g", 16364))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return err
		}
		server, err := l.Accept()
		if err != nil {
			return err
		}
		for range 2 {
			_, _ = client.Write(garbage)
			_, _ = io.ReadFull(server, garbage)
		}
		_ = client.(*net.TCPConn).SetLinger(0)
		client.Close()
		server.Close()
	}
}

func TestAFloodDoesNotAffectOtherProcesses(t *testing.T) {
	w := watch(t)
	// Even on a slow machine, the flood exceeds this limit, at 20 connections per second.
	// Even on a fast one, the handshakes below do not.
	w.tracer.SetRateLimit(3125)
	other := exec.Command("/proc/self/exe")
	other.Env = append(os.Environ(), unitVariable+"="+unit, floodVariable+"=1")
	stdin, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var printed strings.Builder
	other.Stderr = &printed
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "connections over the limit", func() bool { return lost(w.counts(t), loss.WireRateLimit) > 100 },
		func() string { return fmt.Sprintf("the counters are %+v", w.counts(t)) })
	config := &tls.Config{Certificates: []tls.Certificate{certificate(t, 10)}}
	for range 20 {
		// At most two handshakes are within a period of the limit.
		time.Sleep(150 * time.Millisecond)
		client, server := connect(t)
		cookies := []uint64{cookie(t, client), cookie(t, server)}
		record(t, client, server, &tls.Config{InsecureSkipVerify: true}, config)
		for _, s := range w.await(t, cookies...) {
			if s.cut || s.invalid || !s.ended[sent] || !s.ended[received] {
				t.Errorf("during the flood, a side is %s", describe(s))
			}
		}
	}
	stdin.Close()
	if err := other.Wait(); err != nil {
		t.Errorf("%v\n%s", err, printed.String())
	}
	if n := lost(w.counts(t), loss.WireRingFull); n > 0 {
		t.Errorf("the flood filled the ring: %d connections were lost", n)
	}
}

// Connections of other programs are counted, too: the sum is right once none of them is in
// progress.
func TestEveryConnectionIsAccountedFor(t *testing.T) {
	w := watch(t)
	config := &tls.Config{Certificates: []tls.Certificate{certificate(t, 10)}}
	hello := "\x16\x03\x01\x00\xc8\x01\x00\x00\xc4" + strings.Repeat("h", 196)
	for range 10 {
		client, server := connect(t)
		record(t, client, server, &tls.Config{InsecureSkipVerify: true}, config)
		for _, portions := range [][]portion{
			dialogue("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
			dialogue("some other protocol", "yes"),
			dialogue(hello),
			dialogue(hello, "\x00garbage"),
			dialogue(hello, strings.Repeat("\x16\x03\x03\x00\x01\x00", 5000)),
		} {
			client, server := connect(t)
			replay(t, client, server, portions, syscall.Write, syscall.Read)
		}
	}
	sum := func() (seen, known uint64) {
		c := w.counts(t)
		known = c.NoHandshake
		for _, l := range c.Lost {
			known += l.Events
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, s := range w.sides {
			if s.finished() && !s.cut {
				known++
			}
		}
		return c.Seen, known
	}
	waitFor(t, "all connections that were seen to be known", func() bool {
		seen, known := sum()
		return seen == known && seen >= 2*60
	}, func() string { return fmt.Sprint(sum()) })
}
