// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The layout follows the D-Bus specification, "Message Format".

const (
	// fixedHeader is the length in bytes of the fixed part of a header,
	// including the length of the array of fields.
	fixedHeader = 16
	// maxFields bounds the header fields that are read of an oversized message,
	// to find its sender.
	maxFields = 16 << 10
	// longest exceeds the largest message (128 MiB) after the bus has added the
	// sender.
	longest = 1 << 28

	serialAt    = 8
	typeCall    = 1
	flagNoReply = 1
	fieldSender = 7
)

// Header is the decoded header of a message.
type Header struct {
	Serial uint32
	// Sender is the unique name of the connection that sent it.
	Sender string

	order binary.ByteOrder
	kind  byte
	flags byte
	// length is the length of the body, fields that of the array of fields.
	length, fields uint32
}

// parseFixed decodes the fixed part of a header.
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

// body returns the offset of the body.
func (h *Header) body() uint64 { return fixedHeader + (uint64(h.fields)+7)&^7 }

// size returns the length of the message in bytes.
func (h *Header) size() uint64 { return h.body() + uint64(h.length) }

var errHeader = errors.New("cannot read from the bus: the fields of a header are malformed")

// parseFields decodes the array of fields, which padding follows. All fields have
// basic types.
func (h *Header) parseFields(b []byte) error {
	if uint64(h.fields) > uint64(len(b)) {
		return errHeader
	}
	b = b[:h.fields]
	for at := 0; at < len(b); {
		// A struct of a byte and a variant with a one-letter signature.
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
