// SPDX-License-Identifier: Apache-2.0

// Package coverage models how complete the inventory is. Reports and policy checks state the coverage
// before any verdict: without coverage a verdict is unknown.
package coverage

import "time"

// Coverage describes what was recorded in a period, and what could not be recorded.
type Coverage struct {
	// From and To are the requested period, limited to the counted entries. Both are zero if none
	// were counted.
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
	// Libraries are the libraries that the agent watches, or from which operations were recorded.
	Libraries []Library `json:"libraries,omitempty"`
	// Programs are the programs with operations.
	Programs []Program `json:"programs,omitempty"`
	// Unseen lists, in a sentence each, what no source can capture on this machine: cryptography of
	// the kernel, excluded programs, inactive sources.
	Unseen []string `json:"unseen,omitempty"`
	// First and Last are the first and the last counted sequence numbers of the log, Chain is the hash
	// chain of the log at Last, in hexadecimal digits; empty if unknown: the broker does not report it.
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

// Program counts the handshakes of a program by their known properties.
type Program struct {
	Executable string `json:"executable"`
	Unit       string `json:"unit,omitempty"`
	// Handshakes is the number of TLS and SSH handshakes; KeyExchange and Authentication are the
	// numbers of handshakes with a recorded group or kex, and with a recorded signature.
	Handshakes     uint64 `json:"handshakes"`
	KeyExchange    uint64 `json:"key_exchange"`
	Authentication uint64 `json:"authentication"`
	// Socket is the number of TLS handshakes that were captured only at a socket: no watched library
	// took part, so that the program's signatures and operations with keys cannot be captured either.
	Socket uint64 `json:"socket,omitempty"`
	// Relays is the number of handshakes that the program may only relay for others.
	Relays uint64 `json:"relays,omitempty"`
}

// Empty reports whether nothing was recorded.
func (c *Coverage) Empty() bool { return c.From.IsZero() && c.To.IsZero() }
