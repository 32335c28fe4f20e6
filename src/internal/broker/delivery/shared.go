// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"slices"
	"sort"
	"sync"

	"crypto-auditing/src/internal/logstore"
)

// maxShared is the number of parts that are shared, of some turnBytes each.
const maxShared = 16

// shared has the operations that subscriptions have read from the log last, for others with the
// same filter that lag as much: to read operations from a position costs reading the entries
// around it. The zero value is empty. Methods may be called concurrently.
type shared struct {
	mu    sync.Mutex
	parts []*part // the oldest first
}

// part has all operations that match a filter and were completed after a position, up to another
// one. It is immutable.
type part struct {
	filter string
	from   logstore.Cursor
	ahead  ahead
}

// get returns the operations after a position.
func (r *shared) get(filter string, at logstore.Cursor) (a ahead, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range slices.Backward(r.parts) {
		if p.filter == filter && p.from.Store == at.Store && p.from.Sequence <= at.Sequence && at.Sequence < p.ahead.to.Sequence {
			a = p.ahead
			a.pieces = a.pieces[sort.Search(len(a.pieces), func(i int) bool { return a.pieces[i].Sequence > at.Sequence }):]
			return a, true
		}
	}
	return a, false
}

// put adds the operations that were read after a position. a must not be changed afterwards.
func (r *shared) put(filter string, from logstore.Cursor, a ahead) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.parts) == maxShared {
		r.parts = slices.Delete(r.parts, 0, 1)
	}
	a.pieces = slices.Clip(slices.Clone(a.pieces))
	r.parts = append(r.parts, &part{filter, from, a})
}
