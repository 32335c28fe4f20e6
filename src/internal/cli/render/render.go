// SPDX-License-Identifier: Apache-2.0

// Package render writes trees of spans in the output forms of crauctl.
package render

import (
	"fmt"
	"io"
	"strings"
	"time"

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
	// Color allows terminal control sequences.
	Color bool
}

// form is an output form.
type form struct {
	name, help string
	entries    bool
	make       func(io.Writer, Options) Printer
}

func forms() []form {
	return []form{
		{"short", "readable lines, each with its tree", false, newShort},
		{"json", "one JSON object per line", false, newJSONLines},
		{"json-pretty", "a JSON array of contexts, as the public crypto-auditing project prints it", false, newJSONPretty},
		{"json-seq", "a JSON text sequence (RFC 7464)", false, newJSONSequence},
		{"cbor", "the log entries themselves, a log of their own (RFC 8742)", true, newCBOR},
		{"cat", "lines without times, programs and trees", false, newCat},
	}
}

// Forms returns the names of the output forms with a description each,
// separated by a tab.
func Forms() []string {
	var list []string
	for _, f := range forms() {
		list = append(list, f.name+"\t"+f.help)
	}
	return list
}

// New returns a printer of the named form. wantsEntries says whether it needs
// the entries of trees.
func New(name string, w io.Writer, options Options) (p Printer, wantsEntries bool, err error) {
	var known []string
	for _, f := range forms() {
		if f.name == name {
			return f.make(w, options), f.entries, nil
		}
		known = append(known, f.name)
	}
	return nil, false, fmt.Errorf("unknown output form %q: there are %s", name, strings.Join(known, ", "))
}
