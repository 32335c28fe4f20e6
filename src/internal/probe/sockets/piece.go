// SPDX-License-Identifier: Apache-2.0

package sockets

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"crypto-auditing/bpf"
	"crypto-auditing/src/internal/loss"
)

// Protocol is the protocol of a connection.
type Protocol uint8

// The protocols.
const (
	TLS = Protocol(bpf.WireProtocolWIRE_TLS)
	SSH = Protocol(bpf.WireProtocolWIRE_SSH)
	// QUIC: each piece is a datagram that begins with an Initial packet, with the
	// names, and without offset. The socket may have many connections.
	QUIC = Protocol(bpf.WireProtocolWIRE_QUIC)
	// DTLS: each piece is a datagram that begins with a record in plaintext or with the
	// Finished of version 1.2, with the names and the peer, without offset. The socket
	// may have many peers.
	DTLS = Protocol(bpf.WireProtocolWIRE_DTLS)
)

// Piece is a part of the plaintext beginning of a connection that one task sent or
// received through one socket. The pieces of a direction arrive in order, unless two
// threads use the socket concurrently.
//
// Of a TLS connection, all records are copied up to the five-byte header of the first
// encrypted one; of Certificate messages only the first 4 KiB, so that offsets may jump
// there. Of an SSH connection, all packets up to and including NEWKEYS are copied, but
// not the identification lines.
type Piece struct {
	// Time is in nanoseconds since boot, suspend included.
	Time uint64
	// PIDTGID is the process in the upper half, the thread in the lower. If only Closed
	// is set, it may be any task.
	PIDTGID uint64
	Cgroup  uint64
	// Connection is the cookie of the socket: one end of a connection.
	Connection uint64
	// Pair has 24 bits, which are the same for both ends of a connection, and rarely for
	// others.
	Pair uint32
	// Offset is the offset of Data in its direction from the beginning of the protocol.
	Offset uint32
	// Peer is a keyed hash of the address of the other end of a datagram of DTLS.
	Peer     uint32
	Protocol Protocol
	// Received: Data was received rather than sent.
	Received bool
	// End: no more pieces of this direction follow, the plaintext of the handshake is
	// complete.
	End bool
	// Invalid: the connection does not follow its protocol; no more pieces of it
	// follow.
	Invalid bool
	// Cut: no more pieces of the connection follow because of Reason, for which it is
	// counted.
	Cut    bool
	Reason loss.Reason
	// Closed: the socket was closed before both directions ended.
	Closed bool
	// Executable is the base name of the running file, Unit the nearest service or
	// scope, User the real user id. They are set only in a process's first piece of a
	// connection; Unit may be empty there.
	Executable, Unit []byte
	User             uint32
	// Data and the names are valid as long as the raw record.
	Data []byte
}

// errPiece reports a record that the BPF programs cannot have written.
var errPiece = errors.New("cannot decode a piece of a connection: programs and agent do not match")

const (
	headSize  = int(unsafe.Sizeof(bpf.WirePiece{}))
	namesSize = int(unsafe.Sizeof(bpf.WireNames{}))
)

// Decode decodes a record of kind probe.Piece into p.
func Decode(raw []byte, p *Piece) error {
	if len(raw) < headSize {
		return errPiece
	}
	// The ring aligns records to eight bytes, as the type requires, and the length was
	// checked above.
	head := (*bpf.WirePiece)(unsafe.Pointer(&raw[0]))
	if int(head.Length) > len(raw) || int(head.Length) < headSize {
		return errPiece
	}
	flag := func(f bpf.WirePieceFlags) bool { return head.Flags&uint8(f) != 0 }
	*p = Piece{
		Time: head.Time, PIDTGID: head.PidTgid, Cgroup: head.Cgroup,
		Connection: head.Connection, Pair: head.Pair, Offset: head.Offset,
		Protocol: Protocol(head.Protocol),
		Received: flag(bpf.WirePieceFlagsWIRE_RECEIVED),
		End:      flag(bpf.WirePieceFlagsWIRE_END),
		Invalid:  flag(bpf.WirePieceFlagsWIRE_INVALID),
		Cut:      flag(bpf.WirePieceFlagsWIRE_CUT),
		Closed:   flag(bpf.WirePieceFlagsWIRE_CLOSED),
		Data:     raw[headSize:head.Length],
	}
	if p.Protocol == DTLS {
		p.Offset, p.Peer = 0, head.Offset
	}
	if known := reasons(); p.Cut && int(head.Reason) < len(known) {
		p.Reason = known[head.Reason]
	}
	if flag(bpf.WirePieceFlagsWIRE_NAMES) {
		if len(p.Data) < namesSize {
			return errPiece
		}
		const unit, user = unsafe.Offsetof(bpf.WireNames{}.Unit), unsafe.Offsetof(bpf.WireNames{}.User)
		p.Executable, p.Unit = text(p.Data[:unit]), text(p.Data[unit:user])
		p.User = binary.NativeEndian.Uint32(p.Data[user:])
		p.Data = p.Data[namesSize:]
	}
	return nil
}

// text returns the text before the NUL.
func text(b []byte) []byte {
	before, _, _ := bytes.Cut(b, []byte{0})
	return before[:len(before):len(before)]
}

// reasons maps the numbers of the programs to the reasons why the handshake of a
// connection is lost, or only known in part.
func reasons() [bpf.WireCounterWIRE_COUNTS]loss.Reason {
	return [...]loss.Reason{
		bpf.WireCounterWIRE_RING_FULL:   loss.WireRingFull,
		bpf.WireCounterWIRE_RATE_LIMIT:  loss.WireRateLimit,
		bpf.WireCounterWIRE_TOO_LONG:    loss.WireCut,
		bpf.WireCounterWIRE_UNREADABLE:  loss.WireUnreadable,
		bpf.WireCounterWIRE_UNSUPPORTED: loss.WireUnsupported,
	}
}

// Counts are numbers of connections, counted by their ends at this machine, since the
// programs were attached.
//
// Seen = NoHandshake + all of Lost + open, invalid and complete connections. A
// connection that began and was then lost is also counted in Begun, and has a piece with
// Cut.
type Counts struct {
	// Seen counts connections with a first byte.
	Seen uint64
	// NoHandshake counts connections without a handshake at their beginning.
	NoHandshake uint64
	// Begun counts connections with at least one piece in the ring.
	Begun uint64
	// Lost has the number of connections for each reason in Events.
	Lost []loss.Loss
	// Records counts the records that were written to the ring or refused by it.
	Records uint64
}

// Counts reads the counters.
func (s *Source) Counts() (Counts, error) {
	var c Counts
	read := func(index uint32) (sum uint64, err error) {
		var perCPU []uint64
		if err := s.counts.Lookup(index, &perCPU); err != nil {
			return 0, fmt.Errorf("cannot read the counters of connections: %w", err)
		}
		for _, n := range perCPU {
			sum += n
		}
		return sum, nil
	}
	for index, to := range map[bpf.WireCounter]*uint64{
		bpf.WireCounterWIRE_SEEN: &c.Seen, bpf.WireCounterWIRE_NO_HANDSHAKE: &c.NoHandshake,
		bpf.WireCounterWIRE_BEGUN: &c.Begun, bpf.WireCounterWIRE_RECORDS: &c.Records,
	} {
		n, err := read(uint32(index))
		if err != nil {
			return c, err
		}
		*to = n
	}
	for index, reason := range reasons() {
		if reason == "" {
			continue
		}
		n, err := read(uint32(index))
		if err != nil {
			return c, err
		}
		c.Lost = append(c.Lost, loss.Loss{Reason: reason, Events: n})
	}
	return c, nil
}
