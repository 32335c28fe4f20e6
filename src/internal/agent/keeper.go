// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/retention"
	"crypto-auditing/src/internal/message"
)

// keepInterval is how often the limits of the log are looked at, besides
// whenever a segment begins.
const keepInterval = time.Minute

// Limits bound the log. Whole segments go, the oldest first.
type Limits struct {
	// MaxSize is how many bytes the log may have; negative: a tenth of its
	// file system, at most 4 GiB; 0: any number.
	MaxSize int64
	// KeepFree is how many bytes of the file system it leaves to others;
	// negative: 15 % of it; 0: none.
	KeepFree int64
	// MaxAge is how old an event may become; 0: any age.
	MaxAge time.Duration
}

// What the limits are where the configuration leaves them to us, as
// journald.conf(5) has them.
const (
	sizePart   = 10 // one in so many bytes of the file system
	sizeBound  = 4 << 30
	freeInPart = 100
	freePart   = 15 // so many in a hundred
)

// keeper seals and removes segments, in its own goroutine.
type keeper struct {
	writer *logstore.Writer
	dir    string
	limits atomic.Pointer[Limits]
	log    *slog.Logger
}

func newKeeper(w *logstore.Writer, dir string, limits Limits, log *slog.Logger) *keeper {
	k := &keeper{writer: w, dir: dir, log: log}
	k.limits.Store(&limits)
	return k
}

func (k *keeper) run(ctx context.Context) {
	k.writer.Maintain(ctx, keepInterval, k.policy, k.announce, k.report)
}

// policy is what limits the store at the moment.
func (k *keeper) policy() retention.Policy {
	l := *k.limits.Load()
	p := retention.Policy{MaxAge: l.MaxAge, MaxSize: max(l.MaxSize, 0), KeepFree: max(l.KeepFree, 0)}
	if l.MaxSize >= 0 && l.KeepFree >= 0 {
		return p
	}
	total, err := fileSystemSize(k.dir)
	if err != nil {
		k.log.Error("cannot apply the limits of the log", "error", err)
		return p
	}
	if l.MaxSize < 0 {
		p.MaxSize = min(total/sizePart, sizeBound)
	}
	if l.KeepFree < 0 {
		p.KeepFree = total / freeInPart * freePart
	}
	return p
}

// fileSystemSize returns the size of the file system of a directory, in bytes.
func fileSystemSize(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("cannot get the size of the file system of %s: %w", dir, err)
	}
	return int64(s.Blocks) * s.Bsize, nil
}

func (k *keeper) report(m logstore.Maintenance) {
	switch {
	case m.Err != nil:
		k.log.Error("cannot seal or remove a segment", "error", m.Err)
	case m.Removed != nil:
		logRemoval(k.log, m.Removed, k.remover(m.Removed))
	case m.Sealed != nil && m.Sealed.Err != nil:
		message.SegmentDamaged.Log(k.log, "segment", m.Sealed.Segment, "error", m.Sealed.Err)
	}
}
