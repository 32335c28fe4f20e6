// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"crypto-auditing/src/internal/boottime"
)

// Moment is a time as recorded in the log.
type Moment struct {
	// Boot is CLOCK_BOOTTIME in nanoseconds.
	Boot uint64
	// Offset is CLOCK_REALTIME − CLOCK_BOOTTIME in nanoseconds.
	Offset int64
}

// Clock provides the time. It must be safe for concurrent use.
type Clock interface{ Now() Moment }

// SystemClock is the clock of the kernel.
type SystemClock struct{}

// Now implements Clock.
func (SystemClock) Now() Moment {
	const (
		near  = 20_000 // ns between the two readings of one clock around the other
		tries = 16
	)
	var best Moment
	nearest := int64(math.MaxInt64)
	// A thread that is preempted between reading the two clocks gets an offset that is
	// wrong by that time, which would look like a step of the real-time clock.
	for range tries {
		boot := boottime.Now()
		real := time.Now().UnixNano()
		after := boottime.Now()
		between := int64(after - boot)
		if between < nearest {
			nearest = between
			best = Moment{Boot: after, Offset: real - int64(boot) - between/2}
		}
		if nearest <= near {
			break
		}
	}
	return best
}

// SystemBootID returns the id of the current boot.
func SystemBootID() (id [16]byte, err error) {
	const path = "/proc/sys/kernel/random/boot_id"
	text, err := os.ReadFile(path)
	if err != nil {
		return id, fmt.Errorf("cannot read boot id: %w", err)
	}
	digits := strings.ReplaceAll(strings.TrimSpace(string(text)), "-", "")
	if n, err := hex.DecodeString(digits); err != nil || copy(id[:], n) != len(id) {
		return id, fmt.Errorf("cannot read boot id: %s holds %q", path, text)
	}
	return id, nil
}
