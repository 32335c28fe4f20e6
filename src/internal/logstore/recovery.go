// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"crypto/rand"
	"fmt"
	"path/filepath"

	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/segment"
)

// jump is how far sequences go on above those that may have been read and
// are gone.
const jump = 1 << 32

// storeEnd is where a store can be gone on with.
type storeEnd struct {
	store [16]byte
	last  frame.Header // of the last whole chunk; no entries: there is none
	next  uint64
	hash  frame.Hash
	// touched is when the writer was last alive by the modification time of the
	// newest segment; 0 if that says nothing.
	touched int64
	// found is the first sequence of the newest segment, 0 if there is none.
	found uint64
}

// before returns the last sequence of the store, 0 if there is none.
func (e *storeEnd) before() uint64 {
	if e.last.Entries == 0 {
		return 0
	}
	return e.last.LastSequence()
}

// recoverStore finds the end of the store in dir. left is the cursor that the
// last writer left in the lock file.
func recoverStore(dir string, boot [16]byte, left string) (storeEnd, error) {
	list, err := segment.List(dir)
	if err != nil {
		return storeEnd{}, err
	}
	store, known, err := segment.StoreID(dir, list)
	if err != nil {
		return storeEnd{}, err
	}
	if !known {
		return newStore(list)
	}
	for i := len(list) - 1; i >= 0; i-- {
		last, ok, err := lastChunk(filepath.Join(dir, segment.Name(list[i])), store)
		if err != nil {
			return storeEnd{}, err
		}
		if !ok {
			continue
		}
		end := storeEnd{store: store, last: last, hash: last.Hash, touched: touchedAt(dir, list[len(list)-1]), found: list[len(list)-1]}
		end.next = end.before() + 1
		if i < len(list)-1 {
			end.next = list[len(list)-1] + jump
		} else if last.BootID != boot && left != (Cursor{Store: store, Sequence: end.before()}).String() {
			end.next = end.before() + jump
		}
		return end, nil
	}
	return newStore(list)
}

func newStore(list []uint64) (storeEnd, error) {
	end := storeEnd{next: 1}
	if _, err := rand.Read(end.store[:]); err != nil {
		return end, fmt.Errorf("cannot make store id: %w", err)
	}
	if len(list) > 0 {
		end.found = list[len(list)-1]
		end.next = end.found + jump
	}
	end.hash = frame.Genesis(end.store)
	return end, nil
}

func lastChunk(path string, store [16]byte) (frame.Header, bool, error) {
	s, err := segment.Open(path)
	if err != nil {
		return frame.Header{}, false, err
	}
	defer s.Close()
	return s.Last(store)
}
