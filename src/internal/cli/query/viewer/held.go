// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"math"

	"crypto-auditing/src/internal/cli/output"
)

// start returns when what an item is about began.
func start(i *output.Item) int64 {
	if i.Root != nil {
		return i.Root.Start
	}
	return i.Notice.Start
}

// held are items that wait, in their order. Of the trees it keeps the newest.
// With them it keeps the notices about what was not over when the newest tree
// began that it does not keep. The zero value is empty.
type held struct {
	items []output.Item
	trees int
	// next is where the oldest tree is, or after that. Up to compacted, which
	// is not greater, only notices were left at the last compaction.
	next, compacted int
	// dropped reports whether any tree was dropped, the newest of which began
	// at floor.
	dropped bool
	floor   int64
}

// add adds an item and drops the trees that are more than lines, unless lines is
// negative.
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
	// Rarely enough that it costs little per tree.
	if h.next-h.compacted > len(h.items)/2+64 {
		h.compact()
	}
}

// compact removes what was dropped, and the notices before the oldest tree that
// are not to be shown.
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

// take returns what is to be shown, in order, and holds nothing any more.
func (h *held) take() []output.Item {
	h.compact()
	early, rest := h.items[:h.next], h.items[h.next:]
	*h = held{}
	if len(early) == 0 {
		return rest
	}
	// Those that are early may be later than some of the rest, if the clock was
	// put back.
	items := make([]output.Item, 0, len(early)+len(rest))
	for _, i := range rest {
		for len(early) > 0 && early[0].Notice.Start < start(&i) {
			items, early = append(items, early[0]), early[1:]
		}
		items = append(items, i)
	}
	return append(items, early...)
}
