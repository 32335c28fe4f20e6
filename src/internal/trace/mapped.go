// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"crypto-auditing/src/internal/probe/mappings"
)

// maxMapped bounds the files that are known to be mapped.
const maxMapped = 16384

// noteMapped takes what a process has mapped. It is called by the watcher.
func (t *Tracer) noteMapped(m mappings.Mapping) {
	if m.PID == t.own {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mapped[m.Path] || len(t.mapped) == maxMapped {
		return
	}
	t.mapped[m.Path] = true
	t.fresh = append(t.fresh, m)
	select {
	case t.news <- struct{}{}:
	default:
	}
}

// attachMapped attaches to what was mapped and is not attached yet.
func (t *Tracer) attachMapped() {
	t.mu.Lock()
	fresh := t.fresh
	t.fresh = nil
	t.mu.Unlock()
	if len(t.sources) == 0 {
		return
	}
	known := false
	for _, m := range fresh {
		if path, ok := reach(m); ok {
			t.files.Add(path)
			known = true
		}
	}
	if known {
		// What it cannot attach to is in the report.
		_ = t.libraries.Attach()
	}
}

// reach returns a path by which the caller reaches the file that a process has
// mapped: the process may have another root directory or other mounts.
func reach(m mappings.Mapping) (string, bool) {
	for _, path := range []string{m.Path, fmt.Sprintf("/proc/%d/root%s", m.PID, m.Path)} {
		info, err := os.Stat(path)
		if err == nil && info.Mode().IsRegular() && info.Sys().(*syscall.Stat_t).Ino == m.Inode {
			return path, true
		}
	}
	return "", false
}

// mapsOf returns the files that a process has mapped to execute them (proc(5)).
func mapsOf(pid int) (all []mappings.Mapping) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		// address perms offset dev inode path
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || !strings.Contains(fields[1], "x") || !strings.HasPrefix(fields[5], "/") {
			continue
		}
		inode, err := strconv.ParseUint(fields[4], 10, 64)
		if err == nil {
			all = append(all, mappings.Mapping{PID: pid, Path: strings.Join(fields[5:], " "), Inode: inode})
		}
	}
	return all
}
