// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"

	"crypto-auditing/src/internal/event"
)

// contexts finds the latest span of an id. It is a hash table with open addressing that
// contains the ids. It is used for each group; a Go map takes twice the time.
type contexts struct {
	slots []slot // the length is a power of two, at most half of them are used
	used  int
	// The seeds prevent logs crafted so that all ids collide.
	seeds [2]uint64
}

type slot struct {
	id   event.ContextID
	span *Span // nil if the slot is free
}

func newContexts() contexts {
	return contexts{slots: make([]slot, 64), seeds: [2]uint64{rand.Uint64(), rand.Uint64()}}
}

// home returns the index of the preferred slot of an id.
func (c *contexts) home(id *event.ContextID) int {
	high, low := bits.Mul64(binary.LittleEndian.Uint64(id[:8])^c.seeds[0], binary.LittleEndian.Uint64(id[8:])^c.seeds[1])
	return int((high ^ low) & uint64(len(c.slots)-1))
}

// find returns the index of the slot of an id, or of the free slot for it.
func (c *contexts) find(id *event.ContextID) int {
	i := c.home(id)
	for c.slots[i].span != nil && c.slots[i].id != *id {
		i = (i + 1) & (len(c.slots) - 1)
	}
	return i
}

// get returns the latest span of an id, nil if there is none.
func (c *contexts) get(id *event.ContextID) *Span { return c.slots[c.find(id)].span }

// set makes a span the latest one of its id.
func (c *contexts) set(s *Span) {
	i := c.find(&s.Context)
	if c.slots[i].span == nil {
		if c.used++; 2*c.used > len(c.slots) {
			c.grow()
			i = c.find(&s.Context)
		}
	}
	c.slots[i] = slot{s.Context, s}
}

func (c *contexts) grow() {
	old := c.slots
	c.slots = make([]slot, 2*len(old))
	for i := range old {
		if old[i].span != nil {
			c.slots[c.find(&old[i].id)] = old[i]
		}
	}
}

// remove removes a span if it is the latest one of its id.
func (c *contexts) remove(s *Span) {
	i := c.find(&s.Context)
	if c.slots[i].span != s {
		return
	}
	c.used--
	// Move up the following slots that are not between their home and the hole.
	mask := len(c.slots) - 1
	for j := (i + 1) & mask; c.slots[j].span != nil; j = (j + 1) & mask {
		if home := c.home(&c.slots[j].id); (j-home)&mask >= (j-i)&mask {
			c.slots[i] = c.slots[j]
			i = j
		}
	}
	c.slots[i] = slot{}
}
