// SPDX-License-Identifier: Apache-2.0

package event

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
)

// NoParent is the parent that a probe gives where there is none: all ones.
const NoParent = ^uint64(0)

// Cipher makes context ids, so that the log shows neither a process id nor an
// address and two runs of the agent cannot be linked by them. A single block
// of AES-128 (FIPS 197) is a permutation: different contexts have different
// ids. It belongs to one goroutine.
type Cipher struct {
	block cipher.Block
	// scratch spares an allocation for every id.
	scratch ContextID
}

// NewCipher returns a cipher under a random key of 16 bytes.
func NewCipher(key []byte) (*Cipher, error) {
	if len(key) != 16 {
		return nil, fmt.Errorf("cannot use context key of %d bytes: 16 are needed", len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("cannot use context key: %w", err)
	}
	return &Cipher{block: block}, nil
}

// ContextID returns the id of a context that a task used. pidTGID is the
// kernel's: process id in the upper half, thread id in the lower. The id of
// NoParent is an id that no group opens, so a context with it is a root.
func (c *Cipher) ContextID(pidTGID, context uint64) ContextID {
	binary.LittleEndian.PutUint64(c.scratch[:8], pidTGID)
	binary.LittleEndian.PutUint64(c.scratch[8:], context)
	c.block.Encrypt(c.scratch[:], c.scratch[:])
	return c.scratch
}
