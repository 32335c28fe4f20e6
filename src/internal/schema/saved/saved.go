// SPDX-License-Identifier: Apache-2.0

// Package saved is the form in which a builder of trees is saved.
package saved

// Version is the version of the form.
const Version = 1

// Builder is a builder. Its trees follow, each in an item of its own, in the order of their last
// events.
type Builder struct {
	_         struct{} `cbor:",toarray"`
	Version   int
	Order     uint64
	Libraries []Library
	Trees     int
}

// Library is a library that the log has named.
type Library struct {
	_    struct{} `cbor:",toarray"`
	ID   []byte
	Name string
}

// Tree is an incomplete tree: the time of its last event, in nanoseconds since the Unix epoch, and its
// spans, parents first.
type Tree struct {
	_     struct{} `cbor:",toarray"`
	Last  int64
	Spans []Span
}

// Span is a span; times are in nanoseconds since the Unix epoch.
type Span struct {
	_                                              struct{} `cbor:",toarray"`
	Parent                                         int      // index of the parent in the tree; -1 for the root
	Context                                        []byte
	Name, Origin, Executable, Unit, Source, Joined []byte // they may not be UTF-8
	Start, End, Last                               int64
	Order                                          uint64
	Headless, Cut, Self, Named, Tentative          bool
	Latest                                         bool // of its id
	Data                                           []Datum
}

// Datum is a key with its value.
type Datum struct {
	_                     struct{} `cbor:",toarray"`
	Key                   []byte
	Kind                  uint8
	Word                  int64
	Bytes                 []byte
	Truncated, Unreadable bool
}
