// SPDX-License-Identifier: Apache-2.0

package varlinkservice

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Peer is the process at the other end of a connection with its credentials at the time
// of connecting (unix(7), SO_PEERCRED and SO_PEERGROUPS). Ids are in the user namespace of
// this process.
type Peer struct {
	UID, GID uint32
	// Groups are the supplementary groups.
	Groups []uint32
}

// IsRoot reports whether the peer is root.
func (p Peer) IsRoot() bool { return p.UID == 0 }

// In reports whether the peer is in a group.
func (p Peer) In(gid uint32) bool { return p.GID == gid || slices.Contains(p.Groups, gid) }

// PeerOf asks the kernel for the peer of a Unix socket.
func PeerOf(c net.Conn) (Peer, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return Peer{}, fmt.Errorf("cannot identify the peer: %T is not a socket", c)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return Peer{}, fmt.Errorf("cannot identify the peer: %w", err)
	}
	var p Peer
	var credErr error
	err = raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); credErr != nil {
			return
		}
		p.UID, p.GID = cred.Uid, cred.Gid
		p.Groups, credErr = peerGroups(fd)
	})
	if err = errors.Join(err, credErr); err != nil {
		return Peer{}, fmt.Errorf("cannot identify the peer: %w", err)
	}
	return p, nil
}

// maxGroups is the limit of the kernel, NGROUPS_MAX.
const maxGroups = 65536

// peerGroups returns the supplementary groups of the peer. It uses a raw system call
// because golang.org/x/sys has no function for options that are arrays.
func peerGroups(fd uintptr) ([]uint32, error) {
	groups := make([]uint32, 32)
	for {
		length := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&length)), 0)
		switch {
		case errno == 0 && length <= uint32(len(groups)*4):
			return groups[:length/4], nil
		case errno == unix.ERANGE && length > uint32(len(groups)*4) && length <= maxGroups*4:
			// length is the required size.
			groups = make([]uint32, length/4)
		case errno == unix.ENODATA:
			return nil, nil
		case errno == 0 || errno == unix.ERANGE:
			return nil, fmt.Errorf("getsockopt: SO_PEERGROUPS of %d bytes", length)
		default:
			return nil, fmt.Errorf("getsockopt: SO_PEERGROUPS: %w", errno)
		}
	}
}
