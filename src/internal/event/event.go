// SPDX-License-Identifier: Apache-2.0

// Package event is the event model: the events of the probes of the provider crypto_auditing,
// grouped by context, and their CBOR form in the log.
//
// The form of an entry is the EventGroup of the public crypto-auditing project (audit.cddl in
// this directory). Every addition is a map key that readers skip if they do not know it.
package event

import "encoding/hex"

// ContextID identifies a context in the log. It is the probe's context value and the task that
// hit the probe, encrypted with AES-128 under a key that never leaves the agent. Metadata groups
// have the all-zero id.
type ContextID [16]byte

// String returns the id in 32 hexadecimal digits.
func (id ContextID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether id is the metadata context.
func (id ContextID) IsZero() bool { return id == ContextID{} }

// KeyName is the key whose value is the name of the context.
const KeyName = "name"

// Kind is the kind of an event.
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
	// Word is a signed 64-bit machine word.
	Word ValueKind = iota
	// String is UTF-8 text without NUL.
	String
	// Blob is arbitrary bytes: a blob, or a string that is not UTF-8.
	Blob
)

// Value is the value of a Data event.
type Value struct {
	Kind ValueKind
	// Word is the value of kind Word.
	Word int64
	// Bytes is the value of kind String or Blob.
	Bytes []byte
	// Truncated reports that the probe passed more bytes than fit in a record.
	Truncated bool
	// Unreadable reports that the bytes could not be read from the process.
	Unreadable bool
}

// Event is one event of a group.
type Event struct {
	Kind Kind

	// Parent, Origin and Executable belong to a NewContext. The parent of a root is an id
	// that no group opens. Origin is the build-id of the library with the probe, Executable
	// the base name of the program file of the process.
	Parent     ContextID
	Origin     []byte
	Executable []byte

	// Key and Value belong to a Data event.
	Key   []byte
	Value Value
}

// Group is one entry of the log: events of one context within one coalescing window. At most one
// event is a NewContext, which is then the first.
type Group struct {
	Context ContextID
	// Start and End are the times of the first and the last event, in nanoseconds since boot
	// including suspend (CLOCK_BOOTTIME).
	Start, End uint64

	// Name, Executable, Origin and Unit describe the context as far as the agent knows it, so
	// that a reader can filter without history; empty if unknown. Unit is the systemd unit
	// of the process in UTF-8, such as nginx.service.
	Name       []byte
	Executable []byte
	Origin     []byte
	Unit       []byte
	// Source is the Source of the events, empty for USDT.
	Source []byte

	Events []Event
}

// Source is the way in which events are captured.
type Source string

// The sources.
const (
	// USDT: probes in instrumented libraries. In the log, the source is then absent.
	USDT Source = "usdt"
	// Function: functions of stock libraries.
	Function Source = "function"
	// Wire: handshakes at the sockets of any program.
	Wire Source = "wire"
)

// Sources returns all sources.
func Sources() []Source { return []Source{USDT, Function, Wire} }

// SourceNames lists the sources for messages to users.
func SourceNames() string { return string(USDT + ", " + Function + " and " + Wire) }

// ContextSource returns the source of the events of the context, USDT if the group has none.
func (g *Group) ContextSource() []byte {
	if len(g.Source) == 0 && !g.IsMetadata() {
		return []byte(USDT)
	}
	return g.Source
}

// IsMetadata reports whether the group describes the log itself.
func (g *Group) IsMetadata() bool { return g.Context.IsZero() }
