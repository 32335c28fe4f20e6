// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"math"

	"crypto-auditing/src/internal/cli/output"
)

// start returns the start of an item.
func start(i *output.Item) int64 {
	if i.Root != nil {
		return i.Root.Start
	}
	return i.Notice.Start
}

// held are waiting items in order. It keeps only the newest trees, and the notices with
// an end after the start of the newest dropped tree. The zero value is empty.
type held struct {
	items []output.Item
	trees int
	// next is the index of the oldest tree, or before it. At the last compaction only
	// notices were left before the index compacted, which is at most next.
	next, compacted int
	// dropped reports whether a tree was dropped; floor is the latest start of dropped trees.
	dropped bool
	floor   int64
}

// add adds an item and drops the oldest trees beyond lines, unless lines is negative.
func (h *held) add(i output.Item, lines int) {
	h.items = append(h.items, i)
	if i.Root != nil {
		h.trees++
	}
	for lines >= 0 && h.trees > lines {
		h.drop()
	}
}

// drop drops the oldest tree.
func (h *held) drop() {
	for h.items[h.next].Root == nil {
		h.next++
	}
	start := h.items[h.next].Root.Start
	if !h.dropped {
		h.dropped, h.floor = true, math.MinInt64
	}
	h.floor = max(h.floor, start)
	h.items[h.next] = output.Item{}
	h.trees--
	h.next++
	// Rare enough to take little time per tree.
	if h.next-h.compacted > len(h.items)/2+64 {
		h.compact()
	}
}

// compact removes the dropped trees, and the notices before the oldest tree that are not
// shown.
func (h *held) compact() {
	if !h.dropped {
		return
	}
	kept := h.items[:0]
	for _, i := range h.items[:h.next] {
		if i.Notice != nil && i.Notice.End >= h.floor {
			kept = append(kept, i)
		}
	}
	n := len(kept)
	kept = append(kept, h.items[h.next:]...)
	clear(h.items[len(kept):])
	h.items, h.next, h.compacted = kept, n, n
}

// take returns the items to show, in order, and empties h.
func (h *held) take() []output.Item {
	h.compact()
	early, rest := h.items[:h.next], h.items[h.next:]
	*h = held{}
	if len(early) == 0 {
		return rest
	}
	// The early notices may have a later start than some of the rest, if the clock was
	// set back.
	items := make([]output.Item, 0, len(early)+len(rest))
	for _, i := range rest {
		for len(early) > 0 && early[0].Notice.Start < start(&i) {
			items, early = append(items, early[0]), early[1:]
		}
		items = append(items, i)
	}
	return append(items, early...)
}
