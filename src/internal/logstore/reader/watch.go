// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// watch waits for changes in a directory.
type watch struct{ file *os.File }

func newWatch(dir string) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot watch log directory: %w", err)
	}
	w := &watch{file: os.NewFile(uintptr(fd), "inotify")}
	const mask = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_ONLYDIR
	if _, err := unix.InotifyAddWatch(fd, dir, mask); err != nil {
		_ = w.close()
		return nil, fmt.Errorf("cannot watch log directory %s: %w", dir, err)
	}
	return w, nil
}

func (w *watch) close() error {
	if w == nil {
		return nil
	}
	return w.file.Close()
}

// wait blocks until there was a change since it last returned.
func (w *watch) wait(ctx context.Context) error {
	if err := w.file.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("cannot wait for the log: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = w.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var events [4096]byte
	_, err := w.file.Read(events[:])
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("cannot wait for the log: %w", err)
	}
	return nil
}

// Wait blocks until the store may have more entries than Next has returned, or ctx is done.
// It may return early. It does not poll.
func (r *Reader) Wait(ctx context.Context) error {
	if r.watch == nil {
		w, err := newWatch(r.dir)
		if err != nil {
			return err
		}
		// Changes before the watch started were not reported.
		r.watch = w
		return ctx.Err()
	}
	return r.watch.wait(ctx)
}
