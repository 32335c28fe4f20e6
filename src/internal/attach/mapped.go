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
	// maxKnown is the number of files mapped by processes that are remembered. When it
	// is reached, all are forgotten and examined again.
	maxKnown = 16384
	// maxMapped bounds the number of found files.
	maxMapped = 1024
)

// Mapped finds the files that processes have mapped as executable, as reported by a
// watcher: static programs, libraries that are not in the loader's cache, and files
// that are opened late. It is safe for use by several goroutines.
type Mapped struct {
	// Keep selects the files to find; nil selects all.
	Keep func(path string) bool

	changed wakeup.Signal
	mu      sync.Mutex
	known   map[file]bool
	fresh   []mappings.Mapping
	paths   []string
}

// file is a file under the path that a process sees.
type file struct {
	path  string
	inode uint64
}

// NewMapped returns a finder without files.
func NewMapped(keep func(path string) bool) *Mapped {
	return &Mapped{Keep: keep, changed: wakeup.New(), known: map[file]bool{}}
}

// Note adds a mapping of a process. It does not block.
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

// Changed is notified when Find may return more files.
func (m *Mapped) Changed() <-chan struct{} { return m.changed }

// Paths returns the mapped files that are known, under the paths that processes see.
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

// reach returns a path through which the caller can open the file that a process has
// mapped. The process may have another root directory or other mounts, which require
// CAP_SYS_PTRACE.
func reach(m mappings.Mapping) (string, bool) {
	for _, path := range []string{m.Path, fmt.Sprintf("/proc/%d/root%s", m.PID, m.Path)} {
		info, err := os.Stat(path)
		if err == nil && info.Mode().IsRegular() && info.Sys().(*syscall.Stat_t).Ino == m.Inode {
			return path, true
		}
	}
	return "", false
}
