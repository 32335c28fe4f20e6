// SPDX-License-Identifier: Apache-2.0

// Package event is the event model: what the probes of the provider
// crypto_auditing say, grouped by context, and its CBOR form in the log.
//
// The form of an entry is the EventGroup of the public crypto-auditing
// project (audit.cddl in this directory); every addition is a map key that a
// reader which does not know it skips.
package event

import "encoding/hex"

// ContextID names a context in the log: AES-128 of the probe's own context
// value and the task it was fired in, under a key that never leaves the agent.
// The all-zero id belongs to metadata groups.
type ContextID [16]byte

// String returns the id as 32 hex digits.
func (id ContextID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether id is the metadata context.
func (id ContextID) IsZero() bool { return id == ContextID{} }

// KeyName is the key whose value names the context it stands in.
const KeyName = "name"

// Kind tells the two events of the model apart.
type Kind uint8

// The kinds of an Event.
const (
	// Data is a key with a value.
	Data Kind = iota
	// NewContext opens a new span of the group's context.
	NewContext
)

// ValueKind is the type of a Value.
type ValueKind uint8

// The kinds of a Value.
const (
	// Word is a machine word, signed, 64 bit.
	Word ValueKind = iota
	// String is UTF-8 text without NUL.
	String
	// Blob is any bytes: a blob, or a string that is not UTF-8.
	Blob
)

// Value is the value of a Data event.
type Value struct {
	Kind ValueKind
	// Word holds a Word.
	Word int64
	// Bytes holds a String or a Blob.
	Bytes []byte
	// Truncated says that the probe gave more bytes than a record holds.
	Truncated bool
	// Unreadable says that the bytes could not be read from the process.
	Unreadable bool
}

// Event is one event of a group.
type Event struct {
	Kind Kind

	// Parent, Origin and Executable belong to a NewContext. A root's parent
	// is an id that no group opens. Origin is the build-id of the library whose
	// probe fired; Executable the base name of the process's program file.
	Parent     ContextID
	Origin     []byte
	Executable []byte

	// Key and Value belong to a Data event.
	Key   []byte
	Value Value
}

// Group is one entry of the log: events of one context inside one flush
// window. At most one event is a NewContext, and it is then the first.
type Group struct {
	Context ContextID
	// Start and End are the times of the first and the last event, in
	// nanoseconds since boot, suspend included (CLOCK_BOOTTIME).
	Start, End uint64

	// Name, Executable, Origin and Unit describe the context as far as the agent
	// knows it, so that a reader can filter without history. Empty: unknown. Unit is
	// the systemd unit of the process, such as nginx.service, UTF-8.
	Name       []byte
	Executable []byte
	Origin     []byte
	Unit       []byte
	// Source is a Source: how the events were captured. Empty: USDT.
	Source []byte

	Events []Event
}

// Source is how events are captured.
type Source string

// The sources.
const (
	// USDT is instrumented libraries. In the log, it is the absence of a source.
	USDT Source = "usdt"
	// Function is functions of stock libraries.
	Function Source = "function"
	// Wire is handshakes at the sockets of any program.
	Wire Source = "wire"
)

// Sources returns all sources.
func Sources() []Source { return []Source{USDT, Function, Wire} }

// ContextSource returns how the events of the context are captured, USDT if the
// group does not state it.
func (g *Group) ContextSource() []byte {
	if len(g.Source) == 0 && !g.IsMetadata() {
		return []byte(USDT)
	}
	return g.Source
}

// IsMetadata reports whether the group describes the log itself.
func (g *Group) IsMetadata() bool { return g.Context.IsZero() }
