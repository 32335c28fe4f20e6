// SPDX-License-Identifier: Apache-2.0

package loss

// Reason is why events were lost, in the words of the log and of the status.
type Reason string

// The reasons for losses, of which places has every one.
const (
	// RingFull: the agent did not keep up, or a process took so much of the
	// ring that what is left is for others.
	RingFull Reason = "ring-full"
	// RateLimit: the process, or all of its user's, made more hits than they
	// may.
	RateLimit Reason = "rate-limit"
	// SpecMissing: the site has no entry in the site map.
	SpecMissing Reason = "spec-missing"
	// Unreadable is memory of the process that could not be read: the
	// arguments of a probe (a hit), or an array or a key (events of a recorded
	// hit).
	Unreadable Reason = "unreadable"
	// Oversize are elements of an array after the sixteen that a probe may
	// give (events of a recorded hit).
	Oversize Reason = "oversize"
	// Undecodable is a ring record that makes no sense.
	Undecodable Reason = "undecodable"
	// QueueFull is a batch that was dropped because the disk did not keep up.
	QueueFull Reason = "queue-full"
	// DiskFull is a batch that was dropped while the disk had no room.
	DiskFull Reason = "disk-full"
	// WriteFailed is a batch that the store refused for another reason.
	WriteFailed Reason = "write-failed"
	// SegmentDeleted are events that had been recorded, in an active segment
	// that another program took away.
	SegmentDeleted Reason = "segment-deleted"
	// NotDurable are events that had been written, and that a failed sync has
	// cost.
	NotDurable Reason = "not-durable"

	// Of a connection whose handshake is lost, or only known in part; each is one
	// event.

	// WireRingFull is RingFull, WireRateLimit is RateLimit for connections.
	WireRingFull  Reason = "wire-ring-full"
	WireRateLimit Reason = "wire-rate-limit"
	// WireCut: what was plaintext took more bytes or records than are followed.
	WireCut Reason = "wire-cut"
	// WireUnreadable: the memory of the program could not be read.
	WireUnreadable Reason = "wire-unreadable"
	// WireUnsupported: bytes moved in a way in which they cannot be seen.
	WireUnsupported Reason = "wire-unsupported"
	// WireEvicted: more connections had begun, or one took longer, than are
	// remembered.
	WireEvicted Reason = "wire-evicted"
)

// places is the table of all reasons: where events are lost for each. The
// tables of docs/architecture.md and docs/admin-guide.md have the same rows.
func places() map[Reason]string {
	const kernel, agent, disk = "kernel", "agent", "disk"
	return map[Reason]string{
		RingFull: kernel, RateLimit: kernel, SpecMissing: kernel, Unreadable: kernel, Oversize: kernel,
		WireRingFull: kernel, WireRateLimit: kernel, WireCut: kernel, WireUnreadable: kernel, WireUnsupported: kernel,
		Undecodable: agent, QueueFull: agent, WireEvicted: agent,
		DiskFull: disk, WriteFailed: disk, SegmentDeleted: disk, NotDurable: disk,
	}
}

// Place returns where events are lost for the reason: "kernel", "agent" or
// "disk"; empty for a reason that is none.
func (r Reason) Place() string { return places()[r] }
