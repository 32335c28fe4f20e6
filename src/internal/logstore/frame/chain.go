// SPDX-License-Identifier: Apache-2.0

package frame

import "crypto/sha256"

// Genesis returns the hash before the first entry of a store.
func Genesis(store [16]byte) Hash { return sha256.Sum256(store[:]) }

// LenFunc returns the length of the first entry in b.
type LenFunc func(b []byte) (int, error)

// Chain computes the hash chain. The zero value is not usable. A Chain is for use by one
// goroutine.
type Chain struct {
	sum    Hash
	linked []byte
}

// NewChain returns a chain. Call Set before using it.
func NewChain() *Chain { return &Chain{} }

// Set sets the position of the chain after the entry whose hash is h.
func (c *Chain) Set(h Hash) { c.sum = h }

// Sum returns the hash of the last entry.
func (c *Chain) Sum() Hash { return c.sum }

// Add advances the chain over a sequence of entries with the given ends. On error the chain
// does not change.
func (c *Chain) Add(entries []byte, ends []uint32) error {
	before, at := c.sum, uint32(0)
	for i, end := range ends {
		if end <= at || int(end) > len(entries) {
			c.sum = before
			return corrupt(KindEntries, "entry %d of the chunk ends at %d of %d, after %d", i, end, len(entries), at)
		}
		c.link(entries[at:end])
		at = end
	}
	if int(at) != len(entries) || len(ends) == 0 {
		c.sum = before
		return corrupt(KindEntries, "%d entries end at %d of %d", len(ends), at, len(entries))
	}
	return nil
}

// link advances the chain over one entry.
func (c *Chain) link(entry []byte) {
	// One call with contiguous bytes is faster than several writes to a hash.
	c.linked = append(append(c.linked[:0], c.sum[:]...), entry...)
	c.sum = sha256.Sum256(c.linked)
}

// AppendEnds appends the end offset of each entry to dst.
func AppendEnds(dst []uint32, entries []byte, length LenFunc) ([]uint32, error) {
	for at := 0; at < len(entries); {
		n, err := length(entries[at:])
		if err != nil {
			return dst, corrupt(KindEntries, "entry %d of the chunk: %v", len(dst), err)
		}
		if n <= 0 || n > len(entries)-at {
			return dst, corrupt(KindEntries, "entry %d of the chunk has length %d of %d", len(dst), n, len(entries)-at)
		}
		at += n
		dst = append(dst, uint32(at))
	}
	return dst, nil
}
