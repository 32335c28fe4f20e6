// SPDX-License-Identifier: Apache-2.0

// Package opener opens files that other processes have mapped as executable, for the
// agent, which may not access other processes: the server has the capabilities for that,
// and passes a file descriptor (unix(7), SCM_RIGHTS).
//
// A connection is a Unix socket of type SOCK_SEQPACKET. A request is one message of 24
// bytes in the byte order of the machine: the process id and the two addresses of a
// mapping, 8 bytes each. The reply is a message of 4 bytes, 0 with the descriptor or an
// error number of errno(3). Requests have no path.
package opener

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Socket is the path of the socket of the service.
const Socket = "/run/crypto-auditing/opener"

const (
	requestSize = 24
	replySize   = 4
	// maxPID is the highest process id that Linux gives (PID_MAX_LIMIT).
	maxPID = 1 << 22
)

// request identifies a mapping.
type request struct {
	pid        int
	start, end uint64
}

// parse decodes a request; ok reports whether it is valid.
func parse(b []byte) (r request, ok bool) {
	if len(b) != requestSize {
		return r, false
	}
	pid := binary.NativeEndian.Uint64(b)
	r = request{start: binary.NativeEndian.Uint64(b[8:]), end: binary.NativeEndian.Uint64(b[16:])}
	if pid == 0 || pid > maxPID || r.start >= r.end || (r.start|r.end)%uint64(unix.Getpagesize()) != 0 {
		return request{}, false
	}
	r.pid = int(pid)
	return r, true
}

// encode is the inverse of parse.
func (r request) encode() []byte {
	b := binary.NativeEndian.AppendUint64(make([]byte, 0, requestSize), uint64(r.pid))
	b = binary.NativeEndian.AppendUint64(b, r.start)
	return binary.NativeEndian.AppendUint64(b, r.end)
}
