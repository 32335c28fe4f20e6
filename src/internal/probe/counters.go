// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"

	"crypto-auditing/bpf"
)

// Loss counts what the programs could not put into the ring, for one reason,
// since they were loaded.
type Loss struct {
	// Hits counts probe hits, Events what they would have added to the log:
	// one for a new context and one for each value.
	Hits, Events uint64
}

// LossReason says why the programs lost a hit.
type LossReason int

// The reasons, as the programs number them.
const (
	// RingFull: the reader did not keep up, or the process took so much of the
	// ring that what is left is for others.
	RingFull = LossReason(bpf.AuditLossReasonLOSS_RING_FULL)
	// NoSite: the site has no entry in the site map.
	NoSite = LossReason(bpf.AuditLossReasonLOSS_NO_SITE)
	// RateLimit: the process, or all of its user's, made more hits than they
	// may.
	RateLimit = LossReason(bpf.AuditLossReasonLOSS_RATE_LIMIT)
)

// LossReasons is the number of reasons.
const LossReasons = int(bpf.AuditLossReasonLOSS_REASONS)

// String returns the reason as the log and the status name it.
func (r LossReason) String() string {
	switch r {
	case RingFull:
		return "ring-full"
	case NoSite:
		return "spec-missing"
	case RateLimit:
		return "rate-limit"
	}
	return fmt.Sprintf("reason-%d", int(r))
}

// Losses returns the losses by reason.
func (t *Tracer) Losses() (losses [LossReasons]Loss, err error) {
	var perCPU []bpf.AuditLoss
	for r := range losses {
		if err := t.collection.Maps[bpf.AuditMapLosses].Lookup(uint32(r), &perCPU); err != nil {
			return losses, fmt.Errorf("cannot read the loss counters: %w", err)
		}
		for i := range perCPU {
			losses[r].Hits += perCPU[i].Hits
			losses[r].Events += perCPU[i].Events
		}
	}
	return losses, nil
}

// Hits returns the number of probe hits that the programs saw since they were
// loaded, those included that they lost.
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
