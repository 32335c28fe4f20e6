// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"testing"
	"time"

	"crypto-auditing/src/internal/wire"
)

// No record wakes the pipeline for connections of which nothing is visible.
func TestAnIdlePipelineCountsLostConnections(t *testing.T) {
	const now = uint64(time.Hour)
	c := &connections{counted: now, tracker: wire.NewTracker(wire.DefaultLimits(), nil, nil)}
	for otherwise, want := range map[time.Duration]time.Duration{-1: idleCountInterval, time.Hour: idleCountInterval, time.Second: time.Second} {
		if got := c.wait(otherwise); got != want {
			t.Errorf("it waits %v instead of %v for %v", got, otherwise, want)
		}
	}
	if c.due(now + uint64(idleCountInterval) - 1) {
		t.Error("losses are counted too early")
	}
	if !c.due(now + uint64(c.wait(-1))) {
		t.Error("losses are not counted after the wait")
	}
	if c = nil; c.due(now) || c.wait(-1) != -1 {
		t.Error("a pipeline without sockets wakes up")
	}
}
