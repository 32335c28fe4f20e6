// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/attach"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/segment"
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

	Libraries []attach.LibraryStatus
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

// checkTime bounds how long Status waits for a look at the log's directory.
const checkTime = time.Second

// Status returns how things are now. It may be called from any goroutine. The
// error says what could not be found out; the rest is filled in all the same.
func (a *Agent) Status() (Status, error) {
	var errs []error
	// Whatever happened to the log meanwhile is to show. A disk that hangs must
	// not hold up the answer.
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	a.writer.Check(ctx)
	cancel()
	committed := a.committer.counts()
	store := a.writer.Status()
	s := Status{
		Started: a.started, Profile: string(a.tracer.Profile()),
		Directory: a.options.LogDir, Newest: store.Committed,
		Counters: a.Counters(), RingSize: a.tracer.Ring().Size(),
		Latency: committed.latency.latency(), Libraries: a.libraries.Status(),
	}
	if store.Err != nil {
		s.Full = store.Err.Error()
	}
	var err error
	if s.HitsSeen, err = a.tracer.Hits(); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, s.disk(), s.process(), a.foreign())
	return s, errors.Join(errs...)
}

// foreign returns an error if files in the log's directory are passed over.
func (a *Agent) foreign() error {
	reasons, err := a.writer.Foreign()
	switch {
	case err != nil:
		return nil // disk has it, too
	case len(reasons) == 1:
		return fmt.Errorf("a file in the log's directory is passed over: %w", reasons[0])
	case len(reasons) > 1:
		return fmt.Errorf("%d files in the log's directory are passed over, among them: %w", len(reasons), reasons[0])
	}
	return nil
}

// disk fills in what the log takes.
func (s *Status) disk() error {
	list, err := segment.List(s.Directory)
	if err != nil {
		return fmt.Errorf("cannot list the log: %w", err)
	}
	s.Segments = len(list)
	s.Oldest = logstore.Cursor{Store: s.Newest.Store}
	if len(list) > 0 {
		s.Oldest.Sequence = list[0] - 1
	}
	for _, first := range list {
		// A segment that is removed meanwhile takes nothing.
		if info, err := os.Stat(filepath.Join(s.Directory, segment.Name(first))); err == nil {
			s.DiskUsage += uint64(info.Size())
		}
	}
	var fileSystem unix.Statfs_t
	if err := unix.Statfs(s.Directory, &fileSystem); err != nil {
		return fmt.Errorf("cannot get the free space of %s: %w", s.Directory, err)
	}
	s.DiskFree = fileSystem.Bavail * uint64(fileSystem.Bsize)
	return nil
}

// process fills in what the agent costs.
func (s *Status) process() error {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return fmt.Errorf("cannot get the time used: %w", err)
	}
	s.CPU = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return fmt.Errorf("cannot get the memory used: %w", err)
	}
	var size, resident uint64
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		return fmt.Errorf("cannot get the memory used: %w", err)
	}
	s.Resident = resident * uint64(os.Getpagesize())
	return nil
}
