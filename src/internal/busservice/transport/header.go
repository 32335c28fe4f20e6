// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The layout is that of the D-Bus specification, "Message Format".

const (
	// fixedHeader is what each message begins with, in bytes, with the length of
	// the array of fields.
	fixedHeader = 16
	// maxFields bounds the fields of a message that is too long, which are read
	// for its sender.
	maxFields = 16 << 10
	// longest is more than a message of the largest size (128 MiB) has after the bus
	// has added its sender.
	longest = 1 << 28

	serialAt    = 8
	typeCall    = 1
	flagNoReply = 1
	fieldSender = 7
)

// Header is what is known of a message before its body.
type Header struct {
	Serial uint32
	// Sender is the unique name of the connection that sent it.
	Sender string

	order binary.ByteOrder
	kind  byte
	flags byte
	// length is that of the body, fields that of the array of fields.
	length, fields uint32
}

// parseFixed reads the first bytes of a message.
func parseFixed(b []byte) (*Header, error) {
	h := &Header{kind: b[1], flags: b[2]}
	switch b[0] {
	case 'l':
		h.order = binary.LittleEndian
	case 'B':
		h.order = binary.BigEndian
	default:
		return nil, fmt.Errorf("cannot read from the bus: a message begins with byte %#x", b[0])
	}
	h.length, h.Serial, h.fields = h.order.Uint32(b[4:]), h.order.Uint32(b[serialAt:]), h.order.Uint32(b[12:])
	if h.size() > longest {
		return nil, fmt.Errorf("cannot read from the bus: a message of %d bytes", h.size())
	}
	return h, nil
}

// body is where the body begins.
func (h *Header) body() uint64 { return fixedHeader + (uint64(h.fields)+7)&^7 }

// size is how long the message is, in bytes.
func (h *Header) size() uint64 { return h.body() + uint64(h.length) }

var errHeader = errors.New("cannot read from the bus: the fields of a header are malformed")

// parseFields reads the array of fields, which is followed by padding. All are
// basic types.
func (h *Header) parseFields(b []byte) error {
	if uint64(h.fields) > uint64(len(b)) {
		return errHeader
	}
	b = b[:h.fields]
	for at := 0; at < len(b); {
		// A struct of a byte and a variant, whose signature is a letter.
		if at = (at + 7) &^ 7; at >= len(b) {
			break
		}
		if len(b)-at < 4 || b[at+1] != 1 || b[at+3] != 0 {
			return errHeader
		}
		field, kind := b[at], b[at+2]
		at += 4
		switch kind {
		case 'u':
			if len(b)-at < 4 {
				return errHeader
			}
			at += 4
		case 'g':
			if len(b)-at < 1 || len(b)-at < int(b[at])+2 {
				return errHeader
			}
			at += int(b[at]) + 2
		case 's', 'o':
			if len(b)-at < 4 {
				return errHeader
			}
			n := uint64(h.order.Uint32(b[at:]))
			if uint64(len(b)-at) < n+5 {
				return errHeader
			}
			if field == fieldSender {
				h.Sender = string(b[at+4 : at+4+int(n)])
			}
			at += int(n) + 5
		default:
			return errHeader
		}
	}
	return nil
}
