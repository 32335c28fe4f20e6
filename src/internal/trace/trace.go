// SPDX-License-Identifier: Apache-2.0

// Package trace records trees of processes from all sources, without a service and
// without a log: what is recorded goes to a function. It is what crauctl trace
// does.
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
	"crypto-auditing/src/internal/probe"
	"crypto-auditing/src/internal/probe/mappings"
	"crypto-auditing/src/internal/probe/sockets"
	"crypto-auditing/src/internal/probe/tree"
	"crypto-auditing/src/internal/provider"
	"crypto-auditing/src/internal/schema"
)

// window is how long events of a context are gathered.
const window = 20 * time.Millisecond

// Options configure a Tracer.
type Options struct {
	// Sources are those to record from.
	Sources []event.Source
	// Files may hold sites, besides the usual libraries: the program and what it
	// loads.
	Files []string
	// Relays are base names of programs, as globs, that pass on handshakes of others.
	Relays []string
	// Take is given what was recorded. The batch is the tracer's again when it
	// returns. It is called in the goroutine of Run.
	Take func(*pipeline.Batch)
}

func (o *Options) uses(s event.Source) bool { return slices.Contains(o.Sources, s) }

// suspects reports whether a program is one of the relays.
func (o *Options) suspects(executable string) bool {
	return slices.ContainsFunc(o.Relays, func(glob string) bool {
		match, _ := path.Match(glob, executable)
		return match
	})
}

// Tracer records trees of processes.
type Tracer struct {
	options   Options
	tracer    *probe.Tracer
	tree      *tree.Tree
	pipeline  *pipeline.Pipeline
	losses    *loss.Counters
	libraries *attach.Libraries
	files     *discover.Files
	answering func()

	// sockets is nil if that source is not used, or cannot be for socketsErr.
	sockets    *sockets.Source
	socketsErr error

	// sources plan sites in files. functions is nil if that source is not used, or
	// cannot be for functionsErr.
	sources      []capture.Source
	functions    *function.Source
	functionsErr error
	refusing     sync.WaitGroup

	// watcher reports what is mapped; nil: it cannot, for watcherErr.
	watcher    *mappings.Watcher
	watcherErr error
	own        int

	mapped *attach.Mapped

	mu sync.Mutex
	// quarantined are libraries that were detached because of their values.
	quarantined []error
}

// DeniedError reports that the calling user may not trace. Its text is what is
// needed.
type DeniedError struct{ Err error }

func (e *DeniedError) Error() string {
	if kernelNeedsAdmin(e.Err) {
		return "tracing on a kernel before 6.6 needs root, or CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN: try sudo"
	}
	return "tracing needs root, or CAP_BPF and CAP_PERFMON: try sudo"
}

func (e *DeniedError) Unwrap() error { return e.Err }

// kernelNeedsAdmin reports whether a denial is that of placing probes one by one.
func kernelNeedsAdmin(err error) bool {
	var denied *probe.DeniedError
	return errors.As(err, &denied)
}

// denied makes a DeniedError of what the kernel has not allowed.
func denied(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return &DeniedError{err}
	}
	return err
}

// New loads the programs and attaches them wherever the processes may come by, so
// that nothing of a command that is started afterwards is missed. Nothing is
// recorded yet. The error is a *DeniedError if the user may not do that.
func New(o Options) (*Tracer, error) {
	t := &Tracer{
		options: o, losses: &loss.Counters{}, files: &discover.Files{}, own: os.Getpid(),
		mapped: attach.NewMapped(nil), answering: func() {},
	}
	var err error
	if t.tracer, err = probe.Load(probe.Options{Followed: true}); err != nil {
		return nil, denied(err)
	}
	if err := t.prepare(); err != nil {
		return nil, errors.Join(denied(err), t.Close())
	}
	return t, nil
}

// prepare attaches everything.
func (t *Tracer) prepare() (err error) {
	if t.tree, err = tree.Follow(t.tracer); err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	t.pipeline, err = pipeline.New(pipeline.Options{
		Tracer: t.tracer, Sink: &sink{take: t.options.Take}, Losses: t.losses, Log: log, Window: window, KeyEnds: func() {},
	})
	if err != nil {
		return err
	}
	t.files.Add(t.options.Files...)
	registry, err := schema.Builtin()
	if err != nil {
		return err
	}
	// Both take some tenths of a second.
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
		t.pipeline.Functions(t.functions, registry, t.quarantine)
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
	// A library with probes is not recorded by its functions as well.
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

// quarantine ends the recording of a library whose values cannot be trusted. It is
// called by the pipeline.
func (t *Tracer) quarantine(q *function.QuarantineError) {
	t.mu.Lock()
	t.quarantined = append(t.quarantined, q)
	t.mu.Unlock()
	// Detaching waits for the kernel.
	t.refusing.Go(func() { t.libraries.Refuse(function.Name, q.BuildID, q) })
}

// sink gives batches to a function.
type sink struct {
	batch pipeline.Batch
	take  func(*pipeline.Batch)
}

func (s *sink) Batch() *pipeline.Batch { s.batch.Reset(); return &s.batch }

func (s *sink) Put(b *pipeline.Batch) {
	s.take(b)
	for _, call := range b.Then {
		call()
	}
}

func (s *sink) Close() {}

// Start has the processes recorded that start starts, one as a rule, and all that
// they start in turn. It is called once, instead of Add.
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

// Add has processes recorded that run already, with all that they have started and
// will start. The error is a *tree.NoProcessError if one is not there.
func (t *Tracer) Add(pids ...int) error {
	all, err := t.tree.Add(pids...)
	if err != nil {
		return err
	}
	t.watcher, t.watcherErr = mappings.Watch(all, t.noteMapped)
	for _, pid := range all {
		for _, m := range mapsOf(pid) {
			t.noteMapped(m)
		}
	}
	t.attachMapped()
	return nil
}

// Ended reports whether no process is left to record.
func (t *Tracer) Ended() bool {
	empty, err := t.tree.Empty()
	return empty || err != nil
}

// Run records until ctx ends, and then what is under way.
func (t *Tracer) Run(ctx context.Context) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var others sync.WaitGroup
	others.Go(func() {
		// Replaced libraries are not noticed if it fails.
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
		// Nothing may be attached once the pipeline detaches.
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

// Close frees everything. The processes that were recorded continue.
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
