// SPDX-License-Identifier: Apache-2.0

// Package wire extracts handshakes from the plaintext beginnings of connections, which
// are copied at the sockets of all programs. It has no contact with the kernel and does
// no I/O; its memory is bounded even for hostile input.
//
// Server names, host names and other names chosen by a peer pass through the package
// but are not kept: a Handshake contains none of them.
package wire

import (
	"crypto-auditing/src/internal/wire/ssh"
	"crypto-auditing/src/internal/wire/tls"
)

// Protocol is the protocol of a connection.
type Protocol uint8

// The protocols.
const (
	// TLS is TLS over TCP.
	TLS Protocol = iota + 1
	// SSH is SSH over TCP.
	SSH
	// QUIC is QUIC over UDP. Each fragment is one datagram.
	QUIC
	// DTLS is DTLS over UDP. Each fragment is one datagram.
	DTLS
)

// A Fragment is the part of the plaintext beginning of a connection that one call of a
// program sent or received at one end of it.
type Fragment struct {
	// Time is in nanoseconds since boot, suspend included.
	Time uint64
	// Task identifies the task: process in the upper half, thread in the lower.
	Task uint64
	// Connection is the cookie of the socket: one end of a connection.
	Connection uint64
	// Pair is the same for both ends of a connection, and rarely for others.
	Pair uint32
	// Offset is the offset of Data in its direction from the beginning of the
	// protocol. It is unused with datagrams.
	Offset uint32
	// Peer is a hash of the address of a datagram's other end, for DTLS: a socket may
	// have many.
	Peer     uint32
	Protocol Protocol
	// Received reports whether Data was received rather than sent.
	Received bool
	// End reports that the direction is encrypted after Data.
	End bool
	// Invalid reports that the connection does not follow its protocol, Cut that it
	// is no longer followed, Closed that it was closed. No more fragments of the
	// connection follow.
	Invalid, Cut, Closed bool
	// Executable is the base name of the running file, Unit the nearest service or
	// scope, User the user id. They are set in a process's first fragment of a
	// connection and copied from it.
	Executable, Unit []byte
	User             uint32
	// Data is not kept after the call.
	Data []byte
}

// Handshake describes the handshake of one side, as far as it is known.
type Handshake struct {
	// Task is the task that sent the side's first flight; Executable, Unit and User
	// describe its process. Executable is empty if the process is unknown; Unit may
	// be empty.
	Task             uint64
	Executable, Unit string
	User             uint32
	// Start and End are the times of its first and last fragment, in nanoseconds
	// since boot.
	Start, End uint64
	Protocol   Protocol
	// Cut reports that the connection was no longer followed before the handshake
	// was complete.
	Cut bool
	// Suspected reports that the side may only forward the handshake of others.
	Suspected bool
	// TLS is set for TLS, QUIC and DTLS, SSH for SSH.
	TLS tls.Handshake
	SSH ssh.Handshake
}

// Stats count sides of connections since the tracker was created:
//
//	Seen = Decoded + Cut + Evicted + NoHandshake + Relayed + Open
type Stats struct {
	// Seen counts sides with a first fragment.
	Seen uint64
	// Decoded counts sides with a handshake.
	Decoded uint64
	// Cut counts sides that were no longer followed at the socket. Their handshakes were
	// passed on as far as known.
	Cut uint64
	// Evicted counts sides that the tracker dropped because they took too long or were
	// too many.
	Evicted uint64
	// NoHandshake counts sides that did not begin with a handshake.
	NoHandshake uint64
	// Relayed counts sides that forwarded the handshake of others.
	Relayed uint64
	// Open is the number of sides being followed.
	Open uint64
	// Undecodable counts datagrams with Initial packets that could not be decrypted.
	Undecodable uint64
}
