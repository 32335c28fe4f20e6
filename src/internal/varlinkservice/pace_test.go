// SPDX-License-Identifier: Apache-2.0

package varlinkservice

import (
	"context"
	"testing"
	"time"
)

func TestABurstPassesAndThenOneInEachPause(t *testing.T) {
	p := NewPace(3, time.Second)
	start := time.Unix(1000, 0)
	for i, c := range []struct {
		at   int
		want time.Duration
	}{
		{0, 0}, {0, 0}, {0, 0}, // the burst
		{0, time.Second}, {1, time.Second}, // one each second
		{5, 0}, {5, 0}, {5, 0}, {5, time.Second}, // after a rest, the burst again
		{6, time.Second}, {6, 2 * time.Second}, // those who wait queue
		{100, 0}, {100, 0}, {100, 0}, {100, time.Second},
	} {
		if got := p.delay(start.Add(time.Duration(c.at) * time.Second)); got != c.want {
			t.Errorf("number %d, at %d s, waits %v, want %v", i, c.at, got, c.want)
		}
	}
}

func TestWaitingForATurnEndsWithTheContext(t *testing.T) {
	p := NewPace(1, time.Hour)
	p.Wait(context.Background())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	p.Wait(ctx)
}
