// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"slices"
	"time"
)

// histogram counts times by the buckets of LatencyBounds.
type histogram struct {
	bounds []time.Duration
	counts []uint64
	sum    time.Duration
}

func (h *histogram) add(d time.Duration) {
	if h.counts == nil {
		h.bounds = LatencyBounds()
		h.counts = make([]uint64, len(h.bounds)+1)
	}
	i := 0
	for i < len(h.bounds) && d > h.bounds[i] {
		i++
	}
	h.counts[i]++
	h.sum += d
}

func (h *histogram) clone() histogram {
	return histogram{h.bounds, slices.Clone(h.counts), h.sum}
}

// latency returns the histogram with all its buckets.
func (h *histogram) latency() Latency {
	counts := make([]uint64, len(LatencyBounds())+1)
	copy(counts, h.counts)
	return Latency{Counts: counts, Sum: h.sum}
}
