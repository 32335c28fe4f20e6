// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/boottime"
	"crypto-auditing/src/internal/discover"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/loss"
	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/probe"
)

const (
	// settle is the least time between two looks at all libraries: a package
	// manager renames many files at a time.
	settle = 20 * time.Millisecond
	// A file that is being written is tried again after retryFirst, then after
	// twice the time each, up to retryLast.
	retryFirst = time.Millisecond
	retryLast  = 256 * time.Millisecond
	// aheadFor is how long a file with a temporary name stays attached. Package
	// managers unpack all files of a package before they rename the first.
	aheadFor = 2 * time.Minute
	// maxAhead bounds the files with temporary names.
	maxAhead = 64
	// patrol is how often the leases are looked at though no signal came: a
	// security module may keep signals away. It is well below the 45 s that the
	// kernel waits (/proc/sys/fs/lease-break-time).
	patrol = 10 * time.Second
	// unleasedPatrol is how often files without a lease are looked at.
	unleasedPatrol = time.Second
	// missingReport is how often a library that is not recorded for long is
	// reported to the log, so that little of it is forgotten if the agent is
	// killed.
	missingReport = uint64(time.Minute)
)

// Watch attaches to files that appear or are replaced, until ctx ends.
func (l *Libraries) Watch(ctx context.Context) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("cannot watch the libraries: %w", err)
	}
	defer w.Close()
	patrols := time.NewTicker(patrol)
	defer patrols.Stop()
	// A file may have been replaced before the watch began.
	due := time.After(0)
	var again <-chan time.Time
	var looked time.Time
	var pause time.Duration
	// The last error that was logged: a file that is not there is looked for at
	// every change.
	logged := ""
	retry := func(first time.Duration) {
		pause = first
		again = time.After(pause)
	}
	for {
		var unleased <-chan time.Time
		if l.anyUnleased() {
			unleased = time.After(unleasedPatrol)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-l.changed:
			l.watchFolders(w)
		case <-l.detached:
			retry(retryFirst)
		case event := <-w.Events:
			if unleased != nil {
				l.yield()
			}
			if l.concerns(event.Name) {
				l.notice()
				if due == nil {
					due = time.After(max(0, settle-time.Since(looked)))
				}
			} else if event.Has(fsnotify.Create) || event.Has(fsnotify.Write) {
				l.lookAhead(event.Name)
			}
			if l.anyChanging() {
				retry(retryFirst)
			}
		case err := <-w.Errors:
			// Events were lost: look at everything.
			l.log.Warn("watching the libraries", "error", err)
			due = time.After(settle)
		case <-due:
			due = nil
			// First: what changes after attach has looked must be seen.
			l.watchFolders(w)
			err := l.Attach()
			l.ReportNone()
			looked = time.Now()
			if err == nil {
				logged = ""
			} else if logged != err.Error() {
				logged = err.Error()
				l.log.Warn("attaching to libraries", "error", err)
			}
			if again == nil && l.anyChanging() {
				retry(retryFirst)
			}
		case <-again:
			again = nil
			if l.retry() {
				retry(min(2*pause, retryLast))
			}
		case <-unleased:
			l.yield()
		case <-patrols.C:
			l.yield()
			l.ReportMissing(missingReport)
			if l.anyAhead() && due == nil {
				due = time.After(0)
			}
		}
	}
}

// notice notes when a change was first noticed.
func (l *Libraries) notice() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.noticed == 0 {
		l.noticed = boottime.Now()
	}
}

func (l *Libraries) any(is func(*tracked) bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.files {
		if is(f) {
			return true
		}
	}
	return false
}

func (l *Libraries) anyChanging() bool { return l.any(func(f *tracked) bool { return f.changing }) }
func (l *Libraries) anyAhead() bool    { return l.any(func(f *tracked) bool { return !f.ahead.IsZero() }) }
func (l *Libraries) anyUnleased() bool {
	return l.any(func(f *tracked) bool { return f.library != nil && f.library.LeaseError != nil })
}

// Answer detaches from files whenever the kernel asks for their leases, until
// stop is called. What it asked for before is asked for again by the caller of
// attach.
func (l *Libraries) Answer() (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, probe.LeaseSignal)
	var answering sync.WaitGroup
	answering.Go(func() {
		for range signals {
			l.yield()
		}
	})
	return func() {
		signal.Stop(signals)
		close(signals)
		answering.Wait()
	}
}

// yield detaches from files that a program waits to write to, or that were
// written to without a lease.
func (l *Libraries) yield() {
	l.mu.Lock()
	var going []*probe.Library
	for _, f := range l.files {
		if f.library == nil || !f.library.Changing() {
			continue
		}
		going = append(going, f.library)
		f.missing = &missing{event.LibraryOverwritten, boottime.Now()}
		f.err = fmt.Errorf("detached from %s: %w", f.path, probe.ErrChanging)
		f.library, f.changing = nil, true
		message.LibraryModified.Log(l.log, "library", f.path)
	}
	l.mu.Unlock()
	if going == nil {
		return
	}
	var wait sync.WaitGroup
	for _, library := range going {
		wait.Go(func() { l.tracer.Yield(library) })
	}
	wait.Wait()
	l.looked()
	l.detached.Notify()
}

// retry tries to attach to the files that were being written. It reports
// whether some still are.
func (l *Libraries) retry() bool {
	l.attaching.Lock()
	defer l.attaching.Unlock()
	l.mu.Lock()
	files := map[fileID]string{}
	for id, f := range l.files {
		if !f.changing {
			continue
		}
		if at, _, err := identify(f.path); err == nil && at == id {
			files[id] = f.path
		} else {
			// It has lost its name.
			l.forget(id, f)
		}
	}
	l.mu.Unlock()
	for _, err := range l.attachFiles(files) {
		l.log.Warn("attaching to libraries", "error", err)
	}
	l.forgetAhead()
	l.yield()
	changing := l.anyChanging()
	if !changing {
		l.looked()
	}
	return changing
}

// lookAhead attaches to a file with a temporary name if that may become the
// name of a library.
func (l *Libraries) lookAhead(path string) {
	if !l.mayBecome(filepath.Base(path)) {
		return
	}
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return
	}
	l.attaching.Lock()
	defer l.attaching.Unlock()
	id, _, err := identify(path)
	if err != nil {
		return
	}
	l.mu.Lock()
	count := 0
	for _, f := range l.files {
		if !f.ahead.IsZero() {
			count++
		}
	}
	if l.files[id] != nil || count == maxAhead {
		l.mu.Unlock()
		return
	}
	l.files[id] = &tracked{path: path, ahead: time.Now().Add(aheadFor)}
	l.mu.Unlock()
	// One that is no library is of no interest.
	_ = l.attachFiles(map[fileID]string{id: path})
	l.forgetAhead()
	l.yield()
}

// forgetAhead forgets files with temporary names that cannot be attached to.
func (l *Libraries) forgetAhead() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, f := range l.files {
		if !f.ahead.IsZero() && f.library == nil && !f.changing {
			delete(l.files, id)
		}
	}
}

// arrive notes which file a path leads to. If that is another than before, and
// the file is not attached yet, programs use it without being recorded.
func (l *Libraries) arrive(id fileID, path string, noticed uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old, known := l.led[path]
	l.led[path] = id
	f := l.files[id]
	if l.last == 0 || f == nil || known && old == id {
		return
	}
	m := missing{event.LibraryReplaced, max(l.last, min(noticed, switched(path)))}
	if !known {
		m.reason = event.LibraryAdded
	}
	switch {
	case f.library == nil && f.missing == nil:
		f.missing = &m
	case f.library != nil && f.attached > m.start && !f.early:
		l.miss(loss.Unrecorded{Reason: m.reason, Library: filepath.Base(path), BuildID: f.library.BuildID, Start: m.start, End: f.attached})
	}
}

// switched returns when a path was last made to lead to the file that it leads
// to, in nanoseconds since boot, as far as the file and the links to it were
// changed by that. A rename changes what is renamed.
func switched(path string) uint64 {
	var latest int64
	for _, link := range follow(path) {
		var s unix.Stat_t
		if unix.Lstat(link, &s) == nil {
			latest = max(latest, s.Ctim.Nano())
		}
	}
	at, age := boottime.Now(), time.Now().UnixNano()-latest
	if age < 0 || uint64(age) > at {
		return at
	}
	return at - uint64(age)
}

// forget forgets a file that is not attached and not at its path any more. The
// caller holds mu.
func (l *Libraries) forget(id fileID, f *tracked) {
	if m := f.missing; m != nil {
		l.miss(loss.Unrecorded{Reason: m.reason, Library: filepath.Base(f.path), Start: m.start, End: boottime.Now()})
	}
	delete(l.files, id)
}

// ReportMissing reports the libraries that have not been recorded for at least
// so many nanoseconds.
func (l *Libraries) ReportMissing(least uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := boottime.Now()
	for _, f := range l.files {
		if m := f.missing; m != nil && f.changing && f.ahead.IsZero() && at-m.start >= least {
			l.miss(loss.Unrecorded{Reason: m.reason, Library: filepath.Base(f.path), Start: m.start, End: at})
			m.start = at
		}
	}
}

// watchFolders watches the folders that hold what is found now. Watching one
// again does nothing.
func (l *Libraries) watchFolders(w *fsnotify.Watcher) {
	for _, dir := range l.folders() {
		if err := w.Add(dir); err != nil {
			l.log.Warn("libraries in this folder are not watched", "folder", dir, "error", err)
		}
	}
}

func (l *Libraries) folders() []string {
	found := l.find()
	dirs, linked := found.Directories, map[string]bool{}
	for _, path := range found.Paths {
		for _, link := range follow(path) {
			dirs = append(dirs, filepath.Dir(link))
			linked[filepath.Base(link)] = true
		}
	}
	l.mu.Lock()
	l.linked = linked
	l.mu.Unlock()
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// maxLinks is how many links in a row are followed, as many as path_resolution(7)
// allows.
const maxLinks = 40

// follow returns path and, where it is a link, what that leads to, up to the
// file.
func follow(path string) []string {
	paths := []string{path}
	for range maxLinks {
		to, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(to) {
			// The real folder: ".." may not be taken off a link to one.
			dir, err := filepath.EvalSymlinks(filepath.Dir(path))
			if err != nil {
				break
			}
			to = filepath.Join(dir, to)
		}
		path = to
		paths = append(paths, path)
	}
	return paths
}

// concerns reports whether a change at path may be one of a library. It goes by
// the base name: one folder may be watched by several names, and a look too many
// does no harm.
func (l *Libraries) concerns(path string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := filepath.Base(path)
	return !discover.Temporary(path) && (l.linked[name] || l.matches(name, ""))
}

// mayBecome reports whether a file of this name may be one that is about to
// take the name of a library: the name of a library with something before or
// after it, as package managers, rsync(1) and people have it.
func (l *Libraries) mayBecome(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for library := range l.linked {
		if strings.Contains(name, library) {
			return true
		}
	}
	return l.matches(name, "*")
}

// matches reports whether a name is one that the finder looks for, with what
// around stands for on both sides. The caller holds mu.
func (l *Libraries) matches(name, around string) bool {
	return slices.ContainsFunc(l.names, func(glob string) bool {
		match, _ := filepath.Match(around+glob+around, name)
		return match
	})
}
