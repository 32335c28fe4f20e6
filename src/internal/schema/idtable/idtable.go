// SPDX-License-Identifier: Apache-2.0

// Package idtable finds values by the id of a context. It is used for each group of a log: a Go map
// takes twice the time.
package idtable

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"

	"crypto-auditing/src/internal/event"
)

// Table maps ids to values: a hash table with open addressing that contains the ids. It is for use
// by one goroutine.
type Table[V any] struct {
	slots []slot[V] // the length is a power of two, at most half of them are used
	used  int
	// The seeds prevent logs crafted so that all ids collide.
	seeds [2]uint64
}

type slot[V any] struct {
	id    event.ContextID
	value *V // nil if the slot is free
}

// New returns an empty table.
func New[V any]() Table[V] {
	return Table[V]{slots: make([]slot[V], 64), seeds: [2]uint64{rand.Uint64(), rand.Uint64()}}
}

// home returns the index of the preferred slot of an id.
func (c *Table[V]) home(id *event.ContextID) int {
	high, low := bits.Mul64(binary.LittleEndian.Uint64(id[:8])^c.seeds[0], binary.LittleEndian.Uint64(id[8:])^c.seeds[1])
	return int((high ^ low) & uint64(len(c.slots)-1))
}

// find returns the index of the slot of an id, or of the free slot for it.
func (c *Table[V]) find(id *event.ContextID) int {
	i := c.home(id)
	for c.slots[i].value != nil && c.slots[i].id != *id {
		i = (i + 1) & (len(c.slots) - 1)
	}
	return i
}

// Len returns the number of values.
func (c *Table[V]) Len() int { return c.used }

// Get returns the value of an id, nil if there is none.
func (c *Table[V]) Get(id *event.ContextID) *V { return c.slots[c.find(id)].value }

// Set sets the value of an id.
func (c *Table[V]) Set(id *event.ContextID, value *V) {
	i := c.find(id)
	if c.slots[i].value == nil {
		if c.used++; 2*c.used > len(c.slots) {
			c.grow()
			i = c.find(id)
		}
	}
	c.slots[i] = slot[V]{*id, value}
}

func (c *Table[V]) grow() {
	old := c.slots
	c.slots = make([]slot[V], 2*len(old))
	for i := range old {
		if old[i].value != nil {
			c.slots[c.find(&old[i].id)] = old[i]
		}
	}
}

// Remove removes a value if it is the value of its id.
func (c *Table[V]) Remove(id *event.ContextID, value *V) {
	i := c.find(id)
	if c.slots[i].value != value {
		return
	}
	c.used--
	// Move up the following slots that are not between their home and the hole.
	mask := len(c.slots) - 1
	for j := (i + 1) & mask; c.slots[j].value != nil; j = (j + 1) & mask {
		if home := c.home(&c.slots[j].id); (j-home)&mask >= (j-i)&mask {
			c.slots[i] = c.slots[j]
			i = j
		}
	}
	c.slots[i] = slot[V]{}
}
