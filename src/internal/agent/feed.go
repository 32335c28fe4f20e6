// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"sync"

	"crypto-auditing/src/internal/logstore"
)

// feedLength is the highest number of chunks that wait for a follower, a few seconds at
// full load.
const feedLength = 256

// ErrLagging reports that a follower did not keep up. The log contains the chunks it
// missed.
var ErrLagging = errors.New("follower lags too far behind")

// feed notifies followers of committed chunks. It never waits for them.
type feed struct {
	mu        sync.Mutex
	followers map[chan logstore.Position]struct{}
}

func newFeed() *feed { return &feed{followers: map[chan logstore.Position]struct{}{}} }

func (f *feed) publish(p logstore.Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.followers {
		select {
		case c <- p:
		default:
			close(c)
			delete(f.followers, c)
		}
	}
}

// follow calls notify for every chunk committed from now on, until ctx is done, notify
// fails, or the follower does not keep up.
func (f *feed) follow(ctx context.Context, notify func(logstore.Position) error) error {
	c := make(chan logstore.Position, feedLength)
	f.mu.Lock()
	f.followers[c] = struct{}{}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.followers, c)
		f.mu.Unlock()
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case p, ok := <-c:
			if !ok {
				return ErrLagging
			}
			if err := notify(p); err != nil {
				return err
			}
		}
	}
}
