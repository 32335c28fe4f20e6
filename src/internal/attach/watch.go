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
	// settle is the shortest interval between two searches: a package manager renames
	// many files at a time.
	settle = 20 * time.Millisecond
	// Attaching a file that is being written is retried after retryFirst, then after
	// intervals that double up to retryLast.
	retryFirst = time.Millisecond
	retryLast  = 256 * time.Millisecond
	// aheadFor is how long a file with a temporary name remains attached. Package
	// managers unpack all files of a package before they rename the first.
	aheadFor = 2 * time.Minute
	// maxAhead bounds the number of attached files with temporary names.
	maxAhead = 64
	// patrol is the interval at which leases are checked without a signal, since a
	// security module may block signals. It is well below the 45 s that the kernel
	// waits (/proc/sys/fs/lease-break-time).
	patrol = 10 * time.Second
	// unleasedPatrol is the interval at which files without a lease are checked.
	unleasedPatrol = time.Second
	// missingReport is the interval in nanoseconds at which a library that remains
	// unrecorded is reported to the log, so that little is lost if the agent is killed.
	missingReport = uint64(time.Minute)
)

// Watch attaches files that are added or replaced, until ctx is done.
func (l *Libraries) Watch(ctx context.Context) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("cannot watch the libraries: %w", err)
	}
	defer w.Close()
	patrols := time.NewTicker(patrol)
	defer patrols.Stop()
	// A file may have been replaced before the watch started.
	due := time.After(0)
	var retryDue <-chan time.Time
	var searched time.Time
	var pause time.Duration
	// logged is the last error that was logged: a missing file fails at every change.
	logged := ""
	retry := func(first time.Duration) {
		pause = first
		retryDue = time.After(pause)
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
					due = time.After(max(0, settle-time.Since(searched)))
				}
			} else if event.Has(fsnotify.Create) || event.Has(fsnotify.Write) {
				l.attachAhead(event.Name)
			}
			if l.anyChanging() {
				retry(retryFirst)
			}
		case err := <-w.Errors:
			// Events were lost: search everything.
			l.log.Warn("watching the libraries", "error", err)
			due = time.After(settle)
		case <-due:
			due = nil
			// Watch first, so that changes after the search are noticed.
			l.watchFolders(w)
			err := l.Attach()
			l.ReportNone()
			searched = time.Now()
			if err == nil {
				logged = ""
			} else if logged != err.Error() {
				logged = err.Error()
				l.log.Warn("attaching to libraries", "error", err)
			}
			if retryDue == nil && l.anyChanging() {
				retry(retryFirst)
			}
		case <-retryDue:
			retryDue = nil
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

// notice records the time of the first change.
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

// Answer detaches files when the kernel breaks their leases, until stop is called.
// Leases that the kernel broke before are handled by the next Attach.
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

// yield detaches files that a program waits to write, or that were written without a
// lease.
func (l *Libraries) yield() {
	l.mu.Lock()
	var going []*probe.Library
	for _, f := range l.files {
		if f.library == nil || !f.library.Changing() {
			continue
		}
		going = append(going, f.library)
		f.missing = &missing{event.LibraryOverwritten, boottime.Now()}
		f.err = fmt.Errorf("detached from %s: %w", f.shown(), probe.ErrChanging)
		f.library, f.changing = nil, true
		message.LibraryModified.Log(l.log, "library", f.shown())
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
	l.notify()
	l.detached.Notify()
}

// retry tries to attach the files that were being written. It reports whether some
// still are.
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
			// The file is no longer at its path.
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
		l.notify()
	}
	return changing
}

// attachAhead attaches a file with a temporary name if a rename may make it a library.
func (l *Libraries) attachAhead(path string) {
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
	// Errors are ignored: the file need not be a library.
	_ = l.attachFiles(map[fileID]string{id: path})
	l.forgetAhead()
	l.yield()
}

// forgetAhead forgets files with temporary names that cannot be attached.
func (l *Libraries) forgetAhead() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, f := range l.files {
		if !f.ahead.IsZero() && f.library == nil && !f.changing {
			delete(l.files, id)
		}
	}
}

// setTarget stores which file a path leads to. If the file is a new one and not yet
// attached, programs use it without being recorded.
func (l *Libraries) setTarget(id fileID, path string, noticed uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old, known := l.targets[path]
	l.targets[path] = id
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

// switched returns when path was last changed to lead to its current file, in
// nanoseconds since boot, as far as the change times of the file and of the links to
// it show that. A rename updates the change time of the renamed file.
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

// forget forgets a file that is not attached and no longer at its path. The caller
// holds mu.
func (l *Libraries) forget(id fileID, f *tracked) {
	if m := f.missing; m != nil {
		l.miss(loss.Unrecorded{Reason: m.reason, Library: filepath.Base(f.shown()), Start: m.start, End: boottime.Now()})
	}
	delete(l.files, id)
}

// ReportMissing reports the libraries that have not been recorded for at least that
// many nanoseconds.
func (l *Libraries) ReportMissing(least uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := boottime.Now()
	for _, f := range l.files {
		if m := f.missing; m != nil && f.changing && f.ahead.IsZero() && at-m.start >= least {
			l.miss(loss.Unrecorded{Reason: m.reason, Library: filepath.Base(f.shown()), Start: m.start, End: at})
			m.start = at
		}
	}
}

// watchFolders watches the directories of the files that are found now. Watching a
// directory again has no effect.
func (l *Libraries) watchFolders(w *fsnotify.Watcher) {
	for _, dir := range l.directories() {
		if err := w.Add(dir); err != nil {
			l.log.Warn("libraries in this directory are not watched", "directory", dir, "error", err)
		}
	}
}

func (l *Libraries) directories() []string {
	found := l.find()
	dirs, linked := found.Directories, map[string]bool{}
	for _, path := range found.Paths {
		if _, ok := found.Foreign[path]; ok {
			continue // there is no directory to watch
		}
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

// maxLinks is the highest number of links that are followed in a row, as in
// path_resolution(7).
const maxLinks = 40

// follow returns path and, if it is a link, all paths that it leads to, up to the
// file.
func follow(path string) []string {
	paths := []string{path}
	for range maxLinks {
		to, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(to) {
			// Resolve the directory first: ".." must not remove a link to a directory.
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

// concerns reports whether a change at path may affect a library. It compares base
// names: a directory may be watched under several names, and a needless search does no
// harm.
func (l *Libraries) concerns(path string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := filepath.Base(path)
	return !discover.Temporary(path) && (l.linked[name] || l.matches(name, ""))
}

// mayBecome reports whether a file of this name may be about to be renamed to the name
// of a library: a library's name with something before or after it, as package
// managers, rsync(1) and people name such files.
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

// matches reports whether a name matches a glob of the finder, with around added on
// both sides of the glob. The caller holds mu.
func (l *Libraries) matches(name, around string) bool {
	return slices.ContainsFunc(l.names, func(glob string) bool {
		match, _ := filepath.Match(around+glob+around, name)
		return match
	})
}
