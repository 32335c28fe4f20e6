// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"time"
)

// Limits of the pauses between attempts.
const (
	shortestPause = 50 * time.Millisecond
	longestPause  = 5 * time.Second
)

// backoff pauses for increasing times. The zero value starts with a short pause.
type backoff struct{ next time.Duration }

func (b *backoff) reset() { b.next = 0 }

// wait pauses. The error is the error of the context.
func (b *backoff) wait(ctx context.Context) error {
	pause := max(b.next, shortestPause)
	b.next = min(2*pause, longestPause)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
