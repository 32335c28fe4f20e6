// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

const (
	// writeTime is how long the bus may take to accept a message before the
	// connection counts as broken.
	writeTime = 40 * time.Second
	// readSize is the size of a read from the bus, in bytes.
	readSize = 64 << 10
)

// Options configure a connection.
type Options struct {
	// MaxMessage is the largest accepted message, in bytes.
	MaxMessage int
	// Refuse, if set, is called with the header of each method call that was
	// discarded because of its size, if its sender expects a reply. Reading
	// continues when it returns.
	Refuse func(*Header)
}

// Socket is the connection to the bus below godbus. Both godbus and this service
// write whole messages to it, which reach the bus in the order of the writes.
// Oversized messages never reach godbus, which would decode them as a whole: they
// are discarded while they are read. Send, Serial and Encode may be called
// concurrently.
type Socket struct {
	*net.UnixConn
	options Options
	// serial counts the messages that are not from godbus.
	serial atomic.Uint32

	// authenticated is set after the handshake, before messages are read.
	authenticated bool
	in            *bufio.Reader
	// message is the part of a message that godbus has not read yet.
	message []byte
	buffer  []byte

	writing sync.Mutex
}

// dial connects to a bus at an address as in the D-Bus specification, "Server
// Addresses", with the transport unix.
func dial(address string) (*net.UnixConn, error) {
	var errs []error
	for candidate := range strings.SplitSeq(address, ";") {
		keys, ok := strings.CutPrefix(candidate, "unix:")
		if !ok {
			continue
		}
		for pair := range strings.SplitSeq(keys, ",") {
			key, value, _ := strings.Cut(pair, "=")
			name, err := dbus.UnescapeBusAddressValue(value)
			switch {
			case err != nil:
				errs = append(errs, err)
				continue
			case key == "abstract":
				name = "@" + name
			case key != "path":
				continue
			}
			c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: name, Net: "unix"})
			if err == nil {
				return c, nil
			}
			errs = append(errs, err)
		}
	}
	if errs == nil {
		errs = append(errs, errors.New("it has no unix socket"))
	}
	return nil, fmt.Errorf("cannot connect to the bus at %s: %w", address, errors.Join(errs...))
}

// Reachable reports whether there is a bus at an address.
func Reachable(address string) bool {
	c, err := dial(address)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// Connect connects to a bus at an address (D-Bus specification, "Server
// Addresses"). Closing the dbus.Conn closes the Socket.
func Connect(address string, o Options, options ...dbus.ConnOption) (*Socket, *dbus.Conn, error) {
	c, err := dial(address)
	if err != nil {
		return nil, nil, err
	}
	s := &Socket{UnixConn: c, options: o, in: bufio.NewReaderSize(c, readSize)}
	conn, err := dbus.NewConn(s, options...)
	if err != nil {
		c.Close()
		return nil, nil, fmt.Errorf("cannot use the bus at %s: %w", address, err)
	}
	if err = conn.Auth(nil); err == nil {
		err = conn.Hello()
	}
	if err != nil {
		conn.Close()
		return nil, nil, fmt.Errorf("cannot use the bus at %s: %w", address, err)
	}
	return s, conn, nil
}

// begin is the last line of the client's part of the handshake.
const begin = "BEGIN\r\n"

// Write writes a line of the handshake or a message from godbus.
func (s *Socket) Write(b []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	if !s.authenticated && string(b) == begin {
		if err := s.negotiate(); err != nil {
			return 0, err
		}
		s.authenticated = true
	}
	return s.UnixConn.Write(b)
}

// negotiate requests the passing of file descriptors, which godbus does only for
// sockets that it opened.
func (s *Socket) negotiate() error {
	if _, err := io.WriteString(s.UnixConn, "NEGOTIATE_UNIX_FD\r\n"); err != nil {
		return err
	}
	line, err := s.in.ReadString('\n')
	if err != nil {
		return err
	}
	if line != "AGREE_UNIX_FD\r\n" {
		return fmt.Errorf("cannot pass file descriptors to the bus: it answers %.100q", strings.TrimSpace(line))
	}
	return nil
}

// Read reads a line of the handshake, or of the next message.
func (s *Socket) Read(b []byte) (int, error) {
	if !s.authenticated {
		return s.in.Read(b)
	}
	for len(s.message) == 0 {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, s.message)
	s.message = s.message[n:]
	return n, nil
}

// next reads a message, unless it is oversized.
func (s *Socket) next() error {
	fixed, err := s.in.Peek(fixedHeader)
	if err != nil {
		return err
	}
	h, err := parseFixed(fixed)
	if err != nil {
		return err
	}
	if h.size() <= uint64(s.options.MaxMessage) {
		if n := int(h.size()); cap(s.buffer) < n {
			s.buffer = make([]byte, n)
		}
		s.message = s.buffer[:h.size()]
		_, err := io.ReadFull(s.in, s.message)
		return err
	}
	left := int(h.size())
	if h.fields <= maxFields {
		b := make([]byte, h.body())
		if _, err := io.ReadFull(s.in, b); err != nil {
			return err
		}
		left -= len(b)
		if err := h.parseFields(b[fixedHeader:]); err != nil {
			return err
		}
	}
	if _, err := s.in.Discard(left); err != nil {
		return err
	}
	if s.options.Refuse != nil && h.kind == typeCall && h.flags&flagNoReply == 0 && h.Sender != "" {
		s.options.Refuse(h)
	}
	return nil
}

// Send writes a message. After an error the connection is closed.
func (s *Socket) Send(m *Message) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	parts := net.Buffers(m.parts)
	if len(m.fds) > 0 {
		n, _, err := s.WriteMsgUnix(parts[0], unix.UnixRights(m.fds...), nil)
		if err != nil {
			return s.broken(err)
		}
		parts[0] = parts[0][n:]
	}
	_, err := parts.WriteTo(s.UnixConn)
	return s.broken(err)
}

// broken closes the connection after an error, when part of a message may have
// been written.
func (s *Socket) broken(err error) error {
	if err == nil {
		return nil
	}
	_ = s.Close() // godbus sees the error
	return fmt.Errorf("cannot write to the bus: %w", err)
}

// Message is an encoded message in parts, with its file descriptors. It is sent
// once.
type Message struct {
	parts [][]byte
	fds   []int
}

// Encoded returns a message of encoded parts with a number from Serial.
func Encoded(parts [][]byte) *Message { return &Message{parts: parts} }

// Len returns the length of the message in bytes.
func (m *Message) Len() int {
	n := 0
	for _, part := range m.parts {
		n += len(part)
	}
	return n
}

// Encode encodes a message with a new serial number.
func (s *Socket) Encode(from *dbus.Message) (*Message, error) {
	if n, err := from.CountFds(); err != nil {
		return nil, err
	} else if n > 0 {
		from.Headers[dbus.FieldUnixFDs] = dbus.MakeVariant(uint32(n))
	}
	var b bytes.Buffer
	fds, err := from.EncodeToWithFDs(&b, binary.LittleEndian)
	if err != nil {
		return nil, err
	}
	binary.LittleEndian.PutUint32(b.Bytes()[serialAt:], s.Serial())
	return &Message{[][]byte{b.Bytes()}, fds}, nil
}

// Serial returns a serial number that godbus does not use.
func (s *Socket) Serial() uint32 { return s.serial.Add(1) | 1<<31 }
