// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"
)

// subscriber is a client that reads only the number and the time of a group, so that broker
// and bus limit the rate, not a library. The library godbus handles all messages except
// Events, Operations and replies with operations.
type subscriber struct {
	conn *dbus.Conn

	mu     sync.Mutex
	groups int
	last   uint64
	err    error
	// onGroup, if set, is called with the time of each group, in µs since the Unix epoch.
	onGroup func(start uint64)
}

// subscribe connects and subscribes.
func (s *testbed) subscribe(filter, options map[string]dbus.Variant) (*subscriber, error) {
	r, err := s.connect()
	if err != nil {
		return nil, err
	}
	if err := r.conn.Object(brokerName, brokerPath).Call(brokerName+".Subscribe", 0, "", filter, options).Err; err != nil {
		r.conn.Close()
		return nil, fmt.Errorf("cannot subscribe: %w", err)
	}
	return r, nil
}

// connect connects to the bus.
func (s *testbed) connect() (*subscriber, error) {
	c, err := net.Dial("unix", strings.TrimPrefix(s.address, "unix:path="))
	if err != nil {
		return nil, fmt.Errorf("cannot connect: %w", err)
	}
	r := &subscriber{}
	if r.conn, err = dbus.NewConn(&tap{Conn: c, in: bufio.NewReaderSize(c, 256<<10), subscriber: r}); err == nil {
		if err = r.conn.Auth(nil); err == nil {
			err = r.conn.Hello()
		}
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("cannot connect: %w", err)
	}
	return r, nil
}

// count returns the number of received groups or operations. The error reports a group out
// of order.
func (r *subscriber) count() (groups int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.groups, r.err
}

// tap removes Events, Operations and the operations in replies from the data that the
// library reads.
type tap struct {
	net.Conn
	in         *bufio.Reader
	subscriber *subscriber
	begun      bool
	unread     []byte // the part of the message that the library has not read yet
	message    []byte
}

// Write implements io.Writer.
func (t *tap) Write(b []byte) (int, error) {
	if bytes.Equal(b, []byte("BEGIN\r\n")) {
		t.begun = true // messages follow
	}
	return t.Conn.Write(b)
}

// Read implements io.Reader.
func (t *tap) Read(b []byte) (int, error) {
	if !t.begun {
		return t.in.Read(b)
	}
	for len(t.unread) == 0 {
		if err := t.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, t.unread)
	t.unread = t.unread[n:]
	return n, nil
}

// next reads a message (D-Bus specification, "Message Format").
func (t *tap) next() error {
	const fixed, typeReply, typeSignal = 16, 2, 4
	head, err := t.in.Peek(fixed)
	if err != nil {
		return err
	}
	body := int(binary.LittleEndian.Uint32(head[4:]))
	begin := (fixed + int(binary.LittleEndian.Uint32(head[12:])) + 7) &^ 7
	if cap(t.message) < begin+body {
		t.message = make([]byte, begin+body)
	}
	t.message = t.message[:begin+body]
	if _, err := io.ReadFull(t.in, t.message); err != nil {
		return err
	}
	if t.message[1] == typeSignal && bytes.Contains(t.message[:begin], []byte("\x06\x00\x00\x00Events\x00")) {
		t.subscriber.take(t.message[begin:])
		return nil
	}
	if t.message[1] == typeSignal && bytes.Contains(t.message[:begin], []byte("\x0a\x00\x00\x00Operations\x00")) {
		t.subscriber.countOperations(t.message[begin:])
		return nil
	}
	t.unread = t.message
	if t.message[1] == typeReply && bytes.Contains(t.message[:begin], []byte("\x08aa{sv}st\x00")) {
		t.unread = withoutOperations(t.message, begin, t.subscriber.countOperations(t.message[begin:]))
	}
	return nil
}

// take counts the groups of a signal, which follow each other at multiples of 8.
func (r *subscriber) take(body []byte) {
	const startAt, attributesAt = 48, 64
	r.mu.Lock()
	defer r.mu.Unlock()
	end := 8 + int(binary.LittleEndian.Uint32(body))
	for at := 8; at < end; {
		g := body[at:]
		sequence := binary.LittleEndian.Uint64(g)
		if sequence <= r.last && r.err == nil {
			r.err = fmt.Errorf("group %d after %d", sequence, r.last)
		}
		r.last = sequence
		r.groups++
		if r.onGroup != nil {
			r.onGroup(binary.LittleEndian.Uint64(g[startAt:]))
		}
		data := (attributesAt + 8 + int(binary.LittleEndian.Uint32(g[attributesAt:])) + 3) &^ 3
		length := ((data + 4 + 7) &^ 7) + int(binary.LittleEndian.Uint32(g[data:]))
		at += (length + 7) &^ 7
	}
}
