// SPDX-License-Identifier: Apache-2.0

package backward

import (
	"context"

	"crypto-auditing/src/internal/cli/around"
	"crypto-auditing/src/internal/event"
)

// skipAfter is the number of entries that are read after a group with the sign, because its
// operation may extend to them.
const skipAfter = 32768

// skip skips a part of the log without selected operations, if it is long enough.
func (b *backward) skip(ctx context.Context) error {
	if b.skipper == nil || b.first == 0 {
		return nil
	}
	for i := range b.open {
		if b.open[i].selected {
			return nil
		}
	}
	begin := b.oldest
	if b.begin != nil {
		begin = max(begin, b.begin.Sequence)
	}
	hit, ok, err := b.skipper.Before(ctx, b.from, begin)
	if err != nil {
		return err
	}
	to := begin
	if ok {
		to = hit + skipAfter
	}
	if to+skipAfter >= b.from.Sequence {
		return nil // continuing is cheaper than reading a part twice
	}
	b.skipped = true
	b.skipper.Between(to, b.from.Sequence, func(m *around.NoticeOrGap) {
		var g event.Group
		if m.Gap != nil {
			b.Gap(m.Gap)
		} else if _, err := event.Decode(m.Raw, &g); err == nil { // it was decoded before
			b.Metadata(&g, m.Raw, m.Boot)
		}
	})
	b.open, b.size = nil, 0
	b.from.Sequence, b.first = to, to+1
	return nil
}
