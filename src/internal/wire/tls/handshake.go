// SPDX-License-Identifier: Apache-2.0

package tls

// Role is a side of a connection.
type Role uint8

// The roles; the zero value is not known.
const (
	Client Role = iota + 1
	Server
)

// Result is how a handshake ended.
type Result uint8

// The results.
const (
	// Unknown is a handshake whose end was not seen or does not show.
	Unknown Result = iota
	// Completed is one in which both sides sent their Finished.
	Completed
	// Inferred is one of TLS 1.3 in which the client's first encrypted record
	// has the length of a Finished.
	Inferred
	// Failed is one in which a side refused to go on.
	Failed
)

// Answer is a fact that may be unknown.
type Answer uint8

// The answers; the zero value is not known.
const (
	No Answer = iota + 1
	Yes
)

// maxOffered bounds how many of the offered groups are kept.
const maxOffered = 16

// Handshake is what the messages in plaintext say. A number that is 0 and a
// text that is empty are not known.
type Handshake struct {
	// Role is the role of the side at whose socket the bytes were seen.
	Role Role
	// ClientHello and ServerHello say which of them were read.
	ClientHello, ServerHello bool
	// ClientRandom identifies the handshake. It is not to be recorded.
	ClientRandom [32]byte

	// Version and Suite are what the server chose.
	Version, Suite uint16
	// Group is the group of the key exchange, HelloRetryGroup the one that
	// the server asked for in a HelloRetryRequest.
	Group, HelloRetryGroup uint16
	// DHBits is the size of a finite-field group of TLS 1.2 or older.
	DHBits int

	// Resumed says whether the session continues an earlier one.
	Resumed Answer
	// ExternalPSK says that the two sides use a key that they share from
	// elsewhere.
	ExternalPSK bool
	// EarlyData says that the client offered early data.
	EarlyData bool

	// Result is how the handshake ended, as far as it was seen. It is set by
	// Finish.
	Result Result
	// Alert is the description of the first fatal alert in plaintext.
	Alert    uint8
	HasAlert bool

	// ServerSignature and ClientSignature are the signature schemes of TLS 1.2.
	// They are presented, not proven to be right.
	ServerSignature, ClientSignature uint16
	// ServerCertificate and ClientCertificate are the certificates of TLS 1.2
	// and older.
	ServerCertificate, ClientCertificate Certificate

	offered      [maxOffered]uint16
	offeredCount uint8
}

// OfferedGroups returns those of the groups that have a registered name that the client
// offered, in its order, the first 16.
func (h *Handshake) OfferedGroups() []uint16 { return h.offered[:h.offeredCount] }

// IsSigned reports whether the server signs the key exchange of a suite before TLS
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

// closing alerts end a connection in good order (RFC 8446, section 6.1).
const (
	closeNotify  = 0
	userCanceled = 90
)

// alert takes an alert in plaintext.
func (p *Parser) alert(level, description uint8) {
	const warning = 1
	if p.HasAlert || level == warning || description == closeNotify || description == userCanceled {
		return
	}
	p.Alert, p.HasAlert = description, true
}

// Refused takes the alert with which a side ended a handshake without records, as in
// QUIC.
func (p *Parser) Refused(description uint8) {
	const fatal = 2
	p.alert(fatal, description)
}

// alertLength returns the length of the record that holds an encrypted alert of
// TLS 1.3: level, description, content type and tag; 0 if it is unknown.
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

// outcome returns how the handshake ended, as far as it was seen.
func (p *Parser) outcome() Result {
	switch {
	case p.HasAlert:
		return Failed
	case !p.ServerHello || p.Role == 0:
		return Unknown
	}
	client, server := &p.directions[p.clientAt()], &p.directions[1-p.clientAt()]
	if p.Version >= version13 {
		return p.inferred(client, server)
	}
	switch {
	case client.refused() || server.refused():
		return Failed
	case client.finished() && server.finished():
		return Completed
	}
	return Unknown
}

// finished reports whether a side of TLS 1.2 or older sent its Finished.
func (d *direction) finished() bool { return d.ended && d.encryptedKind == recordHandshake }

// refused reports whether it sent an encrypted alert in its place.
func (d *direction) refused() bool { return d.ended && d.encryptedKind == recordAlert }

// inferred returns the result of TLS 1.3, which is encrypted, from the lengths
// of the first encrypted records.
func (p *Parser) inferred(client, server *direction) Result {
	finished, refused := finishedLength(p.Suite), alertLength(p.Suite)
	if finished == 0 {
		return Unknown
	}
	if server.ended && !server.pieces && server.encrypted == refused {
		return Failed
	}
	// A client's early data may have any length. After a client certificate
	// the server has the last word, which is not seen.
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

// resumption returns whether a session of TLS 1.2 or older was resumed.
func (p *Parser) resumption() Answer {
	switch {
	case p.serverFlight:
		return No
	case p.sameSession || p.directions[1-p.clientAt()].changed:
		return Yes
	}
	return 0
}

// Finish settles what depends on all messages. It is called once, after the last
// of them.
func (p *Parser) Finish() {
	p.Result = p.outcome()
	if p.ServerHello && p.Version < version13 && p.Role != 0 {
		p.Resumed = p.resumption()
	}
}
