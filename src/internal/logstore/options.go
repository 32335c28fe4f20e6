// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"time"

	"crypto-auditing/src/internal/logstore/file"
	"crypto-auditing/src/internal/logstore/frame"
)

// What callers need of the byte layout.
type (
	// Header describes a chunk.
	Header = frame.Header
	// TermKind is a kind of term that a filter holds.
	TermKind = frame.TermKind
	// Term is a term to ask for.
	Term = frame.Term
	// Level is how hard chunks are compressed.
	Level = frame.Level
	// LenFunc returns the length of the entry that b begins with.
	LenFunc = frame.LenFunc
)

// The kinds of terms; docs/log-format.md says what belongs to each.
const (
	Name       = frame.Name
	Key        = frame.Key
	Executable = frame.Executable
	Origin     = frame.Origin
	Scope      = frame.Scope
)

// MaxBatch is the largest length of the entries of a batch, in bytes.
const MaxBatch = 1 << 20

// TermHash returns what Batch.Terms holds for a term.
func TermHash[T []byte | string](kind TermKind, text T) uint64 { return frame.TermHash(kind, text) }

// NewTerm returns a term to ask for.
func NewTerm[T []byte | string](kind TermKind, text T) Term { return frame.NewTerm(kind, text) }

// Options configure a Writer. EntryLen and Metadata are required.
type Options struct {
	// EntryLen splits entries.
	EntryLen LenFunc
	// Metadata returns the entry that begins a segment created at that
	// moment: its start and end are now.Boot. It is called while the Writer
	// is locked.
	Metadata func(now Moment) []byte
	// TermKinds are the kinds of which every Batch gives all terms. Default:
	// Name, Key, Executable.
	TermKinds []TermKind

	// Level is the compression of chunks as they are committed.
	Level Level
	// SegmentSize and SegmentAge end a segment. Defaults: 128 MiB, 24 h.
	SegmentSize int64
	SegmentAge  time.Duration
	// SyncInterval is how long a committed chunk may stay not durable.
	// Default: 5 s. Negative: until rotation, Flush or Close.
	SyncInterval time.Duration

	// Committed, if set, is told of every chunk when its bytes are in the
	// page cache. It is called while the Writer is locked and must not call
	// it.
	Committed func(Position)

	// Clock, BootID and Files stand for the machine; the defaults are the
	// real ones.
	Clock  Clock
	BootID [16]byte
	Files  file.System
}

const (
	defaultSegmentSize  = 128 << 20
	defaultSegmentAge   = 24 * time.Hour
	defaultSyncInterval = 5 * time.Second
)

func (o *Options) complete() error {
	if o.TermKinds == nil {
		o.TermKinds = []TermKind{Name, Key, Executable}
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = defaultSegmentSize
	}
	if o.SegmentAge == 0 {
		o.SegmentAge = defaultSegmentAge
	}
	if o.SyncInterval == 0 {
		o.SyncInterval = defaultSyncInterval
	}
	if o.Clock == nil {
		o.Clock = SystemClock{}
	}
	if o.Files == nil {
		o.Files = file.Plain{}
	}
	if o.BootID == [16]byte{} {
		id, err := SystemBootID()
		if err != nil {
			return err
		}
		o.BootID = id
	}
	return nil
}
