// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"

	"crypto-auditing/src/internal/attach"
	"crypto-auditing/src/internal/event"
)

func TestTimesWithoutALibraryAreRecordedOnceAndAgainIfTheBatchIsLost(t *testing.T) {
	l := &losses{}
	if l.pending() {
		t.Error("something is pending at the start")
	}
	l.miss(attach.Unrecorded{Reason: event.LibraryReplaced, Library: "libx.so", BuildID: []byte{1}, Start: 10, End: 20})
	b := &batch{}
	l.record(b, 30)
	if l.pending() || b.count != 1 || !b.notice || b.first != 10 || b.last != 20 {
		t.Errorf("the batch is %+v", b)
	}
	again := &batch{}
	l.record(again, 40)
	if !again.empty() {
		t.Error("a time without the library was recorded twice")
	}
	l.untell(b)
	if !l.pending() {
		t.Fatal("a time without the library was forgotten with its batch")
	}
	l.record(again, 40)
	if string(again.entries) != string(b.entries) {
		t.Error("the time without the library has changed")
	}

	// However long the log takes nothing, little waits for it.
	for i := range uint64(2 * maxUnrecorded) {
		l.miss(attach.Unrecorded{Reason: event.LibraryReplaced, Library: "libx.so", BuildID: nil, Start: 100 + i, End: 101 + i})
	}
	if n := len(l.unrecorded); n > maxUnrecorded {
		t.Errorf("%d times wait for the log", n)
	}
	last := uint64(0)
	for _, u := range l.unrecorded {
		last = max(last, u.End)
	}
	if last != 100+2*maxUnrecorded {
		t.Errorf("the last time without the library ends at %d", last)
	}
}
