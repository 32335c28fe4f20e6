// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"fmt"

	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/segment"
)

// UndurableError reports that entries were lost because of a failed sync: they are no longer
// on the disk or in the page cache.
type UndurableError struct {
	From, To uint64
	Err      error
}

func (e *UndurableError) Error() string {
	return fmt.Sprintf("entries %d to %d were lost by a failed sync: %v", e.From, e.To, e.Err)
}

func (e *UndurableError) Unwrap() error { return e.Err }

// recoverSync recovers from a failed sync. The kernel reports such a failure once, and may
// then mark the pages as clean although they never reached the disk; a later successful sync
// proves nothing about them. So the same bytes are read back, checked and written to the
// same offset, which makes the pages dirty again.
func (q *Queue) recoverSync() error {
	s, err := segment.Open(q.path)
	if err != nil {
		return fmt.Errorf("cannot write again what a failed sync left: %w", err)
	}
	defer s.Close()
	for at := q.synced; at < q.end; {
		var h frame.Header
		if err := s.Header(at, &h); err != nil {
			return q.dropUnreadable(err)
		}
		head := make([]byte, h.Size())
		h.Put(head)
		payload, err := s.Payload(at, &h)
		if err != nil {
			return q.dropUnreadable(err)
		}
		if _, err := q.file.Commit([][]byte{head, payload}, at, false); err != nil {
			return err
		}
		at += h.ChunkSize()
	}
	q.rewrite = false
	return nil
}

// dropUnreadable continues without entries that cannot be read back. Readers detect the gap.
func (q *Queue) dropUnreadable(err error) error {
	lost := q.unproven.lost(NotDurable, q.path)
	lost.Err = err
	q.mu.Lock()
	e := &UndurableError{From: q.durable + 1, To: q.committed, Err: err}
	q.durable = q.committed
	q.mu.Unlock()
	q.synced, q.rewrite, q.unproven = q.end, false, tally{}
	q.opts.Undurable(lost)
	return e
}
