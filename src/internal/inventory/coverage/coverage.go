// SPDX-License-Identifier: Apache-2.0

// Package coverage is the model of how complete the inventory is. Reports and policy checks state it
// before any verdict: without coverage a verdict is unknown.
package coverage

import "time"

// Coverage is what was recorded, and what could not be, in a period.
type Coverage struct {
	// From and To are the period: the one asked for, cut to what the inventory holds. Both are zero
	// if it holds nothing.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Down are the times without recording.
	Down []Span `json:"down,omitempty"`
	// Lost counts events that could not be recorded, by reason.
	Lost map[string]uint64 `json:"lost,omitempty"`
	// Missing is the number of entries that were removed or damaged before they were counted.
	Missing uint64 `json:"missing,omitempty"`
	// Sources are the sources of the agent that are on; nil if unknown (a log directory).
	Sources []string `json:"sources,omitempty"`
	// Libraries are those that the agent watches, or that recorded operations came from.
	Libraries []Library `json:"libraries,omitempty"`
	// Programs is what is known of each program with operations.
	Programs []Program `json:"programs,omitempty"`
	// Unseen names what no source can see on this machine, a sentence each: cryptography of the
	// kernel, excluded programs, sources that are off.
	Unseen []string `json:"unseen,omitempty"`
	// First and Last are the sequence numbers of the log that were counted, Chain the hash chain of the
	// log at Last, in hexadecimal digits; empty if unknown: the broker does not report it.
	First uint64 `json:"first,omitempty"`
	Last  uint64 `json:"last,omitempty"`
	Chain string `json:"chain,omitempty"`
}

// Span is a time without recording.
type Span struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Reason string    `json:"reason"`
	// Library is the base name of the library that was not recorded; empty if nothing was.
	Library string `json:"library,omitempty"`
}

// Library is a library and the number of operations it reported in the period.
type Library struct {
	ID         string `json:"id,omitempty"`
	Name       string `json:"name,omitempty"`
	Operations uint64 `json:"operations"`
}

// Program counts the handshakes of a program by what is known of them.
type Program struct {
	Executable string `json:"executable"`
	Unit       string `json:"unit,omitempty"`
	// Handshakes is the number of TLS and SSH handshakes; KeyExchange and Authentication are the
	// numbers of these of which the group or kex, and a signature, are recorded.
	Handshakes     uint64 `json:"handshakes"`
	KeyExchange    uint64 `json:"key_exchange"`
	Authentication uint64 `json:"authentication"`
	// Socket is the number of TLS handshakes that only a socket showed: no library that is watched took
	// part, so that the program's signatures and operations with keys cannot be seen either.
	Socket uint64 `json:"socket,omitempty"`
	// Relays is the number of handshakes of others that the program may only pass on.
	Relays uint64 `json:"relays,omitempty"`
}

// Empty reports whether nothing at all was recorded.
func (c *Coverage) Empty() bool { return c.From.IsZero() && c.To.IsZero() }
