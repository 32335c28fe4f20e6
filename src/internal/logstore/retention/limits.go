// SPDX-License-Identifier: Apache-2.0

package retention

import (
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/quantity"
)

// Limits bound a log, as a configuration has them: they may depend on its file
// system.
type Limits struct {
	// MaxAge is how old an entry may become; 0: any age.
	MaxAge time.Duration
	// MaxSize is how many bytes the store may have, KeepFree how many bytes of
	// its file system are to stay free for others.
	MaxSize, KeepFree Limit
}

// Limit is a number of bytes; 0: no limit.
type Limit struct {
	Bytes int64
	// Percent, if it is not 0, is that share of the file system instead.
	Percent int
	// Auto is the default of MaxSize and of KeepFree instead: 10 % of the file
	// system, at most 4 GiB, and 15 % of it, as journald.conf(5) has them.
	Auto bool
}

const (
	autoSize = 10
	autoFree = 15
	// AutoSizeBound is the most that MaxSize is by default.
	AutoSizeBound = 4 << 30
)

// String returns the limit as configurations have it.
func (l Limit) String() string {
	switch {
	case l.Auto:
		return "auto"
	case l.Percent > 0:
		return strconv.Itoa(l.Percent) + "%"
	}
	return quantity.FormatSize(l.Bytes)
}

// depends reports whether a limit depends on the file system.
func (l Limit) depends() bool { return l.Auto || l.Percent > 0 }

// in returns the limit in bytes on a file system of that many bytes.
func (l Limit) in(total int64) int64 {
	if l.Percent > 0 {
		return total / 100 * int64(l.Percent)
	}
	return l.Bytes
}

// Policy returns the policy that the limits mean for the store in dir.
func (l Limits) Policy(dir string) (Policy, error) {
	p := Policy{MaxAge: l.MaxAge}
	var total int64
	if l.MaxSize.depends() || l.KeepFree.depends() {
		var s unix.Statfs_t
		if err := unix.Statfs(dir, &s); err != nil {
			return Policy{}, fmt.Errorf("cannot get the size of the file system of the log: %w", &fs.PathError{Op: "statfs", Path: dir, Err: err})
		}
		total = int64(s.Blocks) * s.Bsize
	}
	if p.MaxSize = l.MaxSize.in(total); l.MaxSize.Auto {
		p.MaxSize = min(Limit{Percent: autoSize}.in(total), AutoSizeBound)
	}
	if p.KeepFree = l.KeepFree.in(total); l.KeepFree.Auto {
		p.KeepFree = Limit{Percent: autoFree}.in(total)
	}
	return p, nil
}
