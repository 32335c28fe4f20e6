// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
)

// Cursor is a position in a store: behind the entry with its sequence
// number, or with Sequence 0 before the first entry. It stays valid across
// rotation, sealing, restart and removal.
type Cursor struct {
	Store    [16]byte
	Sequence uint64
}

// The words for the ends of a store, accepted by Reader.Resolve.
const (
	OldestWord = "oldest"
	NewestWord = "newest"
)

// ErrInvalidCursor says that a text is no cursor.
var ErrInvalidCursor = errors.New("invalid cursor")

// ErrForeignCursor says that a cursor is one of another store.
var ErrForeignCursor = errors.New("cursor of another store")

const cursorLength = 32 + 1 + 16

// String returns the text of the cursor.
func (c Cursor) String() string {
	return fmt.Sprintf("%s-%016x", hex.EncodeToString(c.Store[:]), c.Sequence)
}

// ParseCursor reads the text of a cursor; the error is ErrInvalidCursor.
func ParseCursor(text string) (Cursor, error) {
	var c Cursor
	if len(text) != cursorLength || text[32] != '-' {
		return c, fmt.Errorf("%w: %q is not of the form STORE-SEQUENCE", ErrInvalidCursor, clip(text))
	}
	if _, err := hex.Decode(c.Store[:], []byte(text[:32])); err != nil {
		return Cursor{}, fmt.Errorf("%w: %q: %w", ErrInvalidCursor, text, err)
	}
	sequence, err := strconv.ParseUint(text[33:], 16, 63)
	if err != nil {
		return Cursor{}, fmt.Errorf("%w: %q: %w", ErrInvalidCursor, text, err)
	}
	c.Sequence = sequence
	if c.String() != text {
		return Cursor{}, fmt.Errorf("%w: %q is not in lower case", ErrInvalidCursor, text)
	}
	return c, nil
}

// clip keeps an error readable whatever was passed as a cursor.
func clip(text string) string {
	if len(text) > 2*cursorLength {
		return text[:2*cursorLength] + "…"
	}
	return text
}
