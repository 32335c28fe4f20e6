// SPDX-License-Identifier: Apache-2.0

// Package agent records probe hits and handshakes in the log: it connects a pipeline to
// a store, attaches to libraries and maintains the store.
//
// The pipeline reads the ring, and the committer compresses its batches and appends them
// to the store, each in a goroutine. Further goroutines watch the libraries and maintain
// the store. They share the queue of batches and counters that have their own locks.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"crypto-auditing/src/internal/attach"
	"crypto-auditing/src/internal/discover"
	"crypto-auditing/src/internal/entry"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/exclude"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/file"
	"crypto-auditing/src/internal/loss"
	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/pipeline"
	"crypto-auditing/src/internal/probe"
	"crypto-auditing/src/internal/retention"
)

// Options configure an Agent.
type Options struct {
	// Version is the version of the agent, for the notices of start and stop.
	Version string
	// Probes records the probes of libraries, Functions the calls of functions of
	// libraries without probes.
	Probes, Functions bool
	// Libraries finds the files for both; nil disables both. The agent waits for files
	// that do not exist or have no probes.
	Libraries discover.Finder
	// Processes also examines the files that processes load, wherever they are. Opener is
	// the path of the socket of crau-opener, which opens those of other mount namespaces.
	Processes bool
	Opener    string
	// Sockets records handshakes at the sockets of all programs, Datagrams also those
	// over UDP.
	Sockets, Datagrams bool
	// ConnectionLimit bounds the connections per second of one process that are
	// examined; 0 disables the limit.
	ConnectionLimit uint64
	// Suspects are globs of executables that are known to forward handshakes of others
	// through one socket.
	Suspects []string
	// Exclude lists the rules for what is not recorded.
	Exclude []*exclude.Rule
	// RecordUnit adds the name of the program's unit to what is recorded at sockets and
	// by functions.
	RecordUnit bool
	// LogDir is the directory of the store.
	LogDir string
	// CoalesceWindow is how long events of a context are collected.
	CoalesceWindow time.Duration
	// RingSize is the size of the BPF ring in bytes; zero for the default.
	RingSize int
	// Profile forces a method of attachment ("uprobe_multi" or "perf_event"); empty for
	// the best that the kernel has.
	Profile string
	// RateLimit bounds the hits per second of one process; 0 disables the limit.
	RateLimit uint64
	// KeyLifetime is how long a context key is used; 0 for the lifetime of the agent.
	KeyLifetime time.Duration
	// SyncInterval is the longest time until a committed chunk is durable.
	SyncInterval time.Duration
	// SegmentSize, in bytes, and SegmentAge limit a segment of the log.
	SegmentSize int64
	SegmentAge  time.Duration
	// Limits bound the log.
	Limits retention.Policy

	Log *slog.Logger
	// Ready, if not nil, is called when recording has started.
	Ready func()
	// Changed, if not nil, is called from any goroutine when the Summary may have
	// changed. It must not block.
	Changed func()
}

// finder returns the finder for the libraries.
func (a *Agent) finder(o *Options) discover.Finder {
	switch {
	case o.Libraries == nil:
		return discover.Named(nil)
	case a.processes != nil:
		return a.processes.finder(o.Libraries)
	}
	return o.Libraries
}

// Counters counts what an agent has recorded and lost since it started.
type Counters struct {
	// Hits is the number of probe hits whose readable values are all in the log. Events
	// is the number of their events: one for a new context, one for each element.
	Hits, Events uint64
	// Groups and Chunks count the groups and chunks that contain them.
	Groups, Chunks uint64
	// Lost lists the losses by reason.
	Lost []loss.Loss
	// RingHighWater is the highest number of bytes that ever waited in the ring.
	RingHighWater uint64
}

// Agent records probe hits.
type Agent struct {
	options   Options
	started   time.Time
	bootID    [16]byte
	tracer    *probe.Tracer
	writer    *logstore.Writer
	losses    *loss.Counters
	committer *committer
	pipeline  *pipeline.Pipeline
	libraries *attach.Libraries
	// processes is nil unless files are found through processes.
	processes   *processes
	sockets     socketSource
	exclude     exclude.Set
	functions   functionSource
	maintenance *maintenance
}

// New loads the BPF programs and opens the store. It does not attach to libraries yet.
func New(ctx context.Context, o Options) (*Agent, error) {
	if o.Changed == nil {
		o.Changed = func() {}
	}
	files, err := file.Best()
	if err != nil {
		o.Log.Info("the log is written without io_uring", "reason", err)
	}
	bootID, err := logstore.SystemBootID()
	if err != nil {
		return nil, err
	}
	a := &Agent{options: o, started: time.Now(), bootID: bootID, losses: &loss.Counters{}}
	a.committer = newCommitter(a.losses, o.Log)
	a.writer, err = logstore.Open(ctx, o.LogDir, logstore.Options{
		BootID:   bootID,
		EntryLen: event.Len,
		Metadata: metadata,
		Lost:     a.lost,
		Foreign: func(name string, err error) {
			message.SegmentForeign.Log(o.Log, "segment", name, "error", err)
		},
		Terms:        entry.Terms(),
		SegmentSize:  o.SegmentSize,
		SegmentAge:   o.SegmentAge,
		SyncInterval: o.SyncInterval,
		Files:        files,
		Committed: func(p logstore.Position) {
			a.committer.committed(p)
			o.Changed()
		},
	})
	if err != nil {
		return nil, err
	}
	a.committer.store = a.writer
	a.tracer, err = probe.Load(probe.Options{RingSize: o.RingSize, Profile: probe.Profile(o.Profile), RateLimit: o.RateLimit})
	if err != nil {
		return nil, errors.Join(err, a.writer.Close())
	}
	a.pipeline, err = pipeline.New(pipeline.Options{
		Tracer: a.tracer, Sink: a.committer, Losses: a.losses, Log: o.Log,
		// Each segment only has entries under one key.
		Exclude: &a.exclude, Window: o.CoalesceWindow, KeyLifetime: o.KeyLifetime, KeyEnds: func() { a.writer.Rotate(func(string, error) {}) },
	})
	if err != nil {
		return nil, errors.Join(err, a.close())
	}
	a.setPrograms(&o)
	a.committer.segmentBegun = a.pipeline.RepeatNames
	if err := a.watchSockets(); err != nil {
		return nil, errors.Join(err, a.close())
	}
	if err := a.recordFunctions(); err != nil {
		return nil, errors.Join(err, a.close())
	}
	if o.Processes && o.Libraries != nil {
		a.processes = a.newProcesses()
	}
	a.libraries = attach.New(attach.Options{
		Tracer: a.tracer, Log: o.Log, Finder: a.finder(&o), Sources: a.sources(), Changed: o.Changed, Others: a.sockets.source != nil,
		Attached: a.pipeline.Name,
		Missed:   a.miss,
	})
	a.maintenance = newMaintenance(a.writer, o.LogDir, o.Limits, o.Log)
	return a, nil
}

// miss records that a library was not recorded for some time.
func (a *Agent) miss(u loss.Unrecorded) {
	a.losses.Miss(u)
	a.tracer.Ring().Wake()
}

// metadata returns the first entry of a segment.
func metadata(now logstore.Moment) []byte {
	return event.AppendMetadata(nil, now.Offset/int64(time.Second), now.Boot)
}

// Run records until ctx is done. Then it detaches, commits everything captured until
// then and closes the store.
func (a *Agent) Run(ctx context.Context) error {
	stopAnswering := a.libraries.Answer()
	if err := a.libraries.Attach(); err != nil {
		var denied *probe.DeniedError
		if errors.As(err, &denied) && a.libraries.Attached() == 0 {
			stopAnswering()
			return errors.Join(err, a.close())
		}
		// The agent waits for the missing files.
		a.options.Log.Error("some libraries are not recorded", "error", err)
	}
	a.libraries.ReportNone()
	if err := a.noteStart(); err != nil {
		stopAnswering()
		return errors.Join(fmt.Errorf("cannot start recording: %w", err), a.close())
	}
	// The store is maintained until it is closed, the libraries are watched until the
	// pipeline ends, the pipeline runs until ctx is done.
	keeping, stopKeeping := context.WithCancel(context.Background())
	kept := start(func() { a.maintenance.run(keeping) })
	committed := start(a.committer.run)
	watching, stopWatching := context.WithCancel(ctx)
	discovered := start(func() { a.discover(watching) })
	watched := start(func() {
		if err := a.libraries.Watch(watching); err != nil {
			a.options.Log.Error("replaced libraries will not be noticed", "error", err)
		}
		a.libraries.ReportMissing(0)
	})
	recording, stopRecording := context.WithCancel(context.Background())
	recorded := make(chan error, 1)
	go func() { recorded <- a.pipeline.Run(recording) }()
	if a.options.Ready != nil {
		a.options.Ready()
	}

	var err error
	select {
	case <-ctx.Done():
		// Nothing may be attached once the pipeline has detached.
		stopWatching()
		<-watched
		<-discovered
		stopRecording()
		err = <-recorded
	case err = <-recorded:
		stopWatching()
		<-watched
		<-discovered
		stopRecording()
	}
	// Everything is detached.
	stopAnswering()
	<-committed
	a.noteStop(err)
	stopKeeping()
	<-kept
	err = errors.Join(err, a.close())
	a.summarise()
	return err
}

// start runs f in a goroutine and returns a channel that is closed when f returns.
func start(f func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	return done
}

func (a *Agent) summarise() {
	c := a.Counters()
	message.Stopped.Log(a.options.Log, "recorded_hits", c.Hits, "recorded_events", c.Events, "groups", c.Groups, "chunks", c.Chunks)
	for _, l := range c.Lost {
		if l.Hits != 0 || l.Events != 0 {
			a.options.Log.Warn("lost", "place", l.Reason.Place(), "reason", l.Reason, "lost_hits", l.Hits, "lost_events", l.Events)
		}
	}
}

func (a *Agent) close() error {
	err := a.writer.Close()
	a.committer.abandon(err)
	if a.sockets.source != nil {
		err = errors.Join(err, a.sockets.source.Close())
	}
	if a.processes != nil {
		a.processes.close()
	}
	return errors.Join(err, a.tracer.Close())
}

// Counters returns the counters. It may be called from any goroutine.
func (a *Agent) Counters() Counters {
	c := a.committer.counts()
	return Counters{
		Hits: c.hits, Events: c.events, Groups: c.groups, Chunks: c.chunks,
		Lost: a.losses.List(), RingHighWater: a.tracer.Ring().HighWater(),
	}
}

// Flush commits everything captured before the call and makes it durable. It returns
// the cursor after the last entry.
func (a *Agent) Flush(ctx context.Context) (logstore.Cursor, error) {
	return after(ctx, a.pipeline, func(done func(logstore.Cursor, error)) {
		// Do not delay later batches by a slow disk.
		go func() { done(a.writer.Flush()) }()
	})
}

// Rotate flushes like Flush and starts a new segment, whose file name it returns.
func (a *Agent) Rotate(ctx context.Context) (string, error) {
	return after(ctx, a.pipeline, a.writer.Rotate)
}

// Alive returns once the pipeline and the committer have processed a call, which shows
// that they are working.
func (a *Agent) Alive(ctx context.Context) error {
	_, err := after(ctx, a.pipeline, func(done func(struct{}, error)) { done(struct{}{}, nil) })
	return err
}

// after makes a call in the committer once that has everything captured before, and
// returns the result that the call passes to done.
func after[T any](ctx context.Context, p *pipeline.Pipeline, call func(done func(T, error))) (result T, err error) {
	type outcome struct {
		result T
		err    error
	}
	answer := make(chan outcome, 1)
	if err := p.After(ctx, func() { call(func(result T, err error) { answer <- outcome{result, err} }) }); err != nil {
		return result, err
	}
	select {
	case o := <-answer:
		return o.result, o.err
	case <-ctx.Done():
		return result, ctx.Err()
	}
}

// Follow calls notify for every chunk committed from now on, until ctx is done, notify
// fails, or the caller does not keep up (ErrLagging).
func (a *Agent) Follow(ctx context.Context, notify func(logstore.Position) error) error {
	return a.committer.feed.follow(ctx, notify)
}

// Reload applies the options that can change while the agent runs: the libraries, the
// flush window, the limits of processes, the exclusions and suspects, the lifetime of
// the context key and the limits of the log. It returns the names of other options that
// differ; these require a restart.
func (a *Agent) Reload(o Options) (restart []string, err error) {
	for name, differs := range map[string]bool{
		"log_dir":            o.LogDir != a.options.LogDir,
		"ring_size":          o.RingSize != a.options.RingSize,
		"sync_interval":      o.SyncInterval != a.options.SyncInterval,
		"segment_size":       o.SegmentSize != a.options.SegmentSize,
		"segment_age":        o.SegmentAge != a.options.SegmentAge,
		"discover_processes": o.Processes != a.options.Processes,
		"record_unit":        o.RecordUnit != a.options.RecordUnit,
		"sources":            o.Sockets != a.options.Sockets || o.Datagrams != a.options.Datagrams || o.Probes != a.options.Probes || o.Functions != a.options.Functions,
	} {
		if differs {
			restart = append(restart, name)
		}
	}
	a.pipeline.SetTimes(o.CoalesceWindow, o.KeyLifetime)
	a.tracer.SetRateLimit(o.RateLimit)
	a.setPrograms(&o)
	a.maintenance.limits.Store(&o.Limits)
	return restart, a.libraries.Reconfigure(a.finder(&o))
}

// setPrograms applies which programs are excluded, suspected or limited.
func (a *Agent) setPrograms(o *Options) {
	a.exclude.Replace(o.Exclude)
	a.tracer.SetOwners(a.exclude.Rules().NeedsOwner())
	a.tracer.SetConnectionLimit(o.ConnectionLimit)
	a.sockets.suspects.Store(&o.Suspects)
}
