// SPDX-License-Identifier: Apache-2.0

package operations

import (
	"context"
	"slices"
	"sync"
	"time"

	"crypto-auditing/src/internal/logstore"
)

const (
	// maxKept and maxKeptBytes bound the kept items: their number, and the memory of their trees
	// in bytes. The oldest are discarded first, the newest never.
	maxKept      = 4
	maxKeptBytes = 32 << 20
	// keepTime is how long an item is kept for the next page.
	keepTime = 10 * time.Second
)

// key identifies the next page of a reader.
type key struct {
	at          logstore.Cursor
	filter      string
	encoder     Encoder
	newestFirst bool
}

// key returns the key of a page that continues at Next.
func (p *Page) key() key { return key{p.Next, p.Filter.Key, p.Encoder, p.NewestFirst} }

// paused is an interrupted walk or window, with which the next page can continue.
type paused interface {
	close()
	// bytes returns the approximate memory that it uses.
	bytes() int
}

// kept holds interrupted walks and windows for the pages that continue them, which would otherwise
// read the same entries again. The zero value is empty. Methods may be called concurrently.
type kept struct {
	mu    sync.Mutex
	items []*item // the oldest first
	ended bool
	// running are the goroutines that read ahead.
	running sync.WaitGroup
}

// item is a kept walk or window. kept.mu guards its fields.
type item struct {
	key     key
	content paused
	bytes   int
	timer   *time.Timer
	// done is closed when reading ahead has ended, nil without it; cancel ends it.
	done   chan struct{}
	cancel context.CancelFunc
	// reading is set until reading ahead has ended, which closes content if discarded is set.
	reading, discarded bool
}

// take removes the item for a page and returns its content, nil if there is none.
func (k *kept) take(page key) paused {
	it := k.find(page)
	if it == nil {
		return nil
	}
	if it.done != nil {
		<-it.done // it reads what the page would read
	}
	return it.content
}

// find removes and returns the item for a page, nil if there is none.
func (k *kept) find(page key) *item {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, it := range k.items {
		if it.key == page {
			k.items = slices.Delete(k.items, i, i+1)
			it.timer.Stop()
			return it
		}
	}
	return nil
}

// put keeps a walk or window for a page. ahead, if not nil, reads ahead in another goroutine.
func (k *kept) put(page key, content paused, ahead func(context.Context)) {
	it := &item{key: page, content: content, bytes: content.bytes()}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended {
		content.close()
		return
	}
	it.timer = time.AfterFunc(keepTime, func() { k.discard(it) })
	k.items = append(k.items, it)
	k.shrink()
	if ahead == nil {
		return
	}
	var ctx context.Context
	ctx, it.cancel = context.WithCancel(context.Background())
	it.done, it.reading = make(chan struct{}), true
	k.running.Go(func() {
		ahead(ctx)
		k.read(it)
	})
}

// read ends reading ahead.
func (k *kept) read(it *item) {
	k.mu.Lock()
	defer k.mu.Unlock()
	it.cancel()
	it.reading = false
	close(it.done)
	if it.discarded {
		it.content.close()
	} else if slices.Contains(k.items, it) {
		it.bytes = it.content.bytes()
		k.shrink()
	}
}

// shrink discards the oldest items above the limits. The caller holds mu.
func (k *kept) shrink() {
	bytes := 0
	for i := len(k.items) - 1; i >= 0; i-- {
		bytes += k.items[i].bytes
		if n := len(k.items) - i; n > maxKept || n > 1 && bytes > maxKeptBytes {
			for _, old := range k.items[:i+1] {
				old.end()
			}
			k.items = slices.Delete(k.items, 0, i+1)
			return
		}
	}
}

// end discards an item. The caller holds kept.mu and removes it.
func (it *item) end() {
	it.timer.Stop()
	if it.reading {
		it.discarded = true
		it.cancel()
		return
	}
	it.content.close()
}

// discard discards an item, unless it was taken.
func (k *kept) discard(it *item) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if i := slices.Index(k.items, it); i >= 0 {
		k.items = slices.Delete(k.items, i, i+1)
		it.end()
	}
}

// close discards all items, and keeps no further ones.
func (k *kept) close() {
	k.mu.Lock()
	k.ended = true
	k.mu.Unlock()
	k.empty()
	k.running.Wait()
}

// empty discards all items.
func (k *kept) empty() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, it := range k.items {
		it.end()
	}
	k.items = nil
}
