// SPDX-License-Identifier: Apache-2.0

package rounds_test

import (
	"context"
	"errors"
	"testing"

	"crypto-auditing/src/internal/rounds"
)

func TestCallersShareTheRoundThatBeginsAfterTheirCall(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan error)
	r := rounds.Rounds{Run: func() error {
		begun <- struct{}{}
		return <-finish
	}}
	first := r.Join()
	<-begun
	second, third := r.Join(), r.Join()
	if second != third || second == first {
		t.Fatal("callers during a round do not share the next one")
	}
	finish <- nil
	<-begun
	if err := first.Wait(t.Context()); err != nil || !r.Busy() {
		t.Errorf("the first round ends with %v, busy %v", err, r.Busy())
	}
	failed := errors.New("failed")
	finish <- failed
	if err := second.Wait(t.Context()); !errors.Is(err, failed) {
		t.Errorf("the second round ends with %v", err)
	}
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	end := make(chan struct{})
	r := rounds.Rounds{Run: func() error { <-end; return nil }}
	q := r.Join()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := q.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	close(end)
	if err := q.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}
