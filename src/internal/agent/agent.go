// SPDX-License-Identifier: Apache-2.0

// Package agent turns probe hits into the log: ring records are merged into
// event groups, those are flushed into chunks, and the chunks appended to the
// store.
//
// Three goroutines share the work: the pipeline reads the ring, the committer
// writes to the store, and one watches the libraries. They meet in the queue of
// batches and in the loss counters, which have their own lock.
package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/probe"
)

// Options configure an Agent.
type Options struct {
	// Libraries are paths and globs of files with probes. Optional says that
	// it is no error if some or all are missing or have no probes.
	Libraries []string
	Optional  bool
	// LogDir is the directory of the store.
	LogDir string
	// CoalesceWindow is how long events of a context are gathered.
	CoalesceWindow time.Duration
	// Profile forces a way of attaching, "uprobe_multi" or "perf_event"; empty:
	// the best the kernel offers.
	Profile string
	// RingSize is the size of the BPF ring in bytes; zero: the default.
	RingSize int
	// SyncInterval is how long a committed chunk may stay not durable.
	SyncInterval time.Duration
	// SegmentSize and SegmentAge end a segment of the log.
	SegmentSize int64
	SegmentAge  time.Duration

	Log *slog.Logger
	// Ready, if set, is called when the agent records.
	Ready func()
}

// Counters is what an agent has recorded and lost since it started.
type Counters struct {
	// Hits is the number of probe hits of which everything readable is in the
	// log, Events what they amount to: one for a new context, one for a value.
	Hits, Events uint64
	// Groups and Chunks count what they were put into.
	Groups, Chunks uint64
	// Lost lists the losses by reason.
	Lost []Loss
	// RingHighWater is the most that ever waited in the ring, in bytes.
	RingHighWater uint64
}

// Agent records probe hits.
type Agent struct {
	options   Options
	tracer    *probe.Tracer
	writer    *logstore.Writer
	losses    *losses
	committer *committer
	pipeline  *pipeline
	libraries *libraries
}

// New loads the BPF programs and takes the store. It attaches to nothing yet.
func New(o Options) (*Agent, error) {
	key := make([]byte, 16)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("cannot make a context key: %w", err)
	}
	cipher, err := event.NewCipher(key)
	if err != nil {
		return nil, err
	}
	writer, err := logstore.Open(o.LogDir, logstore.Options{
		EntryLen: event.Len,
		Metadata: func(now logstore.Moment) []byte {
			boot := now.Offset / int64(time.Second)
			return event.AppendMetadata(nil, boot, now.Boot)
		},
		SegmentSize:  o.SegmentSize,
		SegmentAge:   o.SegmentAge,
		SyncInterval: o.SyncInterval,
	})
	if err != nil {
		return nil, err
	}
	tracer, err := probe.Load(probe.Options{RingSize: o.RingSize, Profile: probe.Profile(o.Profile)})
	if err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	a := &Agent{options: o, tracer: tracer, writer: writer, losses: &losses{}}
	a.committer = newCommitter(writer, a.losses, o.Log, o.SyncInterval)
	a.pipeline = &pipeline{
		tracer: tracer, window: newWindow(cipher), committer: a.committer, losses: a.losses, log: o.Log,
		coalesce: o.CoalesceWindow, requests: make(chan request, 64),
	}
	a.libraries = &libraries{
		tracer: tracer, log: o.Log, patterns: o.Libraries, optional: o.Optional,
		attached: map[fileID]*probe.Library{}, failed: map[fileID]error{},
	}
	return a, nil
}

// Run records until ctx ends. Then it detaches, commits what was probed until
// then and closes the store.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.libraries.attach(); err != nil {
		if len(a.libraries.list()) == 0 {
			return errors.Join(err, a.close())
		}
		a.options.Log.Error("some libraries are not recorded", "error", err)
	}
	if len(a.libraries.list()) == 0 {
		a.options.Log.Warn("no library with probes was found: waiting for one", "libraries", a.options.Libraries)
	}
	stopWatch, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		if err := a.libraries.watch(stopWatch); err != nil {
			a.options.Log.Error("replaced libraries will not be noticed", "error", err)
		}
	}()
	committed := make(chan struct{})
	go func() {
		defer close(committed)
		a.committer.run()
	}()
	if a.options.Ready != nil {
		a.options.Ready()
	}
	err := a.pipeline.run(ctx)
	close(stopWatch)
	<-watched
	<-committed
	c := a.Counters()
	a.options.Log.Info("stopped", "recorded_hits", c.Hits, "recorded_events", c.Events, "groups", c.Groups, "chunks", c.Chunks)
	for _, l := range c.Lost {
		if l.Hits == 0 && l.Events == 0 {
			continue
		}
		a.options.Log.Warn("lost", "place", l.Place, "reason", l.Reason.Reason, "lost_hits", l.Hits, "lost_events", l.Events)
	}
	return errors.Join(err, a.close())
}

func (a *Agent) close() error {
	return errors.Join(a.tracer.Close(), a.writer.Close())
}

// Counters returns what was recorded and lost so far. It may be called from
// any goroutine.
func (a *Agent) Counters() Counters {
	return Counters{
		Hits:   a.committer.stats.hits.Load(),
		Events: a.committer.stats.events.Load(),
		Groups: a.committer.stats.groups.Load(),
		Chunks: a.committer.stats.chunks.Load(),
		Lost:   a.losses.list(), RingHighWater: a.tracer.Ring().HighWater(),
	}
}

// Flush commits everything that was probed before the call and makes it
// durable. It returns the cursor behind it.
func (a *Agent) Flush(ctx context.Context) (logstore.Cursor, error) {
	f, err := a.request(ctx, false)
	return f.cursor, err
}

// Rotate does what Flush does and begins a new segment, whose file name it
// returns.
func (a *Agent) Rotate(ctx context.Context) (string, error) {
	f, err := a.request(ctx, true)
	return f.segment, err
}

func (a *Agent) request(ctx context.Context, rotate bool) (flushed, error) {
	answer := make(chan flushed, 1)
	select {
	case a.pipeline.requests <- request{answer: answer, rotate: rotate}:
	case <-ctx.Done():
		return flushed{}, ctx.Err()
	}
	a.tracer.Ring().Wake()
	select {
	case f := <-answer:
		return f, f.err
	case <-ctx.Done():
		return flushed{}, ctx.Err()
	}
}
