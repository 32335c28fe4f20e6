// SPDX-License-Identifier: Apache-2.0

package window

import (
	"math/bits"
	"math/rand/v2"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/pipeline/join"
	"crypto-auditing/src/internal/probe"
)

const (
	// maxContexts is the size of one generation of contexts. Two generations are kept,
	// in about 5 MiB when full.
	maxContexts = 32768
	// contextSlots is a power of two; half of the slots remain empty.
	contextSlots = 2 * maxContexts
)

// contextKey identifies a context as the kernel reports it.
type contextKey struct{ pidTGID, context uint64 }

// contextState describes a context's latest span.
type contextState struct {
	key        contextKey
	id         event.ContextID
	name       *word
	executable *word
	library    *probe.Library
	// unit and source are nil if unknown, and for USDT.
	unit, source *word
	// handshake is the handshake that the context is or belongs to, for the joiner.
	handshake *join.Handshake
	// group is the index of the context's open group, valid in the given window.
	group  int32
	window uint64
}

// contexts caches recently seen contexts. Later groups of a forgotten context only lack
// their attributes: the id of a context is computed, not stored. It must be used by one
// goroutine only.
//
// Under load most contexts are new, and looking them up takes most of the time of a
// record: hence a table that touches little memory.
type contexts struct {
	young, old generation
	// seed prevents a process from choosing contexts that share a slot.
	seed contextKey
}

// generation is a hash table with linear probing into a slab, so that thousands of
// states are a single object for the garbage collector.
type generation struct {
	slots  []uint32 // index into states plus one, or zero
	states []contextState
}

func newContexts() *contexts {
	return &contexts{
		young: generation{slots: make([]uint32, contextSlots)},
		old:   generation{slots: make([]uint32, contextSlots)},
		seed:  contextKey{rand.Uint64(), rand.Uint64()},
	}
}

func (c *contexts) hash(key contextKey) uint32 {
	high, low := bits.Mul64(key.pidTGID^c.seed.pidTGID, key.context^c.seed.context)
	return uint32(high ^ low)
}

// find returns the slot of a key, or the empty slot where it belongs.
func (g *generation) find(hash uint32, key contextKey) *uint32 {
	for at := hash; ; at++ {
		slot := &g.slots[at%contextSlots]
		if *slot == 0 || g.states[*slot-1].key == key {
			return slot
		}
	}
}

// get returns the state of a context, a new one if it is unknown. A newly opened context
// needs no lookup in the old generation. The pointer is valid until the next call.
func (c *contexts) get(key contextKey, opened bool) (state *contextState, known bool) {
	hash := c.hash(key)
	slot := c.young.find(hash, key)
	if *slot != 0 {
		return &c.young.states[*slot-1], true
	}
	if len(c.young.states) >= maxContexts {
		c.young, c.old = c.old, c.young
		clear(c.young.slots)
		clear(c.young.states)
		c.young.states = c.young.states[:0]
		slot = c.young.find(hash, key)
	}
	fresh := contextState{key: key}
	if !opened {
		if was := *c.old.find(hash, key); was != 0 {
			fresh, known = c.old.states[was-1], true
		}
	}
	c.young.states = append(c.young.states, fresh)
	*slot = uint32(len(c.young.states))
	return &c.young.states[*slot-1], known
}

// recent returns the state of a recently used context, nil for others. The pointer is
// valid until get is called.
func (c *contexts) recent(key contextKey) *contextState {
	if slot := *c.young.find(c.hash(key), key); slot != 0 {
		return &c.young.states[slot-1]
	}
	return nil
}

// forget removes all contexts, for a new context key.
func (c *contexts) forget() { *c = *newContexts() }
