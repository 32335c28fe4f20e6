// SPDX-License-Identifier: Apache-2.0

package figures

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// moment has the processor times up to a time.
type moment struct {
	at time.Time
	// busy is the time of the whole machine, including time stolen by the hypervisor; ours
	// is the time of this program and of its children that it has waited for.
	busy, ours time.Duration
	processors int
}

// tick is the unit of /proc/stat, a second divided by USER_HZ. USER_HZ is the same on all
// architectures that Go supports.
const tick = time.Second / 100

func now() moment {
	m := moment{at: time.Now()}
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return m
	}
	m.busy, m.processors = parseStat(string(text))
	for _, processes := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var r unix.Rusage
		_ = unix.Getrusage(processes, &r) // it fails only for a bad argument
		m.ours += time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	return m
}

// parseStat returns the time that the processors were busy, and their number
// (proc_stat(5)).
func parseStat(text string) (busy time.Duration, processors int) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "cpu") {
			continue
		}
		var name string
		var user, nice, system, idle, wait, irq, softirq, steal int64
		if _, err := fmt.Sscan(line, &name, &user, &nice, &system, &idle, &wait, &irq, &softirq, &steal); err != nil {
			continue
		}
		if name != "cpu" {
			processors++
			continue
		}
		busy = time.Duration(user+nice+system+irq+softirq+steal) * tick
	}
	return busy, processors
}

// others returns the share of the processors that other programs used until a later
// moment, 0 if it is unknown.
func (m moment) others(later moment) float64 {
	all := later.at.Sub(m.at) * time.Duration(m.processors)
	if all <= 0 {
		return 0
	}
	return min(1, max(0, float64(later.busy-m.busy-(later.ours-m.ours))/float64(all)))
}
