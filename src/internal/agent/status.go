// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"time"

	"crypto-auditing/src/internal/logstore"
)

// Status is what there is to say about a running agent.
type Status struct {
	// Started is when the agent began.
	Started time.Time
	// Profile is how the kernel lets it attach: "uprobe_multi" or
	// "perf_event".
	Profile string
	// Directory is the log's. Newest is the cursor behind the last committed
	// entry, Oldest the one before the first that is left.
	Directory      string
	Newest, Oldest logstore.Cursor
	// DiskUsage is the size of all segments, Segments their number, DiskFree
	// what the file system has left; bytes.
	DiskUsage, DiskFree uint64
	Segments            int
	// Full says why the disk takes nothing at the moment; empty: it does.
	Full string

	Counters
	// HitsSeen counts the hits that the kernel saw, lost ones included.
	HitsSeen uint64
	// RingSize is the size of the ring in bytes.
	RingSize uint64
	// CPU is the time the agent has used, Resident its resident memory in
	// bytes.
	CPU      time.Duration
	Resident uint64
	// Latency counts groups by the time from their first probe to the commit.
	Latency Latency

	Libraries []LibraryStatus
}

// LibraryStatus is what there is to say about a file that the agent attached
// to, or could not.
type LibraryStatus struct {
	Path string
	// BuildID is empty if the file has none.
	BuildID []byte
	// Provider is the name the file's probes go by.
	Provider string
	// Probes are the names of the probes, Sites the number of places.
	Probes []string
	Sites  int
	// Hits were recorded from it.
	Hits uint64
	// Since is when it was attached; zero: it is not.
	Since time.Time
	// Replaced says that another file has taken its path; programs that
	// started before go on using it.
	Replaced bool
	// Error says why it is not attached, or which sites are not.
	Error string
}

// Latency is a histogram of times.
type Latency struct {
	// Counts[i] are those up to LatencyBounds()[i], and not up to the bound
	// before; the last element has no bound.
	Counts []uint64
	// Sum is that of all times.
	Sum time.Duration
}

// LatencyBounds are the upper bounds of a Latency's buckets.
func LatencyBounds() []time.Duration {
	const ms = time.Millisecond
	return []time.Duration{
		1 * ms, 2 * ms, 5 * ms, 10 * ms, 25 * ms, 50 * ms, 75 * ms, 100 * ms, 125 * ms, 150 * ms, 200 * ms,
		300 * ms, 500 * ms, 1000 * ms, 2500 * ms, 5000 * ms, 10000 * ms,
	}
}
