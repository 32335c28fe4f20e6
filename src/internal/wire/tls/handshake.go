// SPDX-License-Identifier: Apache-2.0

package tls

// Role is a side of a connection.
type Role uint8

// The roles; the zero value is unknown.
const (
	Client Role = iota + 1
	Server
)

// Result is the outcome of a handshake.
type Result uint8

// The results.
const (
	// Unknown: the end of the handshake was not seen or is not visible.
	Unknown Result = iota
	// Completed: both sides sent their Finished.
	Completed
	// Inferred: with TLS 1.3, the client's first encrypted record has the length of
	// a Finished.
	Inferred
	// Failed: a side aborted the handshake.
	Failed
)

// Answer is yes, no or unknown.
type Answer uint8

// The answers; the zero value is unknown.
const (
	No Answer = iota + 1
	Yes
)

// maxOffered bounds the number of offered groups that are kept.
const maxOffered = 16

// Handshake is the content of the plaintext messages. A number 0 or an empty text is
// unknown.
type Handshake struct {
	// Role is the role of the side at whose socket the bytes were captured.
	Role Role
	// ClientHello and ServerHello report which of these messages were read.
	ClientHello, ServerHello bool
	// ClientRandom identifies the handshake. It must not be recorded.
	ClientRandom [32]byte

	// Version and Suite are the server's choice. The versions of DTLS have different
	// numbers.
	Version, Suite uint16
	// Group is the group of the key exchange, HelloRetryGroup the group that the
	// server requested in a HelloRetryRequest.
	Group, HelloRetryGroup uint16
	// DHBits is the size of a finite-field group with TLS 1.2 or older.
	DHBits int

	// Resumed reports whether the session resumes an earlier one.
	Resumed Answer
	// ExternalPSK reports that the two sides use an external pre-shared key.
	ExternalPSK bool
	// EarlyData reports that the client offered early data.
	EarlyData bool

	// Result is the outcome, as far as it was seen. It is set by Finish.
	Result Result
	// Alert is the description of the first fatal alert in plaintext.
	Alert    uint8
	HasAlert bool

	// ServerSignature and ClientSignature are the signature schemes of TLS 1.2. The
	// signatures are not verified.
	ServerSignature, ClientSignature uint16
	// ServerCertificate and ClientCertificate are the certificates of TLS 1.2 and
	// older.
	ServerCertificate, ClientCertificate Certificate

	offered      [maxOffered]uint16
	offeredCount uint8
}

// OfferedGroups returns the groups with a registered name that the client offered, in
// its order, the first 16 of them.
func (h *Handshake) OfferedGroups() []uint16 { return h.offered[:h.offeredCount] }

// IsSigned reports whether the server signs the key exchange of a suite older than TLS
// 1.3.
func IsSigned(suite uint16) bool {
	switch keyExchangeOf(suite) {
	case keyDHESigned, keyECDHESigned, keySRPSigned:
		return true
	}
	return false
}

// GroupName returns the registered name of a group, "" if it has none.
func GroupName(group uint16) string { return groupName(group) }

// Alerts that close a connection normally (RFC 8446, section 6.1).
const (
	closeNotify  = 0
	userCanceled = 90
)

// alert processes an alert in plaintext.
func (p *Parser) alert(level, description uint8) {
	const warning = 1
	if p.HasAlert || level == warning || description == closeNotify || description == userCanceled {
		return
	}
	p.Alert, p.HasAlert = description, true
}

// Refused processes the alert with which a side ended a handshake without records, as
// in QUIC.
func (p *Parser) Refused(description uint8) {
	const fatal = 2
	p.alert(fatal, description)
}

// alertLength returns the length of the record of an encrypted TLS 1.3 alert: level,
// description, content type and tag; 0 if unknown.
func alertLength(suite uint16) int {
	switch finishedLength(suite) {
	case 0:
		return 0
	case 4 + 32 + 1 + 8:
		return 3 + 8
	}
	return 3 + 16
}

// clientAt returns the index of the client's direction. The role must be known.
func (p *Parser) clientAt() int { return index(p.Role == Server) }

// outcome returns the outcome of the handshake, as far as it was seen.
func (p *Parser) outcome() Result {
	switch {
	case p.HasAlert:
		return Failed
	case !p.ServerHello || p.Role == 0:
		return Unknown
	}
	client, server := &p.directions[p.clientAt()], &p.directions[1-p.clientAt()]
	switch {
	case p.modern() && p.datagrams:
		// A record does not show whether it holds a Finished or an acknowledgement.
		return Unknown
	case p.modern():
		return p.inferred(client, server)
	case client.refused() || server.refused():
		return Failed
	case client.finished() && server.finished() || p.datagrams && p.confirmed():
		return Completed
	}
	return Unknown
}

// confirmed reports whether the server sent its Finished in a full handshake of DTLS 1.2
// or older, which it does after it has verified the client's.
func (p *Parser) confirmed() bool {
	return p.serverFlight && p.directions[1-p.clientAt()].finished()
}

// modern reports whether the version is TLS 1.3 or DTLS 1.3, or a later one.
func (p *Parser) modern() bool { return tlsVersion(p.Version) >= version13 }

// tlsVersion returns the version of TLS that a version of DTLS is based on.
func tlsVersion(version uint16) uint16 {
	switch version {
	case dtls10:
		return version11
	case dtls12:
		return version12
	case dtls13:
		return version13
	}
	return version
}

// finished reports whether a side sent its Finished, with TLS 1.2 or older.
func (d *direction) finished() bool { return d.ended && d.encryptedKind == recordHandshake }

// refused reports whether it sent an encrypted alert instead.
func (d *direction) refused() bool { return d.ended && d.encryptedKind == recordAlert }

// inferred infers the result of TLS 1.3 from the lengths of the first encrypted
// records.
func (p *Parser) inferred(client, server *direction) Result {
	finished, refused := finishedLength(p.Suite), alertLength(p.Suite)
	if finished == 0 {
		return Unknown
	}
	if server.ended && !server.pieces && server.encrypted == refused {
		return Failed
	}
	// A client's early data may have any length. After a client certificate the
	// server sends the last message, which is not visible.
	if p.EarlyData || !client.ended || client.pieces {
		return Unknown
	}
	switch client.encrypted {
	case finished:
		return Inferred
	case refused:
		return Failed
	}
	return Unknown
}

// resumption reports whether a session of TLS 1.2 or older was resumed.
func (p *Parser) resumption() Answer {
	switch {
	case p.serverFlight:
		return No
	case p.sameSession || p.directions[1-p.clientAt()].changed:
		return Yes
	}
	return 0
}

// Finish sets the fields that depend on all messages. Call it once, after the last
// message.
func (p *Parser) Finish() {
	p.Result = p.outcome()
	if p.ServerHello && !p.modern() && p.Role != 0 {
		p.Resumed = p.resumption()
	}
}
