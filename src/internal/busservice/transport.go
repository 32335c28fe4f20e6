// SPDX-License-Identifier: Apache-2.0

package busservice

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
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

const (
	// writeTime is how long the bus may take to read a message before it counts as
	// broken.
	writeTime = 40 * time.Second
	// maxIncoming is how long a message to us may be, in bytes: the arguments of
	// the largest valid call, and what is around them.
	maxIncoming = maxArguments + 64<<10
	// readSize is how much is read from the bus at once.
	readSize = 64 << 10
)

// socket is the connection to the bus below godbus. Whole messages are written
// to it, by godbus and by us, and are on the bus in the order of the writes.
// Messages that are too long never reach godbus, which would decode them whole:
// they are discarded as they are read.
type socket struct {
	*net.UnixConn
	// refuse is called with the header of a method call that was discarded.
	refuse func(*header)

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

// connect makes a connection to a bus. refuse is called for calls that are too
// long.
func connect(address string, refuse func(*header), options ...dbus.ConnOption) (*socket, *dbus.Conn, error) {
	c, err := dial(address)
	if err != nil {
		return nil, nil, err
	}
	s := &socket{UnixConn: c, refuse: refuse, in: bufio.NewReaderSize(c, readSize)}
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
func (s *socket) Write(b []byte) (int, error) {
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
func (s *socket) negotiate() error {
	if _, err := io.WriteString(s.UnixConn, "NEGOTIATE_UNIX_FD\r\n"); err != nil {
		return err
	}
	line, err := s.in.ReadString('\n')
	if err != nil {
		return err
	}
	if line != "AGREE_UNIX_FD\r\n" {
		return fmt.Errorf("cannot pass file descriptors to the bus: it answers %q", clip(strings.TrimSpace(line)))
	}
	return nil
}

// Read reads a line of the handshake, or of the next message.
func (s *socket) Read(b []byte) (int, error) {
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
func (s *socket) next() error {
	fixed, err := s.in.Peek(fixedHeader)
	if err != nil {
		return err
	}
	h, err := parseFixed(fixed)
	if err != nil {
		return err
	}
	if h.size() <= maxIncoming {
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
	if s.refuse != nil && h.kind == typeCall && h.flags&flagNoReply == 0 && h.sender != "" {
		s.refuse(h)
	}
	return nil
}

// send writes a message in parts.
func (s *socket) send(parts ...[]byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	buffers := net.Buffers(parts)
	_, err := buffers.WriteTo(s.UnixConn)
	return s.broken(err)
}

// sendWith writes a message that file descriptors belong to.
func (s *socket) sendWith(message []byte, fds []int) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	n, _, err := s.WriteMsgUnix(message, unix.UnixRights(fds...), nil)
	if err == nil && n < len(message) {
		_, err = s.UnixConn.Write(message[n:])
	}
	return s.broken(err)
}

// broken closes the connection after an error: a part of a message may have been
// written.
func (s *socket) broken(err error) error {
	if err == nil {
		return nil
	}
	_ = s.Close() // which godbus notices
	return fmt.Errorf("cannot write to the bus: %w", err)
}

// encode returns a message of ours. Its serial number is none that godbus uses.
func encode(m *dbus.Message, serial uint32) (message []byte, fds []int, err error) {
	var b bytes.Buffer
	if n, err := m.CountFds(); err != nil {
		return nil, nil, err
	} else if n > 0 {
		m.Headers[dbus.FieldUnixFDs] = dbus.MakeVariant(uint32(n))
	}
	if fds, err = m.EncodeToWithFDs(&b, binary.LittleEndian); err != nil {
		return nil, nil, err
	}
	message = b.Bytes()
	binary.LittleEndian.PutUint32(message[serialAt:], serial)
	return message, fds, nil
}
