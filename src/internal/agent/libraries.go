// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"crypto-auditing/src/internal/probe"
)

// settle is how long the folders of the libraries must be quiet before they
// are looked at again: a package manager renames many files at a time.
const settle = 20 * time.Millisecond

// fileID names a file whatever its path.
type fileID struct{ device, inode uint64 }

// libraries keeps the tracer attached to the files that the configuration
// names. A file that takes the place of another is attached to in addition:
// running processes still have the old one.
type libraries struct {
	tracer *probe.Tracer
	log    *slog.Logger
	// patterns are paths and globs; optional says that they may match nothing.
	patterns []string
	optional bool

	mu       sync.Mutex
	attached map[fileID]*probe.Library
	failed   map[fileID]error
}

// attach attaches to all files that match and are not attached yet. The error
// tells of everything that went wrong; other files are attached all the same.
func (l *libraries) attach() error {
	var errs []error
	var paths []string
	for _, pattern := range l.patterns {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot use library %q: %w", pattern, err))
		} else if len(matches) == 0 && !l.optional {
			errs = append(errs, fmt.Errorf("cannot attach to %s: no such file", pattern))
		}
		paths = append(paths, matches...)
	}
	slices.Sort(paths)
	var wait sync.WaitGroup
	results := make([]error, len(paths))
	claimed := map[fileID]bool{}
	for i, path := range slices.Compact(paths) {
		id, err := identify(path)
		if err != nil {
			results[i] = err
			continue
		}
		if claimed[id] || l.known(id) {
			continue
		}
		claimed[id] = true
		wait.Go(func() { results[i] = l.attachFile(path, id) })
	}
	wait.Wait()
	return errors.Join(append(errs, results...)...)
}

func identify(path string) (fileID, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileID{}, fmt.Errorf("cannot attach: %w", err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	return fileID{stat.Dev, stat.Ino}, nil
}

func (l *libraries) known(id fileID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.attached[id] != nil || l.failed[id] != nil
}

func (l *libraries) attachFile(path string, id fileID) error {
	library, err := l.tracer.Attach(path)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		// Files of the usual libraries that were built without probes are
		// nothing to tell of.
		var none *probe.NoProbesError
		if l.optional && errors.As(err, &none) && len(none.Errors) == 0 {
			l.failed[id] = err
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			l.failed[id] = err
		}
		return err
	}
	l.attached[id] = library
	l.log.Info("attached", "library", library.Path, "sites", library.Sites, "probes", len(library.Probes))
	for _, err := range library.Errors {
		l.log.Warn("some sites cannot be used", "library", library.Path, "error", err)
	}
	return nil
}

// list returns the attached libraries, by path.
func (l *libraries) list() []*probe.Library {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []*probe.Library
	for _, library := range l.attached {
		all = append(all, library)
	}
	slices.SortFunc(all, func(a, b *probe.Library) int {
		if a.Path < b.Path {
			return -1
		}
		return 1
	})
	return all
}

// watch attaches to files that appear or are replaced, until stop is closed.
func (l *libraries) watch(stop <-chan struct{}) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("cannot watch the libraries: %w", err)
	}
	defer w.Close()
	for _, dir := range l.folders() {
		if err := w.Add(dir); err != nil {
			l.log.Warn("libraries in this folder are not watched", "folder", dir, "error", err)
		}
	}
	// A file may have been replaced before the watch began.
	due := time.After(0)
	for {
		select {
		case <-stop:
			return nil
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
			if err := l.attach(); err != nil {
				l.log.Warn("attaching to libraries", "error", err)
			}
		}
	}
}

// folders are those that the patterns lead to.
func (l *libraries) folders() []string {
	var dirs []string
	for _, pattern := range l.patterns {
		matches, _ := filepath.Glob(filepath.Dir(pattern))
		dirs = append(dirs, matches...)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// concerns reports whether path is one of the configured ones.
func (l *libraries) concerns(path string) bool {
	return slices.ContainsFunc(l.patterns, func(pattern string) bool {
		match, _ := filepath.Match(pattern, path)
		return match
	})
}
