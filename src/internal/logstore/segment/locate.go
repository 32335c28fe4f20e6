// SPDX-License-Identifier: Apache-2.0

package segment

import "sort"

// nearBytes is the number of bytes in which Locate does not search: visiting their chunks
// costs less.
const nearBytes = 2 << 20

// Locate searches a segment without an index for an entry, before the chunk at end, which
// begins after the entry. at is a chunk that begins at or before the entry, close to it; ok
// is false if none was found. after is the offset of a chunk that begins after the entry,
// close to it, or end.
//
// It halves the file, so that it reads little of it, and relies on the order of the chunks.
// Like Before, it trusts only headers with the id of the store.
func (s *Segment) Locate(sequence uint64, store [16]byte, end int64) (at Place, ok bool, after int64, err error) {
	after = end
	// No chunk that begins after the entry begins before low.
	for low := int64(0); after-low > nearBytes; {
		probe := low + (after-low)/2
		places, err := s.Before(probe, store)
		if err != nil {
			return at, ok, after, err
		}
		if len(places) == 0 {
			break // damage: use the result so far
		}
		i := sort.Search(len(places), func(i int) bool { return places[i].Sequence > sequence })
		if i > 0 {
			at, ok, low = places[i-1], true, probe
		}
		if i < len(places) {
			after = places[i].Offset
		}
		if i > 0 && i < len(places) {
			break
		}
	}
	return at, ok, after, nil
}
