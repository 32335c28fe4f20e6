// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"crypto-auditing/src/internal/probe/mappings"
)

// noteMapped records a file that another process has mapped. The watcher calls it.
func (t *Tracer) noteMapped(m mappings.Mapping) {
	if m.PID != t.own {
		t.mapped.Note(m)
	}
}

// attachMapped attaches to the mapped files that are not attached yet.
func (t *Tracer) attachMapped() {
	if len(t.sources) > 0 {
		// The report lists files to which it cannot attach.
		_ = t.libraries.Attach()
	}
}

// mapsOf returns the executable file mappings of a process (proc(5)).
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
