// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"crypto-auditing/src/internal/ldcache"
	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/probe"
)

const (
	// settle is how long to wait after a change in the folders of the
	// libraries: a package manager renames many files at a time.
	settle = 20 * time.Millisecond
	// keptReplaced is how many replaced files of one path stay attached, for
	// the programs that started before.
	keptReplaced = 64
)

// fileID names a file whatever its path.
type fileID struct{ device, inode uint64 }

// tracked is a file that is attached, or could not be.
type tracked struct {
	path     string
	library  *probe.Library // nil: not attached
	since    time.Time
	replaced time.Time // zero: the file is still at path
	// err is why it is not attached; tried is the change time of the file it
	// was tried with.
	err   error
	tried int64
}

// libraries keeps the tracer attached to the files that the configuration
// names. A file that takes the place of another is attached to in addition:
// running programs still have the old one.
type libraries struct {
	tracer *probe.Tracer
	log    *slog.Logger
	// changed is told when the patterns were replaced.
	changed chan struct{}
	// looked is called at the end of attach.
	looked func()

	// attaching is held while files are looked for and attached to; mu is
	// taken inside it, for the fields.
	attaching sync.Mutex
	mu        sync.Mutex
	patterns  []string
	discover  bool
	// linked are the base names of all that the named paths lead to: a
	// package manager may replace the file and leave the link to it alone.
	linked map[string]bool
	files  map[fileID]*tracked
}

func newLibraries(t *probe.Tracer, log *slog.Logger, patterns []string, discover bool, looked func()) *libraries {
	return &libraries{
		tracer: t, log: log, patterns: patterns, discover: discover, looked: looked,
		changed: make(chan struct{}, 1), files: map[fileID]*tracked{},
	}
}

// reconfigure replaces the patterns. Files that are no longer named are
// detached.
func (l *libraries) reconfigure(patterns []string, discover bool) error {
	l.mu.Lock()
	l.patterns, l.discover = patterns, discover
	l.mu.Unlock()
	err := l.attach()
	select {
	case l.changed <- struct{}{}:
	default:
	}
	return err
}

// attachedFiles returns the libraries that are attached.
func (l *libraries) attachedFiles() []*probe.Library {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []*probe.Library
	for _, f := range l.files {
		if f.library != nil {
			all = append(all, f.library)
		}
	}
	return all
}

// attach attaches to all files that are named and not attached yet, and
// detaches what is no longer wanted. The error tells of everything that went
// wrong now; other files are attached all the same.
func (l *libraries) attach() error {
	l.attaching.Lock()
	defer l.attaching.Unlock()
	paths, errs := l.find()
	wanted := map[fileID]string{}
	for _, path := range paths {
		id, changed, err := identify(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if _, ok := wanted[id]; !ok && l.begin(id, path, changed) {
			wanted[id] = path
		}
	}
	errs = append(errs, l.attachFiles(wanted)...)
	l.retire(paths)
	l.looked()
	return errors.Join(errs...)
}

// find returns the paths that the patterns lead to.
func (l *libraries) find() (paths []string, errs []error) {
	l.mu.Lock()
	patterns, discover := l.patterns, l.discover
	l.mu.Unlock()
	if discover {
		entries, err := ldcache.Read(ldcache.Path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		paths = ldcache.Find(entries, usualLibrary)
		patterns = usualPlaces()
	}
	for _, pattern := range patterns {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot use library %q: %w", pattern, err))
		} else if len(matches) == 0 && !discover {
			errs = append(errs, fmt.Errorf("cannot attach to %s: no such file", pattern))
		}
		paths = append(paths, matches...)
	}
	slices.Sort(paths)
	return slices.Compact(paths), errs
}

// usualSonames are those of the libraries that have the probes, are getting
// them, or may be given them by a distribution, up to their version.
func usualSonames() []string {
	return []string{"libgnutls.so", "libssl.so", "libcrypto.so", "libnettle.so", "libhogweed.so", "libgcrypt.so", "libssl3.so", "libnss3.so", "libfreebl3.so", "libsoftokn3.so"}
}

func usualLibrary(soname string) bool {
	return slices.ContainsFunc(usualSonames(), func(name string) bool {
		return soname == name || strings.HasPrefix(soname, name+".")
	})
}

// usualPlaces are globs for libraries that the loader's cache does not list.
func usualPlaces() []string {
	var globs []string
	for _, dir := range []string{"/usr/lib64", "/usr/lib/*-linux-gnu"} {
		for _, name := range []string{"libgnutls.so", "libssl.so", "libcrypto.so"} {
			globs = append(globs, filepath.Join(dir, name+".*"))
		}
	}
	return globs
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

// begin reports whether a file is to be attached to now: it is not yet, and
// was not tried in its present state. A known file gets its new path.
func (l *libraries) begin(id fileID, path string, changed int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.files[id]
	switch {
	case f == nil:
		l.files[id] = &tracked{path: path, tried: changed}
		return true
	case f.library == nil && f.tried != changed:
		f.tried = changed
		return true
	case f.library != nil:
		f.path, f.replaced = path, time.Time{}
	}
	return false
}

func (l *libraries) attachFiles(files map[fileID]string) []error {
	var (
		wait sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	for id, path := range files {
		wait.Go(func() {
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

func (l *libraries) attachFile(id fileID, path string) error {
	library, err := l.tracer.Attach(path)
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.files[id]
	f.err = err
	if err != nil {
		// Usual libraries that were built without probes are nothing to tell of.
		var none *probe.NoProbesError
		if l.discover && errors.As(err, &none) && len(none.Errors) == 0 {
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
	f.library, f.since = library, time.Now()
	message.LibraryAttached.Log(l.log, "library", library.Path, "sites", library.Sites, "probes", len(library.Probes))
	for _, err := range library.Errors {
		message.LibraryFailed.Log(l.log, "library", library.Path, "error", err)
	}
	return nil
}

// retire finds files that are no longer at their paths. The newest of them
// stay attached; the others are detached, as is what is no longer named.
func (l *libraries) retire(named []string) {
	l.mu.Lock()
	replaced := map[string][]*tracked{}
	var going []*probe.Library
	for id, f := range l.files {
		at, _, err := identify(f.path)
		switch {
		case err == nil && at == id && slices.Contains(named, f.path):
			continue
		case f.library == nil:
			delete(l.files, id)
			continue
		case err == nil && at == id:
			// Still there, no longer named.
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

// watch attaches to files that appear or are replaced, until ctx ends.
func (l *libraries) watch(ctx context.Context) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("cannot watch the libraries: %w", err)
	}
	defer w.Close()
	// A file may have been replaced before the watch began.
	due := time.After(0)
	// What was said last: a file that is not there is looked for at every
	// change, and told of once.
	said := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.changed:
			l.watchFolders(w)
		case event := <-w.Events:
			if due == nil && l.concerns(event.Name) {
				due = time.After(settle)
			}
		case err := <-w.Errors:
			// Events were lost: look at everything.
			l.log.Warn("watching the libraries", "error", err)
			due = time.After(settle)
		case <-due:
			due = nil
			// First: what changes after attach has looked must be seen.
			l.watchFolders(w)
			err := l.attach()
			if err == nil {
				said = ""
			} else if said != err.Error() {
				said = err.Error()
				l.log.Warn("attaching to libraries", "error", err)
			}
		}
	}
}

// watchFolders watches the folders that the patterns lead to now. Watching one
// again does nothing.
func (l *libraries) watchFolders(w *fsnotify.Watcher) {
	for _, dir := range l.folders() {
		if err := w.Add(dir); err != nil {
			l.log.Warn("libraries in this folder are not watched", "folder", dir, "error", err)
		}
	}
}

func (l *libraries) folders() []string {
	var dirs []string
	paths, _ := l.find()
	linked := map[string]bool{}
	for _, path := range paths {
		for _, link := range follow(path) {
			dirs = append(dirs, filepath.Dir(link))
			linked[filepath.Base(link)] = true
		}
	}
	l.mu.Lock()
	l.linked = linked
	patterns := l.patterns
	if l.discover {
		patterns = append(usualPlaces(), ldcache.Path)
	}
	l.mu.Unlock()
	for _, pattern := range patterns {
		matches, _ := filepath.Glob(filepath.Dir(pattern))
		dirs = append(dirs, matches...)
	}
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
func (l *libraries) concerns(path string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := filepath.Base(path)
	if l.linked[name] {
		return true
	}
	if l.discover {
		return path == ldcache.Path || usualLibrary(name)
	}
	return slices.ContainsFunc(l.patterns, func(pattern string) bool {
		match, _ := filepath.Match(filepath.Base(pattern), name)
		return match
	})
}

// status lists the files, by path.
func (l *libraries) status() []LibraryStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []LibraryStatus
	for _, f := range l.files {
		s := LibraryStatus{Path: f.path, Since: f.since, Replaced: !f.replaced.IsZero()}
		var problems []error
		switch {
		case f.library != nil:
			s.BuildID, s.Provider = f.library.BuildID, f.library.Provider
			s.Probes, s.Sites, s.Hits = f.library.Probes, f.library.Sites, f.library.Hits.Load()
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
	slices.SortFunc(all, func(a, b LibraryStatus) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), a.Since.Compare(b.Since))
	})
	return all
}
