// SPDX-License-Identifier: Apache-2.0

// Package cursor represents positions in a store.
package cursor

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
)

// Cursor is a position in a store: just after the entry with the sequence number, or before
// the first entry if Sequence is 0. It stays valid across rotation, sealing, restart and
// removal.
type Cursor struct {
	Store    [16]byte
	Sequence uint64
}

// The words for the ends of a store.
const (
	Oldest = "oldest"
	Newest = "newest"
)

// ErrInvalid reports that a text is not a cursor.
var ErrInvalid = errors.New("invalid cursor")

// ErrForeign reports that a cursor belongs to another store.
var ErrForeign = errors.New("cursor of another store")

// Length is the length of the text of a cursor.
const Length = 32 + 1 + 16

// String returns the text of the cursor.
func (c Cursor) String() string {
	text := hex.AppendEncode(make([]byte, 0, Length), c.Store[:])
	text = append(text, '-')
	return string(hex.AppendEncode(text, binary.BigEndian.AppendUint64(nil, c.Sequence)))
}

// Parse parses the text of a cursor. The error is ErrInvalid.
func Parse(text string) (Cursor, error) {
	var c Cursor
	if len(text) != Length || text[32] != '-' {
		return c, fmt.Errorf("%w: %q is not of the form STORE-SEQUENCE", ErrInvalid, clip(text))
	}
	if _, err := hex.Decode(c.Store[:], []byte(text[:32])); err != nil {
		return Cursor{}, fmt.Errorf("%w: %q: %w", ErrInvalid, text, err)
	}
	sequence, err := strconv.ParseUint(text[33:], 16, 63)
	if err != nil {
		return Cursor{}, fmt.Errorf("%w: %q: %w", ErrInvalid, text, err)
	}
	c.Sequence = sequence
	if c.String() != text {
		return Cursor{}, fmt.Errorf("%w: %q is not in lower case", ErrInvalid, text)
	}
	return c, nil
}

// clip limits the length of an invalid cursor in an error.
func clip(text string) string {
	if len(text) > 2*Length {
		return text[:2*Length] + "…"
	}
	return text
}
