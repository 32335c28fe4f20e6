// SPDX-License-Identifier: Apache-2.0

package frame

import (
	"crypto/sha256"
	"hash"
)

// Genesis returns the hash before the first entry of a store.
func Genesis(store [16]byte) Hash { return sha256.Sum256(store[:]) }

// LenFunc returns the length of the entry that b begins with.
type LenFunc func(b []byte) (int, error)

// Chain computes the hash chain. The zero value is not usable; a Chain is for
// one goroutine.
type Chain struct {
	digest hash.Hash
	sum    Hash
}

// NewChain returns a chain; it has to be Set before use.
func NewChain() *Chain { return &Chain{digest: sha256.New()} }

// Set puts the chain behind the entry whose hash is h.
func (c *Chain) Set(h Hash) { c.sum = h }

// Sum returns the hash of the last entry.
func (c *Chain) Sum() Hash { return c.sum }

// Add advances the chain over a sequence of entries and returns their number.
// On error the chain is where it was.
func (c *Chain) Add(entries []byte, length LenFunc) (count int, err error) {
	before := c.sum
	for len(entries) > 0 {
		n, err := length(entries)
		if err != nil {
			c.sum = before
			return count, corrupt(KindEntries, "entry %d of the chunk: %v", count, err)
		}
		if n <= 0 || n > len(entries) {
			c.sum = before
			return count, corrupt(KindEntries, "entry %d of the chunk has length %d of %d", count, n, len(entries))
		}
		c.digest.Reset()
		c.digest.Write(c.sum[:])
		c.digest.Write(entries[:n])
		c.digest.Sum(c.sum[:0])
		entries = entries[n:]
		count++
	}
	return count, nil
}
