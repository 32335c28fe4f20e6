// SPDX-License-Identifier: Apache-2.0

package loss

// Reason is the reason for a loss, as named in the log and the status.
type Reason string

// The reasons for losses. places has every one.
const (
	// RingFull: the agent was too slow, or a process used so much of the ring that the
	// rest is reserved for others.
	RingFull Reason = "ring-full"
	// RateLimit: the process, or all processes of its user together, exceeded the limit
	// of hits.
	RateLimit Reason = "rate-limit"
	// SpecMissing: the site has no entry in the site map.
	SpecMissing Reason = "spec-missing"
	// Unreadable: memory of the process could not be read: the arguments of a probe (a
	// hit), or an array or a key (events of a recorded hit).
	Unreadable Reason = "unreadable"
	// Oversize: an array has more than the sixteen elements that a probe may pass (events
	// of a recorded hit).
	Oversize Reason = "oversize"
	// Undecodable: a ring record is invalid.
	Undecodable Reason = "undecodable"
	// QueueFull: a batch was dropped because the disk was too slow.
	QueueFull Reason = "queue-full"
	// DiskFull: a batch was dropped because the disk was full.
	DiskFull Reason = "disk-full"
	// WriteFailed: the store refused a batch for another reason.
	WriteFailed Reason = "write-failed"
	// SegmentDeleted: recorded events were in an active segment that another program
	// removed.
	SegmentDeleted Reason = "segment-deleted"
	// NotDurable: written events were lost because a sync failed.
	NotDurable Reason = "not-durable"

	// Reasons why the handshake of a connection is lost or only partly known. Each loss
	// counts as one event.

	// WireRingFull is RingFull and WireRateLimit is RateLimit for connections.
	WireRingFull  Reason = "wire-ring-full"
	WireRateLimit Reason = "wire-rate-limit"
	// WireCut: the plaintext has more bytes or records than are tracked.
	WireCut Reason = "wire-cut"
	// WireUnreadable: the memory of the program could not be read.
	WireUnreadable Reason = "wire-unreadable"
	// WireUnsupported: the bytes were transferred in a way that cannot be observed.
	WireUnsupported Reason = "wire-unsupported"
	// WireEvicted: there were more pending connections than are tracked, or one took too
	// long.
	WireEvicted Reason = "wire-evicted"
)

// places is the table of all reasons with the place where the events are lost. The tables in
// docs/architecture.md and docs/admin-guide.md have the same rows.
func places() map[Reason]string {
	const kernel, agent, disk = "kernel", "agent", "disk"
	return map[Reason]string{
		RingFull: kernel, RateLimit: kernel, SpecMissing: kernel, Unreadable: kernel, Oversize: kernel,
		WireRingFull: kernel, WireRateLimit: kernel, WireCut: kernel, WireUnreadable: kernel, WireUnsupported: kernel,
		Undecodable: agent, QueueFull: agent, WireEvicted: agent,
		DiskFull: disk, WriteFailed: disk, SegmentDeleted: disk, NotDurable: disk,
	}
}

// Place returns the place where events are lost for the reason: "kernel", "agent" or "disk";
// empty for an unknown reason.
func (r Reason) Place() string { return places()[r] }
