// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"time"

	"crypto-auditing/src/internal/logstore/file"
	"crypto-auditing/src/internal/logstore/frame"
)

// MaxBatch is the maximum length of the entries of a batch, in bytes.
const MaxBatch = 1 << 20

// Options configure a Writer. EntryLen and Metadata are required.
type Options struct {
	// EntryLen splits the entries.
	EntryLen frame.LenFunc
	// Metadata returns the first entry of a segment created at that moment. The start
	// and end of the entry are now.Boot. It is called while the Writer is locked.
	Metadata func(now Moment) []byte
	// TermKinds are the kinds of which every Batch has all terms. Default: Name, Key,
	// Executable, Unit, Source.
	TermKinds []TermKind

	// Terms appends the hashes of all terms of an entry, of the TermKinds and of the
	// kind Value, for the filters of sealed chunks. Nil: sealed chunks get no filter.
	Terms frame.TermsFunc

	// SegmentSize and SegmentAge limit a segment. Defaults: 128 MiB, 24 h.
	SegmentSize int64
	SegmentAge  time.Duration
	// SyncInterval is the maximum time until a committed chunk is durable. Default: 5 s.
	// Negative: until rotation, Flush or Close.
	SyncInterval time.Duration

	// Heartbeat is the interval at which the modification time of the active segment is
	// set after StartRecording. Default: 10 s. Negative: never.
	Heartbeat time.Duration

	// QueueSize is the maximum size, in bytes, of the chunks that wait for the disk. When
	// it is reached, batches are refused. Default: 8 MiB.
	QueueSize int

	// RetryPause is the pause before a failed write is retried. It doubles up to twenty
	// times this value. Default: 100 ms.
	RetryPause time.Duration

	// Committed, if set, is called for every chunk, in order, when its bytes are in the
	// page cache. Offset 0 means the start of a segment. The next chunk is written only
	// after it returns. It must not call the Writer.
	Committed func(Position)

	// Lost returns the entry that reports a loss; its times are within the bounds of the
	// loss. It is called while the Writer is locked. Nil: losses are not reported.
	Lost func(Lost) []byte

	// Foreign, if set, is called for each file with the name of a segment that is not
	// part of the store or cannot be read. It must not call the Writer.
	Foreign func(name string, err error)

	// Clock, BootID, Files and FreeSpace abstract the machine. The defaults are the real
	// ones.
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
