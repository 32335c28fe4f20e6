// SPDX-License-Identifier: Apache-2.0

// Package render writes trees of spans in the output forms of crauctl.
package render

import (
	"io"
	"time"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
)

// Printer writes the results of a query, in the order of the calls.
type Printer interface {
	// Root writes a tree. entries are the log entries of the tree, for forms that need
	// them, else nil.
	Root(root *schema.Span, entries []Entry) error
	// Notice writes a notice of the log about itself.
	Notice(n *Notice) error
	// Close ends the output. The underlying writer stays open.
	Close() error
}

// Entry is a log entry as it was read.
type Entry struct {
	// Bytes is one event group in CBOR.
	Bytes []byte
	// Boot is the boot time, in nanoseconds since the Unix epoch, to which the times
	// in Bytes are relative.
	Boot int64
	// Order increases from entry to entry of a log.
	Order uint64
}

// Options of a Printer.
type Options struct {
	Registry *schema.Registry
	// Warnings receives messages for which a machine-readable form has no place.
	Warnings io.Writer
	// Location is the time zone of readable times.
	Location *time.Location
	// Fields are the keys of the data to show; nil: all.
	Fields map[string]bool
	// All also shows the data that the agent adds to the probes' data, in forms of the
	// public project, which have no place for them.
	All bool
	// Names adds the names of numbers to JSON.
	Names bool
	// ASCII limits readable lines to ASCII.
	ASCII bool
	// Color allows terminal control sequences.
	Color bool
}

// shows reports whether the data of a key are shown.
func (o *Options) shows(key string) bool { return o.Fields == nil || o.Fields[key] }

// isAdded reports whether the data of a key were added by the agent.
func isAdded(key string) bool { return schema.Scope(key) == event.Scope }

// Form describes an output form.
type Form struct {
	// New returns a Printer of the form.
	New func(io.Writer, Options) Printer
	// Entries reports whether the form needs the entries of the log.
	Entries bool
	// Text reports whether it consists of lines of text, to which other lines may be
	// added.
	Text bool
	// Raw reports whether it contains bytes that could control a terminal.
	Raw bool
	// Array reports whether it is one value that is complete only at the end.
	Array bool
}

// Forms returns the output forms of operations.
func Forms() console.Forms[Form] {
	return console.Forms[Form]{
		{Name: "short", Help: "readable lines, each with its tree", Write: Form{New: newShort, Text: true}},
		{Name: "json", Help: "one JSON object per line", Write: Form{New: newJSONLines}},
		{Name: "json-pretty", Help: "a JSON array of contexts, as the public crypto-auditing project prints it", Write: Form{New: newJSONPretty, Array: true}},
		{Name: "json-seq", Help: "a JSON text sequence (RFC 7464)", Write: Form{New: newJSONSequence}},
		{Name: "cbor", Help: "the log entries themselves, a log of their own (RFC 8742)", Write: Form{New: newCBOR, Entries: true, Raw: true}},
		{Name: "cat", Help: "lines without times, programs and trees", Write: Form{New: newCat, Text: true}},
		{Name: "short-iso", Help: "as short, with times as in RFC 3339", Write: Form{New: newShortISO, Text: true}},
		{Name: "short-precise", Help: "as short, with microseconds", Write: Form{New: newShortPrecise, Text: true}},
		{Name: "verbose", Help: "all that the log has, a line for each element", Write: Form{New: newVerbose, Text: true}},
		{Name: "csv", Help: "a line for each element (RFC 4180)", Write: Form{New: newCSV}},
	}
}
