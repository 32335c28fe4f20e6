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

// pageCache holds interrupted walks and windows for the pages that continue them, which would otherwise
// read the same entries again. The zero value is empty. Methods may be called concurrently.
type pageCache struct {
	mu    sync.Mutex
	items []*item // the oldest first
	ended bool
	// running are the goroutines that read ahead.
	running sync.WaitGroup
}

// item is a kept walk or window. pageCache.mu guards its fields.
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
func (c *pageCache) take(page key) paused {
	it := c.find(page)
	if it == nil {
		return nil
	}
	if it.done != nil {
		<-it.done // it reads what the page would read
	}
	return it.content
}

// find removes and returns the item for a page, nil if there is none.
func (c *pageCache) find(page key) *item {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, it := range c.items {
		if it.key == page {
			c.items = slices.Delete(c.items, i, i+1)
			it.timer.Stop()
			return it
		}
	}
	return nil
}

// put keeps a walk or window for a page. ahead, if not nil, reads ahead in another goroutine.
func (c *pageCache) put(page key, content paused, ahead func(context.Context)) {
	it := &item{key: page, content: content, bytes: content.bytes()}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		content.close()
		return
	}
	it.timer = time.AfterFunc(keepTime, func() { c.discard(it) })
	c.items = append(c.items, it)
	c.shrink()
	if ahead == nil {
		return
	}
	var ctx context.Context
	ctx, it.cancel = context.WithCancel(context.Background())
	it.done, it.reading = make(chan struct{}), true
	c.running.Go(func() {
		ahead(ctx)
		c.read(it)
	})
}

// read ends reading ahead.
func (c *pageCache) read(it *item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	it.cancel()
	it.reading = false
	close(it.done)
	if it.discarded {
		it.content.close()
	} else if slices.Contains(c.items, it) {
		it.bytes = it.content.bytes()
		c.shrink()
	}
}

// shrink discards the oldest items above the limits. The caller holds mu.
func (c *pageCache) shrink() {
	bytes := 0
	for i := len(c.items) - 1; i >= 0; i-- {
		bytes += c.items[i].bytes
		if n := len(c.items) - i; n > maxKept || n > 1 && bytes > maxKeptBytes {
			for _, old := range c.items[:i+1] {
				old.end()
			}
			c.items = slices.Delete(c.items, 0, i+1)
			return
		}
	}
}

// end discards an item. The caller holds pageCache.mu and removes it.
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
func (c *pageCache) discard(it *item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.items, it); i >= 0 {
		c.items = slices.Delete(c.items, i, i+1)
		it.end()
	}
}

// close discards all items, and keeps no further ones.
func (c *pageCache) close() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.empty()
	c.running.Wait()
}

// empty discards all items.
func (c *pageCache) empty() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, it := range c.items {
		it.end()
	}
	c.items = nil
}
