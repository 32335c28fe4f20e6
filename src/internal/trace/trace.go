// SPDX-License-Identifier: Apache-2.0

// Package trace records process trees from all sources, without a service and without a
// log: it passes the recorded events to a function. It implements crauctl trace.
package trace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/attach"
	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/discover"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/function"
	"crypto-auditing/src/internal/loss"
	"crypto-auditing/src/internal/pipeline"
	"crypto-auditing/src/internal/pipeline/window"
	"crypto-auditing/src/internal/probe"
	"crypto-auditing/src/internal/probe/mappings"
	"crypto-auditing/src/internal/probe/sockets"
	"crypto-auditing/src/internal/probe/tree"
	"crypto-auditing/src/internal/provider"
	"crypto-auditing/src/internal/schema"
)

// flushWindow is the time for which events of a context are collected into a group.
const flushWindow = 20 * time.Millisecond

// Options configure a Tracer.
type Options struct {
	// Sources are the sources to record from.
	Sources []event.Source
	// Files are files that may contain sites, besides the usual libraries: the program and
	// the files that it loads.
	Files []string
	// Relays are globs for base names of programs that relay handshakes of others.
	Relays []string
	// Take is called with each recorded batch, in the goroutine of Run. The batch is
	// valid until it returns.
	Take func(*window.Batch)
}

func (o *Options) uses(s event.Source) bool { return slices.Contains(o.Sources, s) }

// suspects reports whether a program is one of the relays.
func (o *Options) suspects(executable string) bool {
	return slices.ContainsFunc(o.Relays, func(glob string) bool {
		match, _ := path.Match(glob, executable)
		return match
	})
}

// Tracer records process trees.
type Tracer struct {
	options   Options
	tracer    *probe.Tracer
	tree      *tree.Tree
	pipeline  *pipeline.Pipeline
	losses    *loss.Counters
	libraries *attach.Libraries
	files     *discover.Files
	answering func()

	// sockets is nil if that source is not used, or if it failed with socketsErr.
	sockets    *sockets.Source
	socketsErr error

	// sources plan sites in files. functions is nil if that source is not used, or if
	// it failed with functionsErr.
	sources      []capture.Source
	functions    *function.Source
	functionsErr error
	refusing     sync.WaitGroup

	// watcher reports new mappings; nil if it failed with watcherErr.
	watcher    *mappings.Watcher
	watcherErr error
	own        int

	mapped *attach.Mapped

	mu sync.Mutex
	// quarantined are the errors of libraries that were put into quarantine.
	quarantined []error
}

// DeniedError reports that the calling user is not permitted to trace. Its text names
// the missing privileges.
type DeniedError struct{ Err error }

func (e *DeniedError) Error() string {
	if kernelNeedsAdmin(e.Err) {
		return "tracing on a kernel before 6.6 needs root, or CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN: try sudo"
	}
	return "tracing needs root, or CAP_BPF and CAP_PERFMON: try sudo"
}

func (e *DeniedError) Unwrap() error { return e.Err }

// kernelNeedsAdmin reports whether the kernel refused to place probes one by one.
func kernelNeedsAdmin(err error) bool {
	var denied *probe.DeniedError
	return errors.As(err, &denied)
}

// denied converts a permission error of the kernel to a DeniedError.
func denied(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return &DeniedError{err}
	}
	return err
}

// New loads the BPF programs and attaches them to all libraries that the processes may
// use, so that no event of a command that is started afterwards is missed. Recording
// begins with Start or Add. The error is a *DeniedError if the user lacks privileges.
func New(o Options) (*Tracer, error) {
	t := &Tracer{
		options: o, losses: &loss.Counters{}, files: &discover.Files{}, own: os.Getpid(),
		mapped: attach.NewMapped(nil), answering: func() {},
	}
	t.mapped.Roots = true
	var err error
	if t.tracer, err = probe.Load(probe.Options{Followed: true}); err != nil {
		return nil, denied(err)
	}
	if err := t.prepare(); err != nil {
		return nil, errors.Join(denied(err), t.Close())
	}
	return t, nil
}

// prepare loads and attaches all sources.
func (t *Tracer) prepare() (err error) {
	if t.tree, err = tree.Follow(t.tracer); err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	t.pipeline, err = pipeline.New(pipeline.Options{
		Tracer: t.tracer, Sink: &sink{take: t.options.Take}, Losses: t.losses, Log: log, Window: flushWindow, KeyEnds: func() {},
	})
	if err != nil {
		return err
	}
	t.files.Add(t.options.Files...)
	registry, err := schema.Builtin()
	if err != nil {
		return err
	}
	// Both take some tenths of a second, so they run concurrently.
	var attaching sync.WaitGroup
	var attachErr error
	attaching.Go(func() { attachErr = t.attachLibraries(log) })
	if t.options.uses(event.Wire) {
		t.sockets, t.socketsErr = sockets.Attach(t.tracer, sockets.Options{Datagrams: true})
	}
	attaching.Wait()
	if t.sockets != nil {
		t.pipeline.Watch(pipeline.Sockets{Source: t.sockets, Suspect: t.options.suspects})
	}
	if t.functions != nil {
		t.pipeline.Functions(t.functions, registry, false, t.quarantine)
	}
	var no *probe.DeniedError
	if errors.As(attachErr, &no) && t.libraries.Attached() == 0 {
		return no
	}
	if t.sockets == nil && len(t.sources) == 0 {
		return errors.Join(t.socketsErr, t.functionsErr)
	}
	return nil
}

// attachLibraries attaches to the libraries and the files of the command.
func (t *Tracer) attachLibraries(log *slog.Logger) error {
	// A library with probes is not recorded by its functions as well, so probes come
	// first.
	if t.options.uses(event.USDT) {
		t.sources = append(t.sources, provider.Source())
	}
	if t.options.uses(event.Function) {
		if t.functionsErr = t.tracer.LoadFunctions(); t.functionsErr == nil {
			t.functions = function.New()
			t.sources = append(t.sources, t.functions.Capture())
		}
	}
	finder := discover.Finder(discover.Named(nil))
	if len(t.sources) > 0 {
		finder = discover.All{discover.Usual{}, t.files, t.mapped}
	}
	t.libraries = attach.New(attach.Options{
		Tracer: t.tracer, Log: log, Finder: finder, Sources: t.sources, Others: true, Changed: func() {}, Attached: t.pipeline.Name,
		Missed: func(u loss.Unrecorded) {
			t.losses.Miss(u)
			t.tracer.Ring().Wake()
		},
	})
	t.answering = t.libraries.Answer()
	return t.libraries.Attach()
}

// quarantine stops the recording of a library whose values are implausible. The
// pipeline calls it.
func (t *Tracer) quarantine(q *function.QuarantineError) {
	t.mu.Lock()
	t.quarantined = append(t.quarantined, q)
	t.mu.Unlock()
	// Detaching waits for the kernel, so it runs in its own goroutine.
	t.refusing.Go(func() { t.libraries.Refuse(function.Name, q.BuildID, q) })
}

// sink passes batches to a function.
type sink struct {
	batch window.Batch
	take  func(*window.Batch)
}

func (s *sink) Batch() *window.Batch { s.batch.Reset(); return &s.batch }

func (s *sink) Put(b *window.Batch) {
	s.take(b)
	for _, call := range b.Then {
		call()
	}
}

func (s *sink) Close() {}

// Start records the processes that the function start starts, usually one, and all their
// descendants. Call it once, instead of Add.
func (t *Tracer) Start(start func() error) error {
	var startErr error
	adopted := false
	adopt := func() error {
		adopted = true
		startErr = t.tree.Adopt(start)
		return startErr
	}
	t.watcher, t.watcherErr = mappings.Inherit(adopt, t.noteMapped)
	if !adopted {
		return adopt()
	}
	return startErr
}

// Add records running processes and all their descendants, and returns how many these are
// now. The error is a *tree.NoProcessError if one does not exist.
func (t *Tracer) Add(pids ...int) (processes int, err error) {
	all, err := t.tree.Add(pids...)
	if err != nil {
		return 0, err
	}
	t.watcher, t.watcherErr = mappings.Watch(all, t.noteMapped)
	for _, pid := range all {
		for _, m := range mapsOf(pid) {
			t.noteMapped(m)
		}
	}
	t.attachMapped()
	return len(all), nil
}

// Ended reports whether no recorded process is left.
func (t *Tracer) Ended() bool {
	empty, err := t.tree.Empty()
	return empty || err != nil
}

// Run records until ctx is done, and then drains the events in flight.
func (t *Tracer) Run(ctx context.Context) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var others sync.WaitGroup
	others.Go(func() {
		// If it fails, replaced libraries are not noticed.
		_ = t.libraries.Watch(watching)
	})
	others.Go(func() {
		for {
			select {
			case <-watching.Done():
				return
			case <-t.mapped.Changed():
				t.attachMapped()
			}
		}
	})
	recording, stopRecording := context.WithCancel(context.Background())
	defer stopRecording()
	recorded := make(chan error, 1)
	go func() { recorded <- t.pipeline.Run(recording) }()
	var err error
	select {
	case <-ctx.Done():
		// Nothing may attach after the pipeline detaches.
		stop()
		others.Wait()
		stopRecording()
		err = <-recorded
	case err = <-recorded:
		stop()
		others.Wait()
	}
	t.refusing.Wait()
	if err != nil {
		return fmt.Errorf("cannot record: %w", err)
	}
	return nil
}

// Close releases all resources. The recorded processes continue.
func (t *Tracer) Close() error {
	var errs []error
	if t.watcher != nil {
		errs = append(errs, t.watcher.Close())
	}
	t.answering()
	if t.sockets != nil {
		errs = append(errs, t.sockets.Close())
	}
	if t.tree != nil {
		errs = append(errs, t.tree.Close())
	}
	return errors.Join(append(errs, t.tracer.Close())...)
}
