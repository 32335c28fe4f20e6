// SPDX-License-Identifier: Apache-2.0

// Package dtls reads the plaintext records of DTLS (RFC 6347; version 1.3: RFC 9147) and
// assembles the handshake messages in them. Datagrams may be lost, repeated and
// reordered, and messages split into fragments in any way. It trusts no length and
// keeps at most 64 KiB of messages per direction.
package dtls

import "crypto-auditing/src/internal/wire/octet"

// Content types (RFC 8446, section 5.1).
const (
	recordAlert     = 21
	recordHandshake = 22
)

const (
	// versionMajor is the first byte of all versions.
	versionMajor = 0xfe
	// maxPlaintext is the longest body of a record in plaintext.
	maxPlaintext = 1 << 14
)

// Record is a record with the fields of its header. Body aliases the datagram.
type Record struct {
	kind uint8
	// epoch counts the changes of keys: records of epoch 0 are in plaintext.
	epoch uint16
	body  []byte
}

// Next takes the next record from a datagram. ok is false if there is no further record with
// a known end, as after the first encrypted record of version 1.3.
func Next(datagram *[]byte) (r Record, ok bool) {
	o := octet.From(*datagram)
	*datagram = nil
	r.kind = o.Uint8()
	version := o.Uint16()
	r.epoch = o.Uint16()
	o.Bytes(6) // number
	body := o.Vector16()
	if o.Bad() || version>>8 != versionMajor {
		return r, false
	}
	*datagram = o.Rest()
	r.body = body.Rest()
	return r, true
}

// Alert returns the alert in a record, if that holds one in plaintext.
func (r *Record) Alert() (level, description uint8, ok bool) {
	if r.kind != recordAlert || r.epoch != 0 || len(r.body) != 2 {
		return 0, 0, false
	}
	return r.body[0], r.body[1], true
}

// Finished reports whether a record holds an encrypted handshake message of the first
// epoch with keys. Up to version 1.2, the first of these is a Finished.
func (r *Record) Finished() bool { return r.kind == recordHandshake && r.epoch == 1 }

// Fragment is a part of a handshake message.
type Fragment struct {
	// Kind is the type of the message, Length the length of its body, Number its number
	// in its direction.
	Kind   uint8
	Length int
	Number uint16
	// Offset is the offset of Data in the body.
	Offset int
	Data   []byte
}

// Handshake types (RFC 8446, section 4).
const (
	clientHello = 1
	serverHello = 2
	helloVerify = 3 // (RFC 6347, section 4.3.2)
)

// randomAt and randomEnd are the offsets of the random value in a hello.
const randomAt, randomEnd = 2, 34

// IsHello reports whether the message is a ClientHello or a ServerHello.
func (f *Fragment) IsHello() bool { return f.Kind == clientHello || f.Kind == serverHello }

// Random returns the random value of a hello, nil if the fragment does not contain it.
func (f *Fragment) Random() []byte {
	if !f.IsHello() || f.Offset != 0 || len(f.Data) < randomEnd {
		return nil
	}
	return f.Data[randomAt:randomEnd]
}

// Fragments passes the fragments in a record to each, if they are in plaintext, up to
// the first that is invalid.
func (r *Record) Fragments(each func(*Fragment)) {
	if r.kind != recordHandshake || r.epoch != 0 || len(r.body) > maxPlaintext {
		return
	}
	for o := octet.From(r.body); o.Len() > 0; {
		f := Fragment{Kind: o.Uint8(), Length: o.Uint24(), Number: o.Uint16(), Offset: o.Uint24()}
		data := o.Vector24()
		if f.Data = data.Rest(); o.Bad() || f.Offset+len(f.Data) > f.Length {
			return
		}
		each(&f)
	}
}
