// SPDX-License-Identifier: Apache-2.0

package idtable_test

import (
	"math/rand/v2"
	"testing"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema/idtable"
)

func TestATableMatchesAMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	c := idtable.New[int]()
	want := make(map[event.ContextID]*int)
	for range 300_000 {
		// Similar ids, as in a log without encrypted ids.
		id := event.ContextID{byte(r.IntN(256)), 8: byte(r.IntN(20))}
		switch r.IntN(5) {
		case 0, 1:
			s := new(int)
			c.Set(&id, s)
			want[id] = s
		case 2:
			if s := want[id]; s != nil {
				c.Remove(&id, s)
				delete(want, id)
			}
		case 3:
			c.Remove(&id, new(int)) // not the value of the id
		}
		if got := c.Get(&id); got != want[id] || c.Len() != len(want) {
			t.Fatalf("got %p of %d, want %p of %d", got, c.Len(), want[id], len(want))
		}
	}
}
