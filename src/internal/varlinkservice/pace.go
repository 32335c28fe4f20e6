// SPDX-License-Identifier: Apache-2.0

package varlinkservice

import (
	"context"
	"sync"
	"time"
)

// Pace lets a burst pass at once and then one in each pause (the generic cell
// rate algorithm, ITU-T I.371). It may be used by several goroutines.
type Pace struct {
	// burst is how far ahead of the pace it may get.
	burst, pause time.Duration

	mu sync.Mutex
	// due is when the last would have passed, had all kept the pause.
	due time.Time
}

// NewPace returns a Pace that lets burst pass at once.
func NewPace(burst int, pause time.Duration) *Pace {
	return &Pace{burst: time.Duration(burst-1) * pause, pause: pause}
}

// Wait returns when it is the caller's turn, or ctx is done.
func (p *Pace) Wait(ctx context.Context) {
	d := p.delay(time.Now())
	if d == 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// delay returns how long one has to wait that comes now.
func (p *Pace) delay(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.due.Before(now) {
		p.due = now
	}
	d := p.due.Sub(now) - p.burst
	p.due = p.due.Add(p.pause)
	return max(d, 0)
}
