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
	// writeTime is how long the bus may take to read a message before it counts as
	// broken.
	writeTime = 40 * time.Second
	// readSize is how much is read from the bus at once.
	readSize = 64 << 10
)

// Options configure a connection.
type Options struct {
	// MaxMessage is how long a message to us may be, in bytes.
	MaxMessage int
	// Refuse is called with the header of a method call that was discarded
	// because it is longer, if its sender expects a reply; nil: it is not
	// called. No message is read before it returns.
	Refuse func(*Header)
}

// Socket is the connection to the bus below godbus. Whole messages are written
// to it, by godbus and by us, and are on the bus in the order of the writes.
// Messages that are too long never reach godbus, which would decode them whole:
// they are discarded as they are read. Send, Serial and Encode may be called
// concurrently.
type Socket struct {
	*net.UnixConn
	options Options
	// serial counts the messages that godbus does not make.
	serial atomic.Uint32

	// begun says that the handshake is over. It is set before messages are read.
	begun bool
	in    *bufio.Reader
	// message is what godbus has yet to read of a message.
	message []byte
	buffer  []byte

	writing sync.Mutex
}

// dial connects to a bus: its address is as in the D-Bus specification, "Server
// Addresses", with the transport unix.
func dial(address string) (*net.UnixConn, error) {
	var errs []error
	for one := range strings.SplitSeq(address, ";") {
		keys, ok := strings.CutPrefix(one, "unix:")
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

// Connect makes a connection to a bus at an address (D-Bus specification,
// "Server Addresses"). Closing the dbus.Conn closes the Socket.
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

// begin is the last line of a client's handshake.
const begin = "BEGIN\r\n"

// Write writes a line of the handshake or a message of godbus.
func (s *Socket) Write(b []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	if !s.begun && string(b) == begin {
		if err := s.negotiate(); err != nil {
			return 0, err
		}
		s.begun = true
	}
	return s.UnixConn.Write(b)
}

// negotiate asks the bus to take file descriptors, which godbus does for sockets
// of its own only.
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
	if !s.begun {
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

// next reads a message, unless it is too long.
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

// broken closes the connection after an error: a part of a message may have been
// written.
func (s *Socket) broken(err error) error {
	if err == nil {
		return nil
	}
	_ = s.Close() // which godbus notices
	return fmt.Errorf("cannot write to the bus: %w", err)
}

// Message is an encoded message, in parts, with its file descriptors. It is sent
// once.
type Message struct {
	parts [][]byte
	fds   []int
}

// Encoded returns the message that parts are, with a number from Serial.
func Encoded(parts [][]byte) *Message { return &Message{parts: parts} }

// Len is the length of the message in bytes.
func (m *Message) Len() int {
	n := 0
	for _, part := range m.parts {
		n += len(part)
	}
	return n
}

// Encode encodes a message under a serial number of its own.
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
