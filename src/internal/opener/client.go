// SPDX-License-Identifier: Apache-2.0

package opener

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Client is a connection to the server. It must be used by one goroutine only.
type Client struct{ conn *net.UnixConn }

// Dial connects to the server at a path. The error is that of connect(2) if there is no
// server.
func Dial(path string) (*Client, error) {
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("cannot reach crau-opener: %w", err)
	}
	return &Client{c}, nil
}

// Active reports whether a server, or the service manager for it, listens at a path.
func Active(path string) bool {
	c, err := Dial(path)
	if err == nil {
		c.Close()
	}
	return err == nil
}

// Close closes the connection.
func (c *Client) Close() { c.conn.Close() }

// Open returns the file that a process has mapped as executable from start to end, open
// for reading. A syscall.Errno is the answer of the server: ESRCH if the process has
// ended, ENOENT if it has no such mapping. After another error the connection is
// unusable.
func (c *Client) Open(pid int, start, end uint64) (*os.File, error) {
	f, err := c.call(request{pid, start, end}.encode())
	if err != nil {
		return nil, fmt.Errorf("cannot open a file that process %d has mapped: %w", pid, err)
	}
	return f, nil
}

func (c *Client) call(message []byte) (*os.File, error) {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := c.conn.Write(message); err != nil {
		return nil, err
	}
	reply, rights := make([]byte, replySize), make([]byte, unix.CmsgSpace(4))
	n, m, _, _, err := c.conn.ReadMsgUnix(reply, rights)
	if err != nil {
		return nil, err
	}
	f, err := received(rights[:m])
	if err != nil {
		return nil, err
	}
	var errno uint32
	if n == replySize {
		errno = binary.NativeEndian.Uint32(reply)
	}
	switch {
	case n != replySize:
		err = unix.EPROTO
	case errno != 0:
		err = syscall.Errno(errno)
	case f == nil:
		err = unix.EPROTO
	default:
		return f, nil
	}
	if f != nil {
		f.Close()
	}
	return nil, err
}

// received returns the descriptor in a control message, nil if there is none.
func received(rights []byte) (*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil || len(messages) == 0 {
		return nil, err
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		for _, fd := range fds {
			unix.Close(fd)
		}
		return nil, unix.EPROTO
	}
	return os.NewFile(uintptr(fds[0]), "mapped"), nil
}
