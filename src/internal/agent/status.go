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

	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/segment"
	"crypto-auditing/src/internal/status"
)

// latencyBounds returns the upper bounds of the latency buckets.
func latencyBounds() []time.Duration {
	const ms = time.Millisecond
	return []time.Duration{
		1 * ms, 2 * ms, 5 * ms, 10 * ms, 25 * ms, 50 * ms, 75 * ms, 100 * ms, 125 * ms, 150 * ms, 200 * ms,
		300 * ms, 500 * ms, 1000 * ms, 2500 * ms, 5000 * ms, 10000 * ms,
	}
}

// checkTime bounds how long Status waits for a check of the log directory.
const checkTime = time.Second

// Status returns the status. It may be called from any goroutine. The error describes
// values that could not be determined; all others are set. Names and errors may contain
// arbitrary bytes.
func (a *Agent) Status() (status.Agent, error) {
	var errs []error
	// Update the store's view of the log first. A hanging disk must not delay the reply.
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	a.writer.Check(ctx)
	cancel()
	committed := a.committer.counts()
	store := a.writer.Status()
	counters := a.Counters()
	s := status.Agent{
		Started: a.started, Profile: string(a.tracer.Profile()), LogDirectory: a.options.LogDir, Newest: store.Committed.String(),
		Hits: counters.Hits, HitsExcluded: a.exclude.Hits(), Events: counters.Events, Groups: counters.Groups, Chunks: counters.Chunks,
		RingSize: a.tracer.Ring().Size(), RingHighWater: counters.RingHighWater,
		Latency: committed.latency.status(), Libraries: a.libraries.Status(),
	}
	if a.options.Probes {
		s.Sources = append(s.Sources, status.Source{Name: "usdt", FrontEnd: s.Profile})
	}
	if a.options.Functions {
		s.Sources = append(s.Sources, a.functions.status(a.pipeline, &s))
	}
	if a.options.Sockets {
		source, err := a.sockets.status(a.pipeline, &s)
		s.Sources = append(s.Sources, source)
		errs = append(errs, err)
	}
	for _, r := range a.exclude.Rules() {
		s.Exclusions = append(s.Exclusions, status.Exclusion{Rule: r.String(), Handshakes: r.Handshakes.Load(), Hits: r.Hits.Load()})
	}
	for _, l := range counters.Lost {
		s.Losses = append(s.Losses, status.Loss{Place: l.Reason.Place(), Reason: string(l.Reason), Hits: l.Hits, Events: l.Events})
	}
	for i := range s.Libraries {
		if l := &s.Libraries[i]; !l.Since.IsZero() {
			l.Attached = s.Profile
		}
	}
	if store.Err != nil {
		s.Full = store.Err.Error()
	}
	var err error
	if s.HitsSeen, err = a.tracer.Hits(); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, disk(&s, store.Committed.Store), process(&s), a.foreign())
	return s, errors.Join(errs...)
}

// foreign returns an error if files in the log directory are ignored.
func (a *Agent) foreign() error {
	reasons, err := a.writer.Foreign()
	switch {
	case err != nil:
		return nil // disk reports it, too
	case len(reasons) == 1:
		return fmt.Errorf("a file in the log directory is skipped: %w", reasons[0])
	case len(reasons) > 1:
		return fmt.Errorf("%d files in the log directory are skipped, among them: %w", len(reasons), reasons[0])
	}
	return nil
}

// disk sets the disk usage of the log.
func disk(s *status.Agent, store [16]byte) error {
	list, err := segment.List(s.LogDirectory)
	if err != nil {
		s.Oldest = logstore.Cursor{}.String()
		return fmt.Errorf("cannot list the log: %w", err)
	}
	s.Segments = uint64(len(list))
	oldest := logstore.Cursor{Store: store}
	if len(list) > 0 {
		oldest.Sequence = list[0] - 1
	}
	s.Oldest = oldest.String()
	for _, first := range list {
		// A segment that was removed in the meantime takes no space.
		if info, err := os.Stat(filepath.Join(s.LogDirectory, segment.Name(first))); err == nil {
			s.DiskUsage += uint64(info.Size())
		}
	}
	var fileSystem unix.Statfs_t
	if err := unix.Statfs(s.LogDirectory, &fileSystem); err != nil {
		return fmt.Errorf("cannot get the free space of %s: %w", s.LogDirectory, err)
	}
	s.DiskFree = fileSystem.Bavail * uint64(fileSystem.Bsize)
	return nil
}

// process sets the CPU time and the memory of the agent.
func process(s *status.Agent) error {
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
