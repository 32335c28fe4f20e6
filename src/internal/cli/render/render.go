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

// Printer writes what a query shows, in the order of the calls.
type Printer interface {
	// Root writes a tree. entries are the log entries that made it, for
	// forms that want them, else nil.
	Root(root *schema.Span, entries []Entry) error
	// Notice writes what a log reports of itself.
	Notice(n *Notice) error
	// Close ends the output. The underlying writer stays open.
	Close() error
}

// Entry is an entry of the log as it was read.
type Entry struct {
	// Bytes is one event group in CBOR.
	Bytes []byte
	// Boot is the time of boot, in nanoseconds since the Unix epoch, to which
	// its times are relative.
	Boot int64
	// Order grows from entry to entry of a log.
	Order uint64
}

// Options of a Printer.
type Options struct {
	Registry *schema.Registry
	// Warnings takes what has no place in a machine-readable form.
	Warnings io.Writer
	// Location is the time zone of readable times.
	Location *time.Location
	// Fields are the keys whose data are shown; nil: all.
	Fields map[string]bool
	// All shows what the log adds to what was probed, too, where a form of the
	// public project has no place for it.
	All bool
	// Names adds the names of numbers to JSON.
	Names bool
	// ASCII keeps readable lines to ASCII.
	ASCII bool
	// Color allows terminal control sequences.
	Color bool
}

// shows reports whether the data of a key are shown.
func (o *Options) shows(key string) bool { return o.Fields == nil || o.Fields[key] }

// isAdded reports whether data of a key were not probed.
func isAdded(key string) bool { return schema.Scope(key) == event.Scope }

// Form describes an output form.
type Form struct {
	// New returns what writes it.
	New func(io.Writer, Options) Printer
	// Entries reports whether it is made of the entries of the log.
	Entries bool
	// Text reports whether it is lines for people, among which others may stand.
	Text bool
	// Raw reports whether it holds bytes that would act on a terminal.
	Raw bool
	// Array reports whether it is one value, which ends with the output only.
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
