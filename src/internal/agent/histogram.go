// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"slices"
	"time"

	"crypto-auditing/src/internal/status"
)

// histogram counts durations in the buckets of latencyBounds.
type histogram struct {
	bounds []time.Duration
	counts []uint64
	sum    time.Duration
}

func (h *histogram) add(d time.Duration) {
	if h.counts == nil {
		h.bounds = latencyBounds()
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

// status returns the histogram with all its buckets.
func (h *histogram) status() status.Histogram {
	bounds := latencyBounds()
	counts := make([]uint64, len(bounds)+1)
	copy(counts, h.counts)
	return status.Histogram{Bounds: bounds, Counts: counts, Sum: h.sum}
}
