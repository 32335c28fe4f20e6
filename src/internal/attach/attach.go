// SPDX-License-Identifier: Apache-2.0

// Package attach keeps a tracer attached to the files that a finder finds: it
// follows files as they appear, are replaced or overwritten, and knows for how
// long a library was not recorded.
package attach

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"crypto-auditing/src/internal/boottime"
	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/discover"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/loss"
	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/probe"
	"crypto-auditing/src/internal/provider"
	"crypto-auditing/src/internal/status"
	"crypto-auditing/src/internal/wakeup"
)

// keptReplaced is how many replaced files of one path stay attached, for the
// programs that started before.
const keptReplaced = 64

// maxAttaching is how many files are attached to at the same time. It takes
// memory and, most of the time, waits for the kernel.
const maxAttaching = 8

// fileID names a file whatever its path.
type fileID struct{ device, inode uint64 }

// tracked is a file that is attached, or could not be.
type tracked struct {
	path     string
	library  *probe.Library // nil: not attached
	since    time.Time
	replaced time.Time // zero: the file is still at path
	// attached is when it was attached, in nanoseconds since boot.
	attached uint64
	// err is why it is not attached; tried is the change time of the file it
	// was tried with. changing: the file is being written, and tried again when
	// that is done.
	err      error
	tried    int64
	changing bool
	// ahead is until when a file under a temporary name is kept attached, which
	// may become a library by a rename; zero: it has a name that is looked for.
	ahead time.Time
	// early: once attached, the file still had its temporary name and no other.
	early bool
	// missing is since when programs may use the file without being recorded.
	missing *missing
}

// missing is the beginning of a time in which a library is not recorded.
type missing struct {
	reason event.UnrecordedReason
	start  uint64 // nanoseconds since boot
}

// Libraries keeps the tracer attached to the files that the finder finds. A file
// that takes the place of another is attached to in addition: running programs
// still have the old one.
type Libraries struct {
	tracer *probe.Tracer
	log    *slog.Logger
	// changed is notified when the finder was replaced, detached when a file
	// that is being written was detached.
	changed, detached wakeup.Signal
	looked            func()
	miss              func(loss.Unrecorded)
	// attached is nil if nobody asks.
	attached func(event.Library)

	// attaching is held while files are looked for and attached to; mu is
	// taken inside it, for the fields.
	attaching sync.Mutex
	mu        sync.Mutex
	finder    discover.Finder
	// optional: that a file has no sites is no error.
	optional bool
	// names are the globs for base names of the files that the finder finds.
	names []string
	// linked are the base names of all that the named paths lead to: a
	// package manager may replace the file and leave the link to it alone.
	linked map[string]bool
	files  map[fileID]*tracked
	// absent are the errors of patterns that lead to no file.
	absent []*discover.AbsentError
	// led is the file that a path led to when it was last there; last is when
	// that was looked at, zero: not since the finder was replaced. noticed is
	// when a change was first noticed since. In nanoseconds since boot.
	led           map[string]fileID
	last, noticed uint64
	// none: it was logged that no library is attached.
	none bool
	// others, sources: see Options.
	others  bool
	sources []capture.Source
}

// probes are the sources that are used if none are given.
func probes() []capture.Source { return []capture.Source{provider.Source()} }

// Options configure Libraries. They may call the functions from any goroutine,
// which must neither block nor call a method of theirs.
type Options struct {
	Tracer *probe.Tracer
	Log    *slog.Logger
	Finder discover.Finder
	// Sources plan the sites in a file: the first that has any does. None: the
	// probes of libraries.
	Sources []capture.Source
	// Others: other sources record, so that nothing is amiss without a library.
	Others bool
	// Changed is called when something may have been attached or detached, Missed
	// when a library was not recorded for a time.
	Changed func()
	Missed  func(loss.Unrecorded)
	// Attached, if set, is called when a library is attached.
	Attached func(event.Library)
}

// New returns Libraries that are attached to nothing yet.
func New(o Options) *Libraries {
	if o.Sources == nil {
		o.Sources = probes()
	}
	return &Libraries{
		sources: o.Sources,
		tracer:  o.Tracer, log: o.Log, finder: o.Finder, others: o.Others, looked: o.Changed, miss: o.Missed, attached: o.Attached,
		changed: wakeup.New(), detached: wakeup.New(),
		files: map[fileID]*tracked{}, led: map[string]fileID{},
	}
}

// Reconfigure replaces the finder. Files that it does not find are detached. The
// error lists why files are not attached.
func (l *Libraries) Reconfigure(finder discover.Finder) error {
	l.mu.Lock()
	l.finder = finder
	l.last = 0
	l.mu.Unlock()
	err := l.Attach()
	l.ReportNone()
	l.changed.Notify()
	if err != nil {
		return err
	}
	return l.failures()
}

// Attached returns how many files are attached.
func (l *Libraries) Attached() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.files {
		if f.library != nil {
			n++
		}
	}
	return n
}

// Attach attaches to all files that are found and not attached yet, and
// detaches what is no longer found. The error lists everything that went
// wrong now; other files are attached all the same.
func (l *Libraries) Attach() error {
	l.attaching.Lock()
	defer l.attaching.Unlock()
	began := boottime.Now()
	l.mu.Lock()
	noticed := l.noticed
	l.noticed = 0
	l.mu.Unlock()
	if noticed == 0 {
		noticed = began
	}
	found := l.find()
	errs := found.Errors
	wanted := map[fileID]string{}
	for _, path := range found.Paths {
		id, changed, err := identify(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if _, ok := wanted[id]; !ok && l.begin(id, path, changed) {
			wanted[id] = path
		}
		l.arrive(id, path, noticed)
	}
	l.mu.Lock()
	l.last = began
	l.mu.Unlock()
	errs = append(errs, l.attachFiles(wanted)...)
	l.retire(found.Paths)
	l.yield()
	l.looked()
	return errors.Join(errs...)
}

// ReportNone logs when no library is attached any more.
func (l *Libraries) ReportNone() {
	none := !l.any(func(f *tracked) bool { return f.library != nil || f.changing })
	l.mu.Lock()
	began := none && !l.none && !l.others
	l.none = none
	l.mu.Unlock()
	if began {
		message.NotRecording.Log(l.log)
	}
}

// find asks the finder and notes what it says.
func (l *Libraries) find() discover.Found {
	l.mu.Lock()
	finder := l.finder
	l.mu.Unlock()
	found := finder.Find()
	slices.Sort(found.Paths)
	found.Paths = slices.Compact(found.Paths)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.optional, l.names, l.absent = found.Optional, found.Names, nil
	for _, err := range found.Errors {
		var absent *discover.AbsentError
		if errors.As(err, &absent) {
			l.absent = append(l.absent, absent)
		}
	}
	return found
}

// identify returns the id of the file at path, following links, and when it
// was last changed.
func identify(path string) (id fileID, changed int64, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileID{}, 0, fmt.Errorf("cannot attach: %w", err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	return fileID{stat.Dev, stat.Ino}, stat.Ctim.Nano(), nil
}

// onlyName reports whether a file is at path and has no other name.
func onlyName(id fileID, path string) bool {
	var s syscall.Stat_t
	return syscall.Lstat(path, &s) == nil && fileID{s.Dev, s.Ino} == id && s.Nlink == 1
}

// begin reports whether a file is to be attached to now: it is not yet, and
// was not tried in its present state. A known file gets its new path.
func (l *Libraries) begin(id fileID, path string, changed int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.files[id]
	switch {
	case f == nil:
		l.files[id] = &tracked{path: path, tried: changed}
		return true
	case f.library == nil && (f.tried != changed || f.changing):
		f.path, f.tried, f.ahead = path, changed, time.Time{}
		return true
	case f.library != nil:
		f.path, f.replaced = path, time.Time{}
		if !f.ahead.IsZero() {
			f.ahead = time.Time{}
			l.logAttached(f)
		}
	}
	return false
}

func (l *Libraries) attachFiles(files map[fileID]string) []error {
	var (
		wait sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	turns := make(chan struct{}, maxAttaching)
	for id, path := range files {
		turns <- struct{}{}
		wait.Go(func() {
			defer func() { <-turns }()
			if err := l.attachFile(id, path); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	return errs
}

func (l *Libraries) attachFile(id fileID, path string) error {
	library, err := l.tracer.Attach(path, l.sources)
	early := err == nil && onlyName(id, path)
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.files[id]
	f.err, f.changing = err, errors.Is(err, probe.ErrChanging)
	if f.changing {
		// It is tried again: no error yet.
		return nil
	}
	if err != nil {
		if m := f.missing; m != nil && m.reason == event.LibraryOverwritten {
			l.miss(loss.Unrecorded{Reason: m.reason, Library: filepath.Base(f.path), Start: m.start, End: boottime.Now()})
		}
		f.missing = nil
		// Usual libraries that were built without probes are nothing to tell of.
		var none *capture.NoSitesError
		if l.optional && errors.As(err, &none) && len(none.Errors) == 0 {
			f.err = nil
			return nil
		}
		return err
	}
	// The path may have been given to another file since it was looked at.
	if opened := (fileID{library.Device, library.Inode}); opened != id {
		delete(l.files, id)
		l.files[opened] = f
	}
	f.library, f.since, f.attached = library, time.Now(), boottime.Now()
	if m := f.missing; m != nil {
		f.missing = nil
		l.miss(loss.Unrecorded{Reason: m.reason, Library: filepath.Base(f.path), BuildID: library.BuildID, Start: m.start, End: f.attached})
	}
	if f.ahead.IsZero() {
		l.logAttached(f)
	} else {
		f.early = early
		l.log.Info("attached to a file that may become a library", "file", f.path, "sites", library.Sites)
	}
	return nil
}

func (l *Libraries) logAttached(f *tracked) {
	if l.attached != nil && len(f.library.BuildID) > 0 {
		l.attached(event.Library{Name: filepath.Base(f.path), BuildID: f.library.BuildID})
	}
	message.LibraryAttached.Log(l.log, "library", f.path, "sites", f.library.Sites, "probes", len(f.library.Probes))
	if err := f.library.LeaseError; err != nil {
		l.log.Warn("a program that overwrites this library will not be held up until the agent has detached", "library", f.path, "error", err)
	}
	for _, err := range f.library.Errors {
		message.LibraryFailed.Log(l.log, "library", f.path, "error", err)
	}
}

// retire finds files that are no longer at their paths. The newest of them
// stay attached; the others are detached, as is what is no longer named.
func (l *Libraries) retire(named []string) {
	l.mu.Lock()
	replaced := map[string][]*tracked{}
	var going []*probe.Library
	for id, f := range l.files {
		at, _, err := identify(f.path)
		there := err == nil && at == id
		switch {
		case there && slices.Contains(named, f.path):
			continue
		case there && time.Now().Before(f.ahead):
			continue
		case f.library == nil && there:
			// No longer named.
			delete(l.files, id)
			continue
		case f.library == nil:
			l.forget(id, f)
			continue
		case there || !f.ahead.IsZero():
			// No longer named, or it was not named in time.
			going = append(going, f.library)
			delete(l.files, id)
			continue
		case f.replaced.IsZero():
			f.replaced = time.Now()
			message.LibraryReplaced.Log(l.log, "library", f.path)
		}
		replaced[f.path] = append(replaced[f.path], f)
	}
	for _, old := range replaced {
		slices.SortFunc(old, func(a, b *tracked) int { return a.replaced.Compare(b.replaced) })
		for len(old) > keptReplaced {
			going = append(going, old[0].library)
			delete(l.files, fileID{old[0].library.Device, old[0].library.Inode})
			old = old[1:]
		}
	}
	l.mu.Unlock()
	for _, library := range going {
		// Waits for the kernel, hence without a lock that others need.
		l.tracer.Detach(library)
		message.LibraryDetached.Log(l.log, "library", library.Path)
	}
}

// Refuse detaches from the libraries of a source that have a build-id, because they
// must not be recorded from it any more, for the reason err.
func (l *Libraries) Refuse(source string, buildID []byte, err error) {
	l.attaching.Lock()
	defer l.attaching.Unlock()
	l.mu.Lock()
	var going []*probe.Library
	for _, f := range l.files {
		if f.library != nil && f.library.Source == source && bytes.Equal(f.library.BuildID, buildID) {
			going = append(going, f.library)
			f.library, f.err = nil, err
		}
	}
	l.mu.Unlock()
	for _, library := range going {
		l.tracer.Detach(library)
		message.LibraryDetached.Log(l.log, "library", library.Path)
	}
	l.looked()
}

// failures returns why files that are named are not attached, those that failed
// earlier included.
func (l *Libraries) failures() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, f := range l.files {
		if f.library == nil && f.err != nil && f.ahead.IsZero() {
			errs = append(errs, f.err)
		}
	}
	return errors.Join(errs...)
}

// Status lists the files, by path. How they are attached is not filled in.
func (l *Libraries) Status() []status.Library {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []status.Library
	for _, f := range l.files {
		if !f.ahead.IsZero() {
			continue
		}
		s := status.Library{Path: f.path, Since: f.since, Replaced: !f.replaced.IsZero()}
		var problems []error
		switch {
		case f.library != nil:
			s.BuildID, s.Provider = hex.EncodeToString(f.library.BuildID), f.library.Provider
			s.Probes, s.Sites, s.Hits = f.library.Probes, uint64(f.library.Sites), f.library.Hits.Load()
			problems = f.library.Errors
		case f.err != nil:
			problems = []error{f.err}
		default:
			// A usual library without probes.
			continue
		}
		if err := errors.Join(problems...); err != nil {
			s.Error = err.Error()
		}
		all = append(all, s)
	}
	for _, err := range l.absent {
		all = append(all, status.Library{Path: err.Pattern, Error: err.Error()})
	}
	slices.SortFunc(all, func(a, b status.Library) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), a.Since.Compare(b.Since))
	})
	return all
}
