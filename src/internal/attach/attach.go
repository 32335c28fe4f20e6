// SPDX-License-Identifier: Apache-2.0

// Package attach keeps a tracer attached to the files that a finder finds. It follows
// files that are added, replaced or overwritten, and measures how long a library was
// not recorded.
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

// keptReplaced is the number of replaced files per path that remain attached, for
// programs that still use them.
const keptReplaced = 64

// maxAttaching is the number of files that are attached concurrently. Attaching takes
// memory and mostly waits for the kernel.
const maxAttaching = 8

// fileID identifies a file independently of its path.
type fileID struct{ device, inode uint64 }

// tracked is a file that is attached, or that could not be attached.
type tracked struct {
	path string
	// name is the name of a file of another mount namespace, empty for other files.
	name     string
	library  *probe.Library // nil if not attached
	since    time.Time
	replaced time.Time // zero while the file is at path
	// attached is the time of attachment, in nanoseconds since boot.
	attached uint64
	// err is the reason why the file is not attached; tried is the change time of the
	// file at the last attempt. changing: the file is being written, and the next
	// attempt follows when that ends.
	err      error
	tried    int64
	changing bool
	// ahead is the time until which a file with a temporary name, which may become a
	// library by a rename, remains attached; zero if the file's name is one that the
	// finder finds.
	ahead time.Time
	// early: when the file was attached, its temporary name was its only name.
	early bool
	// missing is the time since which programs may use the file without being recorded.
	missing *missing
}

// shown returns the name of the file in messages.
func (f *tracked) shown() string { return cmp.Or(f.name, f.path) }

// missing is the start of a period in which a library is not recorded.
type missing struct {
	reason event.UnrecordedReason
	start  uint64 // nanoseconds since boot
}

// Libraries keeps the tracer attached to the files that the finder finds. If a file is
// replaced, the new file is attached and the old one remains attached, because running
// programs still use it.
type Libraries struct {
	tracer *probe.Tracer
	log    *slog.Logger
	// changed is notified when the finder was replaced, detached when a file was
	// detached because it is being written.
	changed, detached wakeup.Signal
	notify            func()
	miss              func(loss.Unrecorded)
	// attached is optional.
	attached func(event.Library)

	// attaching is held while files are searched and attached; mu protects the fields
	// and is acquired after attaching.
	attaching sync.Mutex
	mu        sync.Mutex
	finder    discover.Finder
	// optional is set if a file without sites is not an error.
	optional bool
	// names are globs for the base names of the files that the finder finds.
	names []string
	// linked are the base names of the found paths and of all links and files that
	// they lead to: a package manager may replace the file without changing the link.
	linked map[string]bool
	files  map[fileID]*tracked
	// absent are the errors of patterns without a match, unreachable the files that cannot
	// be opened.
	absent      []*discover.AbsentError
	unreachable []discover.Unreachable
	// targets maps a path to the file that it last led to. last is the time of the last
	// search, zero if there was none since the finder was replaced; noticed is the time
	// of the first change since then. In nanoseconds since boot.
	targets       map[string]fileID
	last, noticed uint64
	// none is set if it was logged that no library is attached.
	none bool
	// others and sources are documented in Options.
	others  bool
	sources []capture.Source
}

// probes returns the default sources.
func probes() []capture.Source { return []capture.Source{provider.Source()} }

// Options configure Libraries. The functions may be called from any goroutine and must
// neither block nor call methods of Libraries.
type Options struct {
	Tracer *probe.Tracer
	Log    *slog.Logger
	Finder discover.Finder
	// Sources plan the sites of a file, which uses the first source that has any. The
	// default is the probes of libraries.
	Sources []capture.Source
	// Others reports that other sources record, so that having no library is normal.
	Others bool
	// Changed is called when a file may have been attached or detached, Missed when a
	// library was not recorded for some time.
	Changed func()
	Missed  func(loss.Unrecorded)
	// Attached, if not nil, is called when a library is attached.
	Attached func(event.Library)
}

// New returns Libraries without attached files.
func New(o Options) *Libraries {
	if o.Sources == nil {
		o.Sources = probes()
	}
	return &Libraries{
		sources: o.Sources,
		tracer:  o.Tracer, log: o.Log, finder: o.Finder, others: o.Others, notify: o.Changed, miss: o.Missed, attached: o.Attached,
		changed: wakeup.New(), detached: wakeup.New(),
		files: map[fileID]*tracked{}, targets: map[string]fileID{},
	}
}

// Reconfigure replaces the finder. Files that the new finder does not find are
// detached. The error lists the reasons why files are not attached.
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

// Attached returns the number of attached files.
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

// Attach attaches all files that the finder finds and that are not yet attached, and
// detaches files that it no longer finds. The error lists all failures of this call;
// other files are attached nevertheless.
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
		if _, ok := found.Foreign[path]; ok {
			continue
		}
		id, changed, err := identify(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if _, ok := wanted[id]; !ok && l.begin(id, path, changed) {
			wanted[id] = path
		}
		l.setTarget(id, path, noticed)
	}
	for path, foreign := range found.Foreign {
		if id, changed, err := identify(path); err == nil && l.beginForeign(id, path, changed, foreign) {
			wanted[id] = path
		}
	}
	l.mu.Lock()
	l.last = began
	l.mu.Unlock()
	errs = append(errs, l.attachFiles(wanted)...)
	l.retire(found.Paths)
	l.yield()
	l.notify()
	return errors.Join(errs...)
}

// ReportNone logs once when no library remains attached.
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

// find calls the finder and stores its result.
func (l *Libraries) find() discover.Found {
	l.mu.Lock()
	finder := l.finder
	l.mu.Unlock()
	found := finder.Find()
	slices.Sort(found.Paths)
	found.Paths = slices.Compact(found.Paths)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.optional, l.names, l.absent, l.unreachable = found.Optional, found.Names, nil, found.Unreachable
	for _, err := range found.Errors {
		var absent *discover.AbsentError
		if errors.As(err, &absent) {
			l.absent = append(l.absent, absent)
		}
	}
	return found
}

// identify returns the id of the file at path, following links, and its change time in
// nanoseconds since the Unix epoch.
func identify(path string) (id fileID, changed int64, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileID{}, 0, fmt.Errorf("cannot attach: %w", err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	return fileID{stat.Dev, stat.Ino}, stat.Ctim.Nano(), nil
}

// onlyName reports whether path is the only name of a file.
func onlyName(id fileID, path string) bool {
	var s syscall.Stat_t
	return syscall.Lstat(path, &s) == nil && fileID{s.Dev, s.Ino} == id && s.Nlink == 1
}

// begin reports whether to attach a file now: it is not attached yet, and attaching
// was not tried in its present state. It updates the path of a known file.
func (l *Libraries) begin(id fileID, path string, changed int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.files[id]
	switch {
	case f == nil:
		l.files[id] = &tracked{path: path, tried: changed}
		return true
	case f.library == nil && (f.tried != changed || f.changing):
		f.path, f.name, f.tried, f.ahead = path, "", changed, time.Time{}
		return true
	case f.library != nil:
		f.path, f.name, f.replaced = path, "", time.Time{}
		if !f.ahead.IsZero() {
			f.ahead = time.Time{}
			l.logAttached(f)
		}
	}
	return false
}

// beginForeign is begin for a file of another mount namespace. If the file, or the one
// below an overlay that it leads to, is known by a path, there is nothing to attach.
func (l *Libraries) beginForeign(id fileID, path string, changed int64, foreign discover.Foreign) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if below := l.files[fileID{foreign.Device, foreign.Inode}]; below != nil && below.err == nil && below.name == "" {
		return false
	}
	f := l.files[id]
	switch {
	case f == nil:
		f = &tracked{path: path, name: foreign.Name, tried: changed}
		l.files[id] = f
		if l.last != 0 {
			f.missing = &missing{event.LibraryAdded, max(l.last, foreign.Since)}
		}
		return true
	case f.name == "":
		return false
	}
	f.path, f.name = path, foreign.Name
	if f.library != nil || f.tried == changed && !f.changing {
		return false
	}
	f.tried = changed
	return true
}

func (l *Libraries) attachFiles(files map[fileID]string) []error {
	var (
		wait sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	semaphore := make(chan struct{}, maxAttaching)
	for id, path := range files {
		semaphore <- struct{}{}
		wait.Go(func() {
			defer func() { <-semaphore }()
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
	l.mu.Lock()
	name := path
	if f := l.files[id]; f != nil {
		name = cmp.Or(f.name, path)
	}
	l.mu.Unlock()
	library, err := l.tracer.AttachAs(path, name, l.sources)
	early := err == nil && onlyName(id, path)
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.files[id]
	f.err, f.changing = err, errors.Is(err, probe.ErrChanging)
	if f.changing {
		// A later attempt follows: no error yet.
		return nil
	}
	if err != nil {
		if m := f.missing; m != nil && m.reason == event.LibraryOverwritten {
			l.miss(loss.Unrecorded{Reason: m.reason, Library: filepath.Base(f.shown()), Start: m.start, End: boottime.Now()})
		}
		f.missing = nil
		// Usual libraries that were built without probes are not reported, those that
		// a source cannot use are only in the status.
		var none *capture.NoSitesError
		if l.optional && errors.As(err, &none) && none.Limited() {
			if len(none.Errors) == 0 {
				f.err = nil
			}
			return nil
		}
		return err
	}
	// Another file may have taken the path since identify.
	if opened := (fileID{library.Device, library.Inode}); opened != id {
		delete(l.files, id)
		l.files[opened] = f
	}
	f.library, f.since, f.attached = library, time.Now(), boottime.Now()
	if m := f.missing; m != nil {
		f.missing = nil
		l.miss(loss.Unrecorded{Reason: m.reason, Library: filepath.Base(f.shown()), BuildID: library.BuildID, Start: m.start, End: f.attached})
	}
	if f.ahead.IsZero() {
		l.logAttached(f)
	} else {
		f.early = early
		l.log.Info("attached to a file that may become a library", "file", f.shown(), "sites", library.Sites)
	}
	return nil
}

func (l *Libraries) logAttached(f *tracked) {
	if l.attached != nil && len(f.library.BuildID) > 0 {
		l.attached(event.Library{Name: filepath.Base(f.shown()), BuildID: f.library.BuildID})
	}
	message.LibraryAttached.Log(l.log, "library", f.shown(), "sites", f.library.Sites, "probes", len(f.library.Probes))
	if err := f.library.LeaseError; err != nil {
		l.log.Warn("a program that overwrites this library will not wait until the agent has detached", "library", f.shown(), "error", err)
	}
	for _, err := range f.library.Errors {
		var limit *capture.LimitError
		if errors.As(err, &limit) {
			continue // the status has it
		}
		message.LibraryFailed.Log(l.log, "library", f.shown(), "error", err)
	}
}

// retire marks files that are no longer at their paths. The newest of them remain
// attached; the others are detached, as are files that are no longer found.
func (l *Libraries) retire(named []string) {
	l.mu.Lock()
	replaced := map[string][]*tracked{}
	var going, ended []*probe.Library
	for id, f := range l.files {
		at, _, err := identify(f.path)
		current := err == nil && at == id
		if f.name != "" && !(current && slices.Contains(named, f.path)) {
			// Its mount namespace has ended.
			if f.library != nil {
				ended = append(ended, f.library)
			}
			delete(l.files, id)
			continue
		}
		switch {
		case current && slices.Contains(named, f.path):
			continue
		case current && time.Now().Before(f.ahead):
			continue
		case f.library == nil && current:
			// No longer found.
			delete(l.files, id)
			continue
		case f.library == nil:
			l.forget(id, f)
			continue
		case current || !f.ahead.IsZero():
			// No longer found, or not renamed in time.
			going = append(going, f.library)
			delete(l.files, id)
			continue
		case f.replaced.IsZero():
			f.replaced = time.Now()
			message.LibraryReplaced.Log(l.log, "library", f.shown())
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
		// Detach waits for the kernel, so mu must not be held.
		l.tracer.Detach(library)
		message.LibraryDetached.Log(l.log, "library", library.Path)
	}
	for _, library := range ended {
		l.tracer.Release(library)
		message.LibraryDetached.Log(l.log, "library", library.Path)
	}
}

// Refuse detaches the libraries that have the build-id and were attached by the
// source, because they must no longer be recorded with it. err is the reason.
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
	l.notify()
}

// failures returns the reasons why found files are not attached, including earlier
// failures.
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

// Status lists the files by path, without the method of attachment.
func (l *Libraries) Status() []status.Library {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []status.Library
	for _, f := range l.files {
		if !f.ahead.IsZero() {
			continue
		}
		s := status.Library{Path: f.shown(), Since: f.since, Replaced: !f.replaced.IsZero()}
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
	for _, u := range l.unreachable {
		all = append(all, status.Library{Path: u.Name, Error: u.Err.Error()})
	}
	slices.SortFunc(all, func(a, b status.Library) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), a.Since.Compare(b.Since))
	})
	return all
}
