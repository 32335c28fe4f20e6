// SPDX-License-Identifier: Apache-2.0

// Package wire turns the plaintext beginnings of connections, as they are copied
// at the sockets of any program, into handshakes. It has no contact with the
// kernel and does no I/O; what it holds is bounded however hostile the bytes are.
//
// Server names, host names and other names that a peer chose pass through it and
// are not kept: a Handshake has none of them.
package wire

import (
	"crypto-auditing/src/internal/wire/ssh"
	"crypto-auditing/src/internal/wire/tls"
)

// Protocol is what a connection speaks.
type Protocol uint8

// The protocols.
const (
	// TLS is TLS over TCP.
	TLS Protocol = iota + 1
	// SSH is SSH over TCP.
	SSH
	// QUIC is QUIC over UDP. Each fragment is one datagram.
	QUIC
)

// A Fragment is what one call of a program moved of the plaintext beginning of a
// connection through one of its ends.
type Fragment struct {
	// Time is in nanoseconds since boot, suspend included.
	Time uint64
	// Task is the kernel's: process in the upper half, thread in the lower.
	Task uint64
	// Connection is the cookie of the socket: one end of a connection.
	Connection uint64
	// Pair is the same for both ends of a connection, and for few others.
	Pair uint32
	// Offset is where Data begins in its direction, counted from where the
	// protocol began. Of QUIC it means nothing.
	Offset   uint32
	Protocol Protocol
	// Received says that Data was received, else it was sent.
	Received bool
	// End says that the direction is encrypted after Data.
	End bool
	// Invalid says that the connection does not follow its protocol, Cut that it
	// is not followed any more, Closed that it was closed. Nothing more of it
	// comes.
	Invalid, Cut, Closed bool
	// Executable is the base name of the file that runs, Unit the nearest
	// service or scope, User the user id. They are in the first fragment that a
	// process makes of a connection and copied from it.
	Executable, Unit []byte
	User             uint32
	// Data is not kept beyond the call.
	Data []byte
}

// Handshake is what is known of one side's handshake.
type Handshake struct {
	// Task is the task that sent the side's first flight, and Executable, Unit and
	// User are of its process. If nothing is known of that, Executable is empty;
	// Unit may be empty.
	Task             uint64
	Executable, Unit string
	User             uint32
	// Start and End are the times of its first and last fragment, in nanoseconds
	// since boot.
	Start, End uint64
	Protocol   Protocol
	// Cut says that the connection was given up before the handshake was
	// through.
	Cut bool
	// Suspected says that the side may be one that only passes on the handshake
	// of others.
	Suspected bool
	// TLS is what is known with TLS and QUIC, SSH with SSH.
	TLS tls.Handshake
	SSH ssh.Handshake
}

// Stats count sides of connections since the tracker began:
//
//	Seen = Decoded + Cut + Evicted + NoHandshake + Relayed + Open
type Stats struct {
	// Seen had a first fragment.
	Seen uint64
	// Decoded gave a handshake.
	Decoded uint64
	// Cut were given up at the socket. They gave a handshake with what was
	// known, if something was.
	Cut uint64
	// Evicted were given up by the tracker: they took too long, or there were too
	// many.
	Evicted uint64
	// NoHandshake did not begin with a handshake.
	NoHandshake uint64
	// Relayed passed on the handshake of others.
	Relayed uint64
	// Open are being followed.
	Open uint64
	// Undecodable are datagrams with Initial packets that could not be opened.
	Undecodable uint64
}
