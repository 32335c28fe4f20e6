// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"time"

	"crypto-auditing/src/internal/logstore/file"
	"crypto-auditing/src/internal/logstore/frame"
)

// MaxBatch is the largest length of the entries of a batch, in bytes.
const MaxBatch = 1 << 20

// Options configure a Writer. EntryLen and Metadata are required.
type Options struct {
	// EntryLen splits entries.
	EntryLen frame.LenFunc
	// Metadata returns the entry that begins a segment created at that
	// moment: its start and end are now.Boot. It is called while the Writer
	// is locked.
	Metadata func(now Moment) []byte
	// TermKinds are the kinds of which every Batch gives all terms. Default:
	// Name, Key, Executable, Unit, Source.
	TermKinds []TermKind

	// Terms appends the hashes of all terms of an entry, of the TermKinds, and
	// those of the kind Value, for the filters of sealed chunks. Nil: these get
	// none.
	Terms frame.TermsFunc

	// SegmentSize and SegmentAge end a segment. Defaults: 128 MiB, 24 h.
	SegmentSize int64
	SegmentAge  time.Duration
	// SyncInterval is how long a committed chunk may stay not durable.
	// Default: 5 s. Negative: until rotation, Flush or Close.
	SyncInterval time.Duration

	// Heartbeat is how often the modification time of the active segment is
	// set after StartRecording. Default: 10 s. Negative: never.
	Heartbeat time.Duration

	// QueueSize is how many bytes of chunks may wait for the disk; a batch is
	// refused once there are as many. Default: 8 MiB.
	QueueSize int

	// RetryPause is how long to wait before what the disk refused is tried
	// again; it doubles up to twenty times that. Default: 100 ms.
	RetryPause time.Duration

	// Committed, if set, is told of every chunk, in order, when its bytes are
	// in the page cache. Offset 0 means that a segment has begun. The next
	// chunk is not written before it returns, and it must not call the
	// Writer.
	Committed func(Position)

	// Lost returns the entry that reports a loss, whose times are in its
	// bounds. It is called while the Writer is locked. Nil: losses are not
	// reported.
	Lost func(Lost) []byte

	// Foreign, if set, is told of each file with the name of a segment that is
	// not a part of the store, or cannot be read. It must not call the Writer.
	Foreign func(name string, err error)

	// Clock, BootID, Files and FreeSpace stand for the machine; the defaults
	// are the real ones.
	Clock     Clock
	BootID    [16]byte
	Files     file.System
	FreeSpace func(dir string) (int64, error)
}

const (
	defaultSegmentSize  = 128 << 20
	defaultSegmentAge   = 24 * time.Hour
	defaultSyncInterval = 5 * time.Second
	defaultHeartbeat    = 10 * time.Second
	defaultQueueSize    = 8 << 20
	defaultRetryPause   = 100 * time.Millisecond
)

func (o *Options) complete() error {
	if o.TermKinds == nil {
		o.TermKinds = []TermKind{Name, Key, Executable, Unit, Source}
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
	if o.Heartbeat == 0 {
		o.Heartbeat = defaultHeartbeat
	}
	if o.QueueSize == 0 {
		o.QueueSize = defaultQueueSize
	}
	if o.RetryPause == 0 {
		o.RetryPause = defaultRetryPause
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
