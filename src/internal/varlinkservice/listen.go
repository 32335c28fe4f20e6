// SPDX-License-Identifier: Apache-2.0

package varlinkservice

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// Activated returns the listening Unix socket called name that the service manager passed
// (sd_listen_fds(3)), nil if it passed none. A socket of another name is an error, because
// no program would answer on it. Activated takes all sockets from the environment and works
// only once.
func Activated(name string) (net.Listener, error) {
	passed, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("cannot take the sockets of the service manager: %w", err)
	}
	l, err := choose(passed, name)
	for _, listeners := range passed {
		for _, other := range listeners {
			if other != l {
				other.Close()
			}
		}
	}
	return l, err
}

// choose returns the socket called name.
func choose(passed map[string][]net.Listener, name string) (net.Listener, error) {
	var others []string
	for other := range passed {
		if other != name {
			others = append(others, other)
		}
	}
	if len(others) > 0 {
		slices.Sort(others)
		return nil, fmt.Errorf("cannot use the socket %s of the service manager: write FileDescriptorName=%s in its unit",
			strings.Join(others, ", "), name)
	}
	switch found := passed[name]; len(found) {
	case 0:
		return nil, nil
	case 1:
		if _, ok := found[0].(*net.UnixListener); !ok {
			return nil, fmt.Errorf("cannot use the socket %s of the service manager: write ListenStream= with a path in its unit", name)
		}
		return found[0], nil
	default:
		return nil, fmt.Errorf("cannot use %d sockets %s of the service manager: write ListenStream= once in their unit", len(found), name)
	}
}

// socketMode permits owner and group to connect.
const socketMode = 0o660

// Listen returns a Unix socket that listens at path, accessible for the owner and the group
// gid; nil: the group of the process. A stale socket is replaced; a socket in use is an
// error. Closing the listener removes the socket.
func Listen(path string, gid *uint32) (net.Listener, error) {
	l, err := listen(path, gid)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	return l, nil
}

func listen(path string, gid *uint32) (net.Listener, error) {
	if err := free(path); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: create the directory, as systemd-tmpfiles does at boot", err)
	} else if err != nil {
		return nil, err
	}
	// Until here, the umask decides who can connect. This grants nothing, because each
	// peer is authorised.
	if gid != nil {
		err = os.Lchown(path, -1, int(*gid))
	}
	if err == nil {
		err = os.Chmod(path, socketMode)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// free removes a stale socket at path. The error is the reason why path is not free.
func free(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("a file that is not a socket has that name: move it away")
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
		return errors.New("another process listens there: stop it first")
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}
