// SPDX-License-Identifier: Apache-2.0

// Package row models the inventory: which cryptography a program used, and how often, in an hour
// or a day. The database, reports, policy checks and CBOMs share it.
package row

import "time"

// Row counts the operations of a period that differ only in their times.
type Row struct {
	// Period begins at Start (UTC) and takes an hour or a day.
	Start  time.Time
	Length time.Duration
	Use

	// Count is the number of operations, Failures the number of failed ones.
	Count, Failures uint64
	// Relays is the number of handshakes that the program may only have relayed for others.
	Relays uint64
	// First and Last are the times at which the first and the last of them began, rounded to
	// microseconds.
	First, Last time.Time
}

// Use identifies the program and the used cryptography. It is comparable. Text is valid UTF-8; empty text
// and zero mean that the value was not recorded.
type Use struct {
	// Executable is the base name of the program's file, Unit its systemd unit, with the ids of
	// containers folded.
	Executable, Unit string
	// LibraryID is the build-id of the library in hexadecimal digits, Library the base name of its
	// file; empty for handshakes that were captured only at sockets.
	LibraryID, Library string
	// Source is how the operation was captured: usdt, function, wire.
	Source string
	// Operation is the kind of the operation by the registry: tls::handshake, ssh::handshake,
	// pk::sign, pk::verify, …
	Operation string
	// Within is the kind of the operation that contains this one, such as tls::handshake for its
	// signatures; empty for a standalone operation.
	Within string
	// Role is client or server, of handshakes.
	Role string

	Parameters
}

// Parameters are the parameters of an operation, with normalised names that can be compared with
// rules.
type Parameters struct {
	// Version is the protocol version of a TLS handshake: "SSL 3.0", "TLS 1.2", "DTLS 1.2", …
	Version string
	// Suite is the cipher suite by its IANA name. A number without a name is written 0x1234.
	Suite string
	// Group is the group of the key exchange of a TLS handshake, or of a key: the name in the IANA
	// registry of TLS groups, such as x25519, secp256r1, X25519MLKEM768, ffdhe2048.
	Group string
	// Signature is the scheme of the program's own signature in a TLS handshake, PeerSignature the
	// scheme of the verified signature of the peer, by IANA names such as rsa_pss_rsae_sha256. A
	// number without a name is written 0x1234, as for versions, suites and groups.
	Signature, PeerSignature string
	// Resumed is yes or no.
	Resumed string
	// ExtendedSecret is yes or no: the master secret of TLS 1.2 and older depends on the whole
	// handshake (RFC 7627), as FIPS 140-3 requires. TLS 1.3 has no such choice.
	ExtendedSecret string
	// Transport is tcp, quic or udp.
	Transport string

	// Kex, HostKey, CipherOut, CipherIn, MACOut and MACIn are the algorithms of an SSH handshake, by
	// their registered names; Out is from client to server. ClientKey is the algorithm of the
	// client's signature.
	Kex, HostKey, ClientKey, CipherOut, CipherIn, MACOut, MACIn string

	// Algorithm, Curve, Bits, Hash and Padding belong to a public-key operation. In a TLS handshake
	// they belong to the server's certificate; in an SSH handshake Bits is the size of an RSA host
	// key.
	//
	// Algorithm is one of RSA, DSA, DH, EC (a key for either use), ECDH, ECDSA, Ed25519, Ed448,
	// X25519, X448, SM2, ML-KEM-512/768/1024, ML-DSA-44/65/87, SLH-DSA-…, or a group name for a
	// hybrid. Curve is named as Group. Hash is MD5, SHA-1, SHA-224, SHA-256, SHA-384, SHA-512,
	// SHA3-256, … Padding is PKCS1, PSS, OAEP or none.
	Algorithm, Curve string
	Bits             int
	Hash, Padding    string

	// GroupBits is the size of a finite-field group without a name: in a key exchange of TLS 1.2, or
	// chosen by an SSH server.
	GroupBits int
}

// Kinds of operations.
const (
	TLSHandshake = "tls::handshake"
	SSHHandshake = "ssh::handshake"
	Sign         = "pk::sign"
	Verify       = "pk::verify"
	Encrypt      = "pk::encrypt"
	Decrypt      = "pk::decrypt"
	Encapsulate  = "pk::encapsulate"
	Decapsulate  = "pk::decapsulate"
	Generate     = "pk::generate"
	Derive       = "pk::derive"
)
