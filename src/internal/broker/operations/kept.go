// SPDX-License-Identifier: Apache-2.0

package operations

import (
	"slices"
	"sync"
	"time"

	"crypto-auditing/src/internal/logstore"
)

const (
	// maxKept and maxKeptBytes bound what is kept: its number, and the memory of its trees in
	// bytes. The oldest is discarded first,
	// the newest never.
	maxKept      = 4
	maxKeptBytes = 32 << 20
	// keepTime is how long something is kept for the next page.
	keepTime = 10 * time.Second
)

// key is what the next page of a reader asks for.
type key struct {
	at          logstore.Cursor
	filter      string
	newestFirst bool
}

// key returns the key of a page that continues at Next.
func (p *Page) key() key { return key{p.Next, p.Filter.Key, p.NewestFirst} }

// paused is a part of the log that was read further than a page shows.
type paused interface {
	close()
	// bytes returns the approximate memory that it uses.
	bytes() int
}

// kept holds what a page has read for the page that continues there, which otherwise would read it
// again with the same result. The zero value is empty. Methods may be called concurrently.
type kept struct {
	mu    sync.Mutex
	items []*item // the oldest first
	ended bool
}

type item struct {
	key   key
	what  paused
	timer *time.Timer
}

// take removes what is kept for a page and returns it, nil if there is nothing.
func (k *kept) take(of key) paused {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, it := range k.items {
		if it.key == of {
			k.items = slices.Delete(k.items, i, i+1)
			it.timer.Stop()
			return it.what
		}
	}
	return nil
}

// put keeps something for a page.
func (k *kept) put(of key, what paused) {
	it := &item{key: of, what: what}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended {
		what.close()
		return
	}
	it.timer = time.AfterFunc(keepTime, func() { k.discard(it) })
	k.items = append(k.items, it)
	bytes := 0
	for i := len(k.items) - 1; i >= 0; i-- {
		bytes += k.items[i].what.bytes()
		if n := len(k.items) - i; n > maxKept || n > 1 && bytes > maxKeptBytes {
			for _, old := range k.items[:i+1] {
				old.timer.Stop()
				old.what.close()
			}
			k.items = slices.Delete(k.items, 0, i+1)
			return
		}
	}
}

// discard ends something that is kept, unless it was taken.
func (k *kept) discard(it *item) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if i := slices.Index(k.items, it); i >= 0 {
		k.items = slices.Delete(k.items, i, i+1)
		it.what.close()
	}
}

// close ends all that is kept, and keeps nothing from now on.
func (k *kept) close() {
	k.mu.Lock()
	k.ended = true
	k.mu.Unlock()
	k.empty()
}

// empty ends all that is kept.
func (k *kept) empty() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, it := range k.items {
		it.timer.Stop()
		it.what.close()
	}
	k.items = nil
}
