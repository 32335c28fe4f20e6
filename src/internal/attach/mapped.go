// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"fmt"
	"os"
	"slices"
	"sync"

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
	// Roots also finds files below the root directories of processes (proc_pid_root(5)),
	// which requires CAP_SYS_PTRACE.
	Roots bool

	changed wakeup.Signal
	mu      sync.Mutex
	known   map[file]bool
	fresh   []mappings.Mapping
	paths   []string
}

// file is a file under the path that a process sees.
type file struct {
	path          string
	device, inode uint64
}

func fileOf(m mappings.Mapping) file { return file{m.Path, m.Device, m.Inode} }

// NewMapped returns a finder without files.
func NewMapped(keep func(path string) bool) *Mapped {
	return &Mapped{Keep: keep, changed: wakeup.New(), known: map[file]bool{}}
}

// Note adds a mapping of a process. It does not block.
func (m *Mapped) Note(mapping mappings.Mapping) {
	f := fileOf(mapping)
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
		if path, ok := m.reach(mapping); ok && (m.Keep == nil || m.Keep(path)) {
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
// mapped. The process may have another root directory or other mounts.
func (m *Mapped) reach(mapping mappings.Mapping) (string, bool) {
	paths := []string{mapping.Path}
	if m.Roots {
		paths = append(paths, fmt.Sprintf("/proc/%d/root%s", mapping.PID, mapping.Path))
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err == nil && info.Mode().IsRegular() && isAt(path, mapping.Device, mapping.Inode) {
			return path, true
		}
	}
	return "", false
}
