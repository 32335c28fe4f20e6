// SPDX-License-Identifier: Apache-2.0

// Package layout describes what the function source needs to observe libraries without
// probes: the sites of their functions, and the chains of loads that lead from an argument
// of a function to a value, such as the cipher suite of a connection. Package decoder reads
// it from ELF files.
package layout

import (
	"debug/elf"

	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/layout/loads"
)

// Family is the API that a library implements.
type Family uint8

// The families.
const (
	// OpenSSL is libssl, libcrypto, or a program with both linked statically.
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

// Library is the result of decoding a file. It depends only on the file's content, holds
// no resources, and is immutable: it may be cached by build-id and used concurrently.
type Library struct {
	Family Family
	// Machine is the architecture: EM_X86_64 or EM_AARCH64.
	Machine elf.Machine
	// BuildID is the file's GNU build-id, nil without one.
	BuildID []byte
	// Segments are the loadable segments of the file.
	Segments []capture.Segment
	// Text is the link-time address range of the code: a call comes from outside the
	// library if the return address, minus the load bias, is not in it.
	Text Range
	// Handshakes reports whether the sites and values suffice to record handshakes,
	// PublicKey whether they suffice for public-key operations. If a layer is missing,
	// Refusals has the reason.
	Handshakes, PublicKey bool
	// Static reports that both layers are in one file, most likely a program. Calls
	// from outside the library cannot be identified there, so that no site is
	// External.
	Static bool
	// Sites are the sites, ordered by Addr.
	Sites []Site
	// Values are the values that may be recorded, at most one for each ID.
	Values []Value
	// Refusals lists the sites and values that were looked for but not accepted.
	Refusals []Refusal
}

// Range is a range of link-time addresses that excludes End.
type Range struct{ Start, End uint64 }

// Contains reports whether addr is in the range.
func (r Range) Contains(addr uint64) bool { return addr >= r.Start && addr < r.End }

// Value returns the value with an ID, nil if it was refused or not found.
func (l *Library) Value(id ValueID) *Value {
	for i := range l.Values {
		if l.Values[i].ID == id {
			return &l.Values[i]
		}
	}
	return nil
}

// Argument returns the register that holds an argument at a function's entry, counted from
// zero: System V ABI for x86-64, AAPCS64 for arm64. The result is NoRegister from the
// seventh argument on.
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

// Role is the meaning of a hit.
type Role uint8

// The roles. The object of the roles up to ConnectionFree is the connection, SSL * or
// gnutls_session_t.
const (
	// HandshakeServer and HandshakeClient: a call that begins or continues a handshake.
	// Param Object is the connection.
	HandshakeServer Role = 1 + iota
	HandshakeClient
	// Handshake is the same for a function that serves both sides.
	Handshake
	// HandshakeEnd: the innermost such call on this stack is about to return, whether or
	// not the handshake is complete. The connection is not a parameter: it belongs to the
	// call with the nearest higher stack pointer, less than MaxFrame above.
	HandshakeEnd
	// ConnectionFree: the connection is freed.
	ConnectionFree

	// ContextOperation: an operation on a key context (EVP_PKEY_CTX *), Param Object.
	// A hit with a NULL Param Output is ignored.
	ContextOperation
	// DigestOperation: an operation on a digest context (EVP_MD_CTX *), Param Object,
	// which may be the inner part of a DigestOneShot on the same context. A hit with a
	// NULL Param Output is ignored.
	DigestOperation
	// DigestOneShot is the same in one call, which in most versions calls a
	// DigestOperation.
	DigestOneShot
	// ChainVerification: a certificate chain is verified. Param Object is the
	// X509_STORE_CTX *; no value leads from it.
	ChainVerification
	// KeyOperation: an operation by a low-level function; its Param of kind Key* is the
	// key. Its site is External.
	KeyOperation
	// SetDigest: the digest Param Digest (EVP_MD *) is set on the key context Param
	// Object, if Param Command is absent or 1.
	SetDigest
	// ResetContext: the key context Param Object is prepared for another operation,
	// which discards its digest.
	ResetContext
	// SetGroup: the name of a group, Param Text, is set on the key context Param
	// Object. SetCurve sets its NID, Param NID; SetBits sets the size of a key, Param
	// Bits.
	SetGroup
	SetCurve
	SetBits
	// SessionOperation: an operation of GnuTLS with a key. Param Algorithm is the number of
	// the key's algorithm (gnutls_pk_algorithm_t). Param Object, if any, points to the
	// key's parameters (KeyParameters), Param Data to the signed data and Param Signing to
	// the parameters of the signature (SignatureParameters).
	SessionOperation
	// SetSignature: the algorithm is set for the verification of Param Signature that
	// follows on the same stack. Its number (gnutls_sign_algorithm_t) is Param Algorithm
	// or, without that, the value SignatureNumber of Param Object (SignatureEntry).
	SetSignature
)

// MaxFrame bounds the distance in bytes between the stack pointer at a HandshakeEnd and at
// the beginning of that call.
const MaxFrame = 4096

// Operation is the public-key operation of a hit.
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

// Param is a parameter of a site's function.
type Param struct {
	Kind ParamKind
	// Index is the index of the argument, from zero.
	Index uint8
	// Register holds the parameter at the site.
	Register capture.Register
}

// ParamKind is the meaning of a parameter.
type ParamKind uint8

// The meanings of parameters.
const (
	// Object is the object of the operation, see Role.
	Object ParamKind = 1 + iota
	// Output is the buffer for a result. If it is NULL, the function only returns the
	// size of the result.
	Output
	// Digest is an EVP_MD *.
	Digest
	// DigestNID is the NID of a digest (int).
	DigestNID
	// InputLength is the size of the signed or verified data in bytes (size_t or int:
	// the low 32 bits are valid).
	InputLength
	// Key* are keys of the low-level interfaces.
	KeyRSA
	KeyEC
	KeyDSA
	KeyDH
	// Bits is the size of a key (int), NID the NID of a curve (int), Text a string.
	Bits
	NID
	Text
	// Command is the command of a function with several operations (int).
	Command
	// Result is the return value of the function (int), at a HandshakeEnd.
	Result
	// Algorithm is the number of an algorithm in an enumeration of GnuTLS.
	Algorithm
	// Data and Signature are signed data and a signature (gnutls_datum_t *).
	Data
	Signature
	// Signing are the parameters of a signature.
	Signing
)

// Site is an instruction, with the meaning of its execution.
type Site struct {
	Role Role
	// Operation is the public-key operation of the hit, if any.
	Operation Operation
	// Function is the name of the function, or its name in the library's source if it
	// has no symbol.
	Function string
	// Entry is the link-time address of the function, Addr of the site.
	Entry, Addr uint64
	// Offset is the file offset of the site, as uprobes require.
	Offset uint64
	// StackDelta is the number of bytes by which the stack pointer is lower at the site
	// than at the function's entry. On x86-64 the return address is at the stack
	// pointer plus StackDelta. On arm64 it is in the link register, with or without an
	// authentication code in the bits that do not belong to the address.
	StackDelta uint32
	// Instruction is the instruction at the site, such as "push". Emulated reports that
	// the kernel emulates it on a hit. Otherwise the kernel single-steps it, which takes
	// 15 µs instead of 0.4 µs on virtual machines.
	Instruction string
	Emulated    bool
	// External: only calls from outside Library.Text count.
	External bool
	// Params are the parameters that Role uses.
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

// Limits of chains, for the arrays of BPF programs.
const (
	// MaxLoads is the maximum number of loads of a chain.
	MaxLoads = loads.Max
	// MaxOffset is the largest offset of a load.
	MaxOffset = loads.MaxOffset
)

// Chain leads from an object to a value by loads: the address is the object's plus the
// first offset; each load except the last reads the next address there, to which the next
// offset is added. The last load reads Width bytes, in the byte order of the machine. If
// a pointer is NULL, there is no value.
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

// Base is the kind of object at which a chain begins.
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
	// KeyParameters are the parameters of a key of GnuTLS (gnutls_pk_params_st *),
	// SignatureParameters the parameters of a signature (gnutls_x509_spki_st *). SignatureEntry is
	// the description of a signature algorithm (gnutls_sign_entry_st *).
	KeyParameters
	SignatureParameters
	SignatureEntry
)

// Form is the format of the value at the end of a chain.
type Form uint8

// The forms.
const (
	// Number is an unsigned number of Width bytes.
	Number Form = iota
	// String is the address of a NUL-terminated string.
	String
	// Pointer is the address of an object.
	Pointer
	// Bytes are bytes of the object itself: the chain reads the first Width bytes.
	Bytes
)

// ValueID identifies a value.
type ValueID uint8

// The values of a Connection. OpenSSL's numbers are IANA's unless stated otherwise.
const (
	// Version is the protocol version, such as 0x304. A wrong one can always be
	// detected. GnuTLS: its own enumeration gnutls_protocol_t.
	Version ValueID = 1 + iota
	// Server is 1 on a server, else 0. GnuTLS: 1 on a server, 2 on a client.
	Server
	// CipherSuite is the cipher suite. GnuTLS: the two bytes of IANA's number in network
	// byte order, that is, swapped.
	CipherSuite
	// Group is the group that the connection negotiated (s3.group_id): IANA's number,
	// zero before negotiation. GnuTLS: its own enumeration.
	Group
	// SessionGroup is the group of the session's handshake (OpenSSL 3), for TLS 1.2 and
	// older. After a full TLS 1.3 handshake it must be equal to Group.
	SessionGroup
	// KeyExchanged is 1 if Group belongs to this handshake (s3.did_kex), 0 before.
	KeyExchanged
	// PeerScheme and OwnScheme are the signature schemes of the peer's and the own
	// signature. GnuTLS has ServerScheme and ClientScheme instead. A static RSA key
	// exchange also leaves a scheme: it is meaningless without an operation.
	PeerScheme
	OwnScheme
	// ServerScheme and ClientScheme are the schemes of the server's and the client's
	// signature, in GnuTLS's enumeration gnutls_sign_algorithm_t.
	ServerScheme
	ClientScheme
	// Resumed is nonzero if a session was resumed or an external PSK was used.
	Resumed
	// HandState is the state of the handshake: 0 before the first, 1 (TLS_ST_OK) when
	// complete.
	HandState
	// FlowState is 1 (MSG_FLOW_ERROR) when the handshake failed.
	FlowState
	// VerifyResult is the verification result of the peer's certificate chain, X509_V_*.
	VerifyResult
	// ServerRandom is the server's random, 32 bytes.
	ServerRandom
	// Completed is nonzero once the first handshake is complete (GnuTLS).
	Completed

	// KeyType is the name of a key's type, such as "RSA" (OpenSSL 3, PKey). It is NULL
	// for a key that was never passed to a provider.
	KeyType
	// KeyID is the NID of a key's type: 6 RSA, 408 EC (PKey). Provider keys have the
	// type's NID or -1.
	KeyID
	// KeyBits is the size of a key in bits (OpenSSL 3, PKey).
	KeyBits
	// KeyCurve is the NID of the curve of a provider key of type "EC" (PKey).
	KeyCurve
	// LegacyCurve is the NID of the curve of a key without a provider, type 408;
	// LegacyModulusWords is the size of the modulus in 64-bit words of such a key of
	// type 6 or 912 (PKey).
	LegacyCurve
	LegacyModulusWords

	// ContextKey is the key of a key context (KeyContext, an EVP_PKEY *).
	ContextKey
	// ContextKeyType is the name of the key type of a context without a key (OpenSSL 3,
	// KeyContext).
	ContextKeyType
	// ContextOperationCode is the operation that a context was prepared for (KeyContext,
	// EVP_PKEY_OP_*): 2 parameters, 4 key.
	ContextOperationCode

	// DigestContextKey is the key of a digest context (DigestContext, an EVP_PKEY *).
	DigestContextKey
	// DigestContextName and DigestContextNID are the name and the NID of its digest.
	DigestContextName
	DigestContextNID
	// DigestName and DigestTypeNID are the name and the NID of a digest (DigestType).
	// The name is NULL for a static digest such as the result of EVP_sha1().
	DigestName
	DigestTypeNID

	// Curve is the NID of the curve of an ECKey.
	Curve
	// ModulusWords is the size of the modulus of an RSAKey in 64-bit words.
	ModulusWords

	// ParametersCurve is the curve of an elliptic-curve key (KeyParameters,
	// gnutls_ecc_curve_t), ParametersModulusWords the size of the modulus of an RSA key in
	// 64-bit words (KeyParameters).
	ParametersCurve
	ParametersModulusWords
	// PSSDigest and DSADigest are the digests of an RSA-PSS signature and of an ECDSA or
	// DSA signature that is created (SignatureParameters, gnutls_digest_algorithm_t).
	PSSDigest
	DSADigest
	// SignatureNumber is the number of a signature algorithm (SignatureEntry,
	// gnutls_sign_algorithm_t).
	SignatureNumber
)

// Evidence is the certainty of a value's chain: a chain is as certain as its weakest part.
type Evidence uint8

// The kinds of evidence, weakest first. Library.Values only contains values of the last
// three.
const (
	// None: nothing was decoded.
	None Evidence = iota
	// Once: one function leads to the value, and a wrong value would not be detected.
	Once
	// Checked: one function leads to the value, and its reader can detect a wrong value:
	// it must check against the exact list of valid values.
	Checked
	// Confirmed: one function leads to the value, and either it is at a known distance
	// from another value, or another function writes an expected value there.
	Confirmed
	// Twice: two independent functions agree.
	Twice
)

// String returns the evidence as a word for messages and JSON.
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
	// Sources names the functions that the value was decoded from, and its confirmations.
	Sources []string
}

// Refusal is a site, a value or a layer that was looked for but not accepted.
type Refusal struct {
	// Subject names the value, the function or the layer.
	Subject string
	// Reason explains the refusal.
	Reason string
}

// String returns the name and the reason.
func (r Refusal) String() string { return r.Subject + ": " + r.Reason }
