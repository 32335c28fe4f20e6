// SPDX-License-Identifier: Apache-2.0

package tail

import (
	"testing"

	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/wakeup"
)

func TestOnlyUnreadChunksWakeTheTail(t *testing.T) {
	at := func(store byte, sequence uint64) logstore.Cursor {
		return logstore.Cursor{Store: [16]byte{store}, Sequence: sequence}
	}
	for name, c := range map[string]struct {
		opened bool
		at     logstore.Cursor
		wakes  bool
	}{
		"a new chunk":           {true, at(1, 11), true},
		"the newest read chunk": {true, at(1, 10), false},
		"an older chunk":        {true, at(1, 3), false},
		"chunk of another log":  {true, at(2, 3), true},
		"before a log is found": {false, at(1, 3), true},
	} {
		t.Run(name, func(t *testing.T) {
			tail := &Tail{Cache: NewCache(1), wakes: wakeup.New()}
			if c.opened {
				tail.Cache.Restart(at(1, 10))
			}
			tail.Reported(c.at)
			if woken := len(tail.wakes) > 0; woken != c.wakes || !tail.reporting.Load() {
				t.Errorf("the tail is woken: %v, want %v", woken, c.wakes)
			}
		})
	}
}
