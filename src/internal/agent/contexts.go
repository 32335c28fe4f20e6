// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/probe"
)

// maxContexts is how many contexts one generation holds. Two generations are
// remembered, in about 8 MiB when full.
const maxContexts = 32768

// contextKey is a context as the kernel tells it.
type contextKey struct{ pidTGID, context uint64 }

// contextState is what is known of a context's latest span.
type contextState struct {
	id         event.ContextID
	name       *word
	executable *word
	library    *probe.Library
	// group is the context's open group, valid in the given window.
	group  int32
	window uint64
}

// contexts remembers the contexts that were seen last. What is forgotten
// costs later groups of the context their attributes and nothing else: the id
// of a context is computed, not stored. It belongs to one goroutine.
type contexts struct {
	young, old generation
}

// generation is an index into a slab, so that thousands of states are one
// object to the garbage collector.
type generation struct {
	index  map[contextKey]uint32
	states []contextState
}

func newContexts() *contexts {
	return &contexts{
		young: generation{index: map[contextKey]uint32{}},
		old:   generation{index: map[contextKey]uint32{}},
	}
}

// get returns the state of a context and whether it was known. The pointer is
// valid until the next call.
func (c *contexts) get(key contextKey) (state *contextState, known bool) {
	if i, ok := c.young.index[key]; ok {
		return &c.young.states[i], true
	}
	if len(c.young.states) >= maxContexts {
		c.young, c.old = c.old, c.young
		clear(c.young.index)
		clear(c.young.states)
		c.young.states = c.young.states[:0]
	}
	i := uint32(len(c.young.states))
	c.young.index[key] = i
	if j, ok := c.old.index[key]; ok {
		c.young.states = append(c.young.states, c.old.states[j])
		return &c.young.states[i], true
	}
	c.young.states = append(c.young.states, contextState{})
	return &c.young.states[i], false
}

// forget drops everything, for a new context key.
func (c *contexts) forget() { *c = *newContexts() }
