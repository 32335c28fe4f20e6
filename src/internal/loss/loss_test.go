// SPDX-License-Identifier: Apache-2.0

package loss

import (
	"testing"

	"crypto-auditing/src/internal/event"
)

func TestStoredTimesWithoutRecordingAreBounded(t *testing.T) {
	var l Counters
	for i := range uint64(2 * maxUnrecorded) {
		l.Miss(Unrecorded{Reason: event.LibraryReplaced, Library: "libx.so", Start: 100 + i, End: 101 + i})
	}
	_, waiting := l.Take(1000, nil, nil)
	if n := len(waiting); n > maxUnrecorded {
		t.Errorf("%d times wait for the log", n)
	}
	last := uint64(0)
	for _, u := range waiting {
		last = max(last, u.End)
	}
	if last != 100+2*maxUnrecorded {
		t.Errorf("the last time without the library ends at %d", last)
	}
}
