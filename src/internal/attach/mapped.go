// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"

	"crypto-auditing/src/internal/discover"
	"crypto-auditing/src/internal/probe/mappings"
	"crypto-auditing/src/internal/wakeup"
)

const (
	// maxKnown is how many files are remembered that processes have mapped. Then
	// all are forgotten, and looked at again.
	maxKnown = 16384
	// maxMapped bounds the files that are found.
	maxMapped = 1024
)

// Mapped finds the files that processes have mapped to execute them, as a watcher
// reports them: static programs, libraries that the loader's cache does not list, and
// what is opened late. It may be used from several goroutines.
type Mapped struct {
	// Keep reports whether to find a file; nil: all.
	Keep func(path string) bool

	changed wakeup.Signal
	mu      sync.Mutex
	known   map[file]bool
	fresh   []mappings.Mapping
	paths   []string
}

// file is a file as a process names it.
type file struct {
	path  string
	inode uint64
}

// NewMapped returns a finder that has found nothing yet.
func NewMapped(keep func(path string) bool) *Mapped {
	return &Mapped{Keep: keep, changed: wakeup.New(), known: map[file]bool{}}
}

// Note takes what a process has mapped. It does not block.
func (m *Mapped) Note(mapping mappings.Mapping) {
	f := file{mapping.Path, mapping.Inode}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known[f] {
		return
	}
	if len(m.known) >= maxKnown {
		clear(m.known)
	}
	m.known[f] = true
	m.fresh = append(m.fresh, mapping)
	m.changed.Notify()
}

// Changed is notified when there may be more to find.
func (m *Mapped) Changed() <-chan struct{} { return m.changed }

// Paths returns the files that are known to be mapped, as processes name them.
func (m *Mapped) Paths() (paths []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for f := range m.known {
		paths = append(paths, f.path)
	}
	return paths
}

// Find implements discover.Finder.
func (m *Mapped) Find() discover.Found {
	m.mu.Lock()
	fresh := m.fresh
	m.fresh = nil
	m.mu.Unlock()
	var found []string
	for _, mapping := range fresh {
		if path, ok := reach(mapping); ok && (m.Keep == nil || m.Keep(path)) {
			found = append(found, path)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, path := range found {
		if len(m.paths) < maxMapped && !slices.Contains(m.paths, path) {
			m.paths = append(m.paths, path)
		}
	}
	return discover.Found{Paths: slices.Clone(m.paths), Optional: true}
}

// reach returns a path by which the caller reaches the file that a process has
// mapped: the process may have another root directory or other mounts, which only
// CAP_SYS_PTRACE opens.
func reach(m mappings.Mapping) (string, bool) {
	for _, path := range []string{m.Path, fmt.Sprintf("/proc/%d/root%s", m.PID, m.Path)} {
		info, err := os.Stat(path)
		if err == nil && info.Mode().IsRegular() && info.Sys().(*syscall.Stat_t).Ino == m.Inode {
			return path, true
		}
	}
	return "", false
}
