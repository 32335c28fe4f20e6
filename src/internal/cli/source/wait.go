// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"os"
	"time"
)

// open opens a file for reading. Opening a FIFO waits for a writer, until ctx is done.
func open(ctx context.Context, path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		return os.Open(path)
	}
	type result struct {
		file *os.File
		err  error
	}
	opened := make(chan result, 1)
	go func() {
		file, err := os.Open(path)
		opened <- result{file, err}
	}()
	select {
	case r := <-opened:
		return r.file, r.err
	case <-ctx.Done():
		// open(2) cannot be interrupted; it returns if a writer still comes.
		go func() {
			if r := <-opened; r.err == nil {
				r.file.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// interruptible makes reads that wait for data return with an error when ctx is done, until
// stop is called.
func interruptible(ctx context.Context, file *os.File) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		// It fails for regular files, whose reads do not wait.
		_ = file.SetReadDeadline(time.Unix(1, 0))
	})
}
