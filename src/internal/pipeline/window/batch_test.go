// SPDX-License-Identifier: Apache-2.0

package window

import (
	"testing"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/loss"
)

func TestTimesWithoutALibraryAreRecordedOnceAndAgainIfTheBatchIsLost(t *testing.T) {
	var l loss.Counters
	if l.Pending() {
		t.Error("something is pending at the start")
	}
	l.Miss(loss.Unrecorded{Reason: event.LibraryReplaced, Library: "libx.so", BuildID: []byte{1}, Start: 10, End: 20})
	var b Batch
	b.Lose(&l, 30)
	if l.Pending() || len(b.Ends) != 1 || !b.Notice || b.First != 10 || b.Last != 20 {
		t.Errorf("the batch is %+v", b)
	}
	var again Batch
	again.Lose(&l, 40)
	if !again.Empty() {
		t.Error("a time without the library was recorded twice")
	}
	l.Restore(b.Losses, b.Unrecorded)
	if !l.Pending() {
		t.Fatal("a time without the library was forgotten with its batch")
	}
	again.Lose(&l, 40)
	if string(again.Entries) != string(b.Entries) {
		t.Error("the time without the library has changed")
	}
}
