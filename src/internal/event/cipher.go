// SPDX-License-Identifier: Apache-2.0

package event

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
)

// NoParent is the parent that a probe passes for none: all ones.
const NoParent = ^uint64(0)

// Cipher encrypts context ids, so that the log reveals neither process ids nor addresses, and ids
// do not link two runs of the agent. A single block of AES-128 (FIPS 197) is a permutation, so
// different contexts have different ids. It is for use by one goroutine.
type Cipher struct {
	block cipher.Block
	// scratch avoids an allocation for every id.
	scratch ContextID
}

// NewCipher returns a cipher with a random key of 16 bytes.
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

// ContextID returns the id of a context that a task used. pidTGID is the kernel's value: process
// id in the upper half, thread id in the lower half. No group opens the id of NoParent, so a
// context with this parent is a root.
func (c *Cipher) ContextID(pidTGID, context uint64) ContextID {
	binary.LittleEndian.PutUint64(c.scratch[:8], pidTGID)
	binary.LittleEndian.PutUint64(c.scratch[8:], context)
	c.block.Encrypt(c.scratch[:], c.scratch[:])
	return c.scratch
}
