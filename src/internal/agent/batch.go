// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"crypto-auditing/src/internal/attach"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// batch is a flushed window on its way to the store.
type batch struct {
	entries     []byte
	count       uint32
	first, last uint64
	terms       []uint64
	// hits and events are those of the probes; lost what is recorded as lost
	// in this batch.
	hits, events uint64
	lost         uint64
	notice       bool
	// starts are the times at which the groups began.
	starts []uint64
	// told are the losses that the batch records.
	told []told
	// unrecorded are the times without a library that the batch records.
	unrecorded []attach.Unrecorded
	// requests are answered when all before and in the batch is durable. A
	// batch with requests may be empty.
	requests []request
}

// flushed answers a request.
type flushed struct {
	cursor  logstore.Cursor
	segment string
	err     error
}

func (b *batch) reset() {
	*b = batch{
		entries: b.entries[:0], starts: b.starts[:0], terms: b.terms[:0], told: b.told[:0], unrecorded: b.unrecorded[:0],
		requests: b.requests[:0],
	}
}

func (b *batch) empty() bool { return b.count == 0 }

// span widens the time of the batch.
func (b *batch) span(start, end uint64) {
	if b.first == 0 || start < b.first {
		b.first = start
	}
	b.last = max(b.last, end)
}

// lose adds the record of a loss.
func (b *batch) lose(l *event.Loss) {
	b.entries = event.AppendLoss(b.entries, l)
	b.count++
	b.lost += l.Events
	b.notice = true
	b.span(l.Start, l.End)
}

// miss adds the record of a time in which a library was not recorded.
func (b *batch) miss(u *attach.Unrecorded) {
	b.entries = event.AppendLibraryUnrecorded(b.entries, u.Reason, u.Library, u.BuildID, u.Start, u.End)
	b.count++
	b.unrecorded = append(b.unrecorded, *u)
	b.notice = true
	b.span(u.Start, u.End)
}
