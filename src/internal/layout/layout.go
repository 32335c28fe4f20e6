// SPDX-License-Identifier: Apache-2.0

// Package layout reads out of ELF files what the function source needs to
// observe libraries without probes: the sites of their functions, and the
// chains of loads that lead from a function's argument to a value, such as the
// cipher suite of a connection.
//
// It maps and runs nothing. A symbolic interpreter follows the library's own
// accessor functions in the file, such as SSL_version. A value is given only if
// two functions agree on its place, or one does and a value read from a wrong
// place would be noticed. What does not reach this standard is refused with the
// reason. The package is pure: it reads the file it is given and never talks to
// the kernel.
//
// A file can be hostile. Reading it takes bounded time and memory, and a wrong
// answer concerns the processes that use this file only.
package layout

import (
	"debug/elf"

	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/layout/loads"
)

// Family is the interface that a library implements.
type Family uint8

// The families.
const (
	// OpenSSL is libssl, libcrypto, or a program that both are linked into.
	OpenSSL Family = 1 + iota
	// GnuTLS is libgnutls.
	GnuTLS
)

// String returns the usual name of the family.
func (f Family) String() string {
	switch f {
	case OpenSSL:
		return "OpenSSL"
	case GnuTLS:
		return "GnuTLS"
	}
	return "unknown"
}

// Library is what was decoded from one file. It depends on nothing but the
// file's content, holds no resources, and is not changed after it was decoded:
// it may be cached by build-id and used by several goroutines.
type Library struct {
	Family Family
	// Machine is the architecture: EM_X86_64 or EM_AARCH64.
	Machine elf.Machine
	// BuildID is the file's GNU build-id, nil without one.
	BuildID []byte
	// Segments are the loadable segments of the file.
	Segments []capture.Segment
	// Text is the link-time address range of the code: a call is from outside
	// the library if the return address, less the load bias, is not in it.
	Text Range
	// Handshakes reports whether the sites and values of handshakes suffice to
	// record them, PublicKey the same of public-key operations. If a layer is
	// missing, Refusals has the reason.
	Handshakes, PublicKey bool
	// Static reports that both layers are in one file, a program most likely.
	// Whether a call is from outside the library cannot be told there, so that
	// it has no site with External.
	Static bool
	// Sites are the sites, in the order of Addr.
	Sites []Site
	// Values are the values that may be recorded, at most one for each ID.
	Values []Value
	// Refusals lists what was looked for and is not in Sites and Values.
	Refusals []Refusal
}

// Range is a range of link-time addresses, without End.
type Range struct{ Start, End uint64 }

// Contains reports whether addr is in the range.
func (r Range) Contains(addr uint64) bool { return addr >= r.Start && addr < r.End }

// Value returns the value with an ID, nil if it was refused or is not there.
func (l *Library) Value(id ValueID) *Value {
	for i := range l.Values {
		if l.Values[i].ID == id {
			return &l.Values[i]
		}
	}
	return nil
}

// Argument returns the register that holds an argument of a function at its
// entry, counted from zero: the System V ABI for x86-64, AAPCS64 for arm64. The
// result is NoRegister from the seventh argument on.
func (l *Library) Argument(index int) capture.Register {
	amd64 := [...]capture.Register{capture.RDI, capture.RSI, capture.RDX, capture.RCX, capture.R8, capture.R9}
	switch {
	case index < 0 || index >= len(amd64):
		return capture.NoRegister
	case l.Machine == elf.EM_AARCH64:
		return capture.X0 + capture.Register(index)
	}
	return amd64[index]
}

// Role is what a hit of a site means.
type Role uint8

// The roles. The object of the first group is the connection, SSL * or
// gnutls_session_t.
const (
	// HandshakeServer and HandshakeClient: a call into the handshake begins, the
	// first or one that continues it. Param Object is the connection.
	HandshakeServer Role = 1 + iota
	HandshakeClient
	// Handshake is the same where one function serves both sides.
	Handshake
	// HandshakeEnd: the innermost such call of this stack is about to return.
	// No parameter is at hand: the connection is that of the beginning whose
	// stack pointer is the nearest above, by less than MaxFrame. It is hit whether
	// the handshake is through or not.
	HandshakeEnd
	// ConnectionFree: the connection ceases to exist.
	ConnectionFree

	// ContextOperation: an operation on a key context (EVP_PKEY_CTX *), Param
	// Object. It counts only if Param Output, where there is one, is not NULL.
	ContextOperation
	// DigestOperation: an operation on a digest context (EVP_MD_CTX *), Param
	// Object, that may be the inner part of a DigestOneShot on the same context.
	// It counts only if Param Output, where there is one, is not NULL.
	DigestOperation
	// DigestOneShot is the same in one call, which goes through
	// DigestOperation in most versions.
	DigestOneShot
	// ChainVerification: a certificate chain is verified. Param Object is the
	// X509_STORE_CTX *, no value leads from it.
	ChainVerification
	// KeyOperation: an operation by a low-level function, Param Key is the key.
	// Its site is External.
	KeyOperation
	// SetDigest: the digest Param Digest (EVP_MD *) is set on the key context
	// Param Object, if Param Command is absent or is 1.
	SetDigest
	// ResetContext: the key context Param Object is prepared for another
	// operation, its digest is forgotten.
	ResetContext
	// SetGroup: the name of a group, Param Text, is set on the key context Param
	// Object, SetCurve the same by its NID, Param NID, SetBits the size of a key,
	// Param Bits.
	SetGroup
	SetCurve
	SetBits
	// SessionOperation: an operation of GnuTLS's public-key layer.
	SessionOperation
)

// MaxFrame bounds the distance of the stack pointers of a HandshakeEnd and of
// the beginning it belongs to, in bytes.
const MaxFrame = 4096

// Operation is the public-key operation that a hit is.
type Operation uint8

// The operations.
const (
	NoOperation Operation = iota
	Sign
	Verify
	Derive
	Encapsulate
	Decapsulate
	Encrypt
	Decrypt
	Generate
)

// Param is a parameter of a function that a site belongs to.
type Param struct {
	Kind ParamKind
	// Index counts the arguments of the function from zero.
	Index uint8
	// Register holds the parameter when the site is hit.
	Register capture.Register
}

// ParamKind is the meaning of a parameter.
type ParamKind uint8

// The meanings of parameters.
const (
	// Object is what the operation works on, see Role.
	Object ParamKind = 1 + iota
	// Output is the buffer for a result: the function only asks for the size of
	// the result if it is NULL.
	Output
	// Digest is an EVP_MD *.
	Digest
	// DigestNID is the NID of a digest (int).
	DigestNID
	// InputLength is the size of what is signed or verified, in bytes (size_t or
	// int: the low 32 bits are valid).
	InputLength
	// Key* are keys of the low-level interfaces.
	KeyRSA
	KeyEC
	KeyDSA
	KeyDH
	// Bits is the size of a key (int), NID that of a curve (int), Text a string.
	Bits
	NID
	Text
	// Command is the command of a function that does several things (int).
	Command
)

// Site is one instruction, and what it means that a program executes it.
type Site struct {
	Role Role
	// Operation is the public-key operation, if the hit is one.
	Operation Operation
	// Function is the name of the function. One without a symbol has the name
	// that it has in the library's source.
	Function string
	// Entry is the link-time address of the function, Addr that of the site.
	Entry, Addr uint64
	// Offset is the place of the site in the file, which is what uprobes take.
	Offset uint64
	// StackDelta is by how many bytes the stack pointer is lower at the site than
	// at the function's entry: on x86-64 the return address is on the stack
	// there, at the stack pointer plus StackDelta.
	StackDelta uint32
	// ReturnAddress is the register with the return address at the site,
	// NoRegister on x86-64.
	ReturnAddress capture.Register
	// Instruction is the instruction at the site, such as "push". Emulated
	// reports that the kernel emulates it on a hit. It single-steps others, which
	// takes 15 µs instead of 0.4 µs on virtual machines.
	Instruction string
	Emulated    bool
	// External: only calls from outside of Library.Text count.
	External bool
	// Params are the parameters of the function that matter to Role.
	Params []Param
}

// Param returns the parameter of a kind, nil if the function has none.
func (s *Site) Param(kind ParamKind) *Param {
	for i := range s.Params {
		if s.Params[i].Kind == kind {
			return &s.Params[i]
		}
	}
	return nil
}

// Limits of chains, so that BPF programs can have arrays for them.
const (
	// MaxLoads is the most loads of a chain.
	MaxLoads = loads.Max
	// MaxOffset is the largest offset of a load.
	MaxOffset = loads.MaxOffset
)

// Chain leads from an object to a value by loads: the address is the object's
// plus the first offset; each load but the last reads the next address there,
// to which the next offset is added. The last load reads Width bytes, in the
// byte order of the machine. If a pointer on the way is NULL, there is no value.
type Chain struct {
	Offsets []uint16
	// Width is the size of the value in bytes: 1, 2, 4 or 8.
	Width uint8
}

// String returns the chain as "arg0 > 0x918 > 0x2f8 > 0x18 : 2".
func (c Chain) String() string {
	out := loads.Chain{Width: int(c.Width)}
	for _, o := range c.Offsets {
		out.Offsets = append(out.Offsets, int64(o))
	}
	return out.String()
}

// Base is the kind of object that a chain begins at.
type Base uint8

// The bases.
const (
	// Connection is an SSL * or a gnutls_session_t.
	Connection Base = 1 + iota
	// PKey is an EVP_PKEY *.
	PKey
	// KeyContext is an EVP_PKEY_CTX *.
	KeyContext
	// DigestContext is an EVP_MD_CTX *.
	DigestContext
	// DigestType is an EVP_MD *.
	DigestType
	// RSAKey is an RSA *, ECKey an EC_KEY *.
	RSAKey
	ECKey
)

// Form is what the value at the end of a chain is.
type Form uint8

// The forms.
const (
	// Number is an unsigned number of Width bytes.
	Number Form = iota
	// String is the address of a string that a NUL ends.
	String
	// Pointer is the address of an object.
	Pointer
	// Bytes are bytes of the object itself: the chain reads the first Width of
	// them.
	Bytes
)

// ValueID identifies a value.
type ValueID uint8

// The values of a Connection. Numbers of OpenSSL are IANA's unless stated.
const (
	// Version is the protocol version, such as 0x304. A validator can always
	// tell a wrong one. GnuTLS: its own enumeration gnutls_protocol_t.
	Version ValueID = 1 + iota
	// Server is 1 on a server, else 0. GnuTLS: 1 server, 2 client.
	Server
	// CipherSuite is the cipher suite. GnuTLS: the two bytes of IANA's number in
	// the order of the wire, that is swapped.
	CipherSuite
	// Group is the group that the connection negotiated itself (s3.group_id),
	// zero before, or IANA's number. GnuTLS: its own enumeration.
	Group
	// SessionGroup is the group of the session's handshake (OpenSSL 3): that of
	// TLS 1.2 and older. It has to be equal to Group after a full TLS 1.3
	// handshake.
	SessionGroup
	// KeyExchanged is 1 if Group belongs to this handshake (s3.did_kex), 0 before.
	KeyExchanged
	// PeerScheme and OwnScheme are the signature schemes of the peer's and the
	// own signature. GnuTLS has ServerScheme and ClientScheme instead. Static RSA
	// key exchange leaves a scheme as well: it says nothing without an operation.
	PeerScheme
	OwnScheme
	// ServerScheme and ClientScheme are the schemes of the server's and the
	// client's signature, in GnuTLS's enumeration gnutls_sign_algorithm_t.
	ServerScheme
	ClientScheme
	// Resumed is not zero if a session was resumed, or an external PSK was used.
	Resumed
	// HandState is the state of the handshake: 0 before the first, 1 (TLS_ST_OK)
	// when it is complete.
	HandState
	// FlowState is 1 (MSG_FLOW_ERROR) when the handshake failed.
	FlowState
	// VerifyResult is the result of the peer's certificate chain, X509_V_*.
	VerifyResult
	// ServerRandom is the server's random, 32 bytes.
	ServerRandom
	// Completed is not zero when the first handshake is complete (GnuTLS).
	Completed

	// KeyType is the name of a key's type, such as "RSA" (OpenSSL 3, PKey).
	// It is NULL for a key that was never given to a provider.
	KeyType
	// KeyID is the NID of a key's type: 6 RSA, 408 EC (PKey). Keys of providers
	// have the type's NID or -1.
	KeyID
	// KeyBits is the size of a key in bits (OpenSSL 3, PKey).
	KeyBits
	// KeyCurve is the NID of the curve of a provider's key of type "EC" (PKey).
	KeyCurve
	// LegacyCurve is the same of a key without a provider, type 408, and
	// LegacyModulusWords the size of the modulus in 64-bit words of one with
	// type 6 or 912 (PKey).
	LegacyCurve
	LegacyModulusWords

	// ContextKey is the key of a key context (KeyContext, an EVP_PKEY *).
	ContextKey
	// ContextKeyType is the name of the type of key that a context without a key
	// is for (OpenSSL 3, KeyContext).
	ContextKeyType
	// ContextOperationCode is the operation a context was prepared for
	// (KeyContext, EVP_PKEY_OP_*): 2 parameters, 4 key.
	ContextOperationCode

	// DigestContextKey is the key of a digest context (DigestContext, an
	// EVP_PKEY *).
	DigestContextKey
	// DigestContextName and DigestContextNID are name and NID of its digest.
	DigestContextName
	DigestContextNID
	// DigestName and DigestTypeNID are name and NID of a digest (DigestType).
	// The name is NULL for a static digest such as that of EVP_sha1().
	DigestName
	DigestTypeNID

	// Curve is the NID of the curve of an ECKey.
	Curve
	// ModulusWords is the size of the modulus of an RSAKey in 64-bit words.
	ModulusWords
)

// Evidence is how certain a value's chain is, the weakest of its parts.
type Evidence uint8

// The kinds of evidence, from the weakest on. Only values of the last three
// are in Library.Values.
const (
	// None: nothing was decoded.
	None Evidence = iota
	// Once: one function leads to the value, and what is read can be wrong
	// without notice.
	Once
	// Checked: one function leads to the value, and its reader can tell that a
	// value is not one: it has to, with the exact list of values that exist.
	Checked
	// Confirmed: one function leads to the value, and it is at its known
	// distance from another one or another function writes there what is
	// expected.
	Confirmed
	// Twice: two independent functions agree.
	Twice
)

// String returns the evidence as a word for people and for JSON.
func (e Evidence) String() string {
	switch e {
	case Once:
		return "decoded once"
	case Checked:
		return "decoded once, checked when read"
	case Confirmed:
		return "decoded once, confirmed"
	case Twice:
		return "decoded twice"
	}
	return "none"
}

// Value is a value that may be recorded.
type Value struct {
	ID       ValueID
	Base     Base
	Form     Form
	Chain    Chain
	Evidence Evidence
	// Sources names the functions that it was decoded from and what confirmed it.
	Sources []string
}

// Refusal is a site or a value that was looked for and cannot be used.
type Refusal struct {
	// What is the name of the value, of the function or of the layer.
	What string
	// Why is the reason.
	Why string
}

// String returns both.
func (r Refusal) String() string { return r.What + ": " + r.Why }
