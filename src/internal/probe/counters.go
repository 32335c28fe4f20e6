// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"unsafe"

	"crypto-auditing/bpf"
	"crypto-auditing/src/internal/loss"
)

// lossReasons maps the loss numbers of the programs to reasons.
func lossReasons() [bpf.AuditLossReasonLOSS_REASONS]loss.Reason {
	return [...]loss.Reason{
		bpf.AuditLossReasonLOSS_RING_FULL:  loss.RingFull,
		bpf.AuditLossReasonLOSS_NO_SITE:    loss.SpecMissing,
		bpf.AuditLossReasonLOSS_RATE_LIMIT: loss.RateLimit,
	}
}

// Losses returns the hits and events that the programs could not write to the ring since
// they were loaded, by reason; nil if they are unchanged since the last call.
func (t *Tracer) Losses() ([]loss.Loss, error) {
	lossy := t.controlWord(unsafe.Offsetof(bpf.AuditControlBlock{}.Lossy))
	if lossy.Swap(0) == 0 {
		return nil, nil
	}
	var losses []loss.Loss
	var perCPU []bpf.AuditLoss
	for number, reason := range lossReasons() {
		if err := t.collection.Maps[bpf.AuditMapLosses].Lookup(uint32(number), &perCPU); err != nil {
			lossy.Store(1)
			return nil, fmt.Errorf("cannot read the loss counters: %w", err)
		}
		lost := loss.Loss{Reason: reason}
		for i := range perCPU {
			lost.Hits += perCPU[i].Hits
			lost.Events += perCPU[i].Events
		}
		losses = append(losses, lost)
	}
	return losses, nil
}

// Hits returns the number of probe hits since the programs were loaded, including lost
// ones.
func (t *Tracer) Hits() (uint64, error) {
	var perCPU []uint64
	if err := t.collection.Maps[bpf.AuditMapHits].Lookup(uint32(0), &perCPU); err != nil {
		return 0, fmt.Errorf("cannot read the hit counter: %w", err)
	}
	var sum uint64
	for _, n := range perCPU {
		sum += n
	}
	return sum, nil
}
