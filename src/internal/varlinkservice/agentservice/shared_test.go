// SPDX-License-Identifier: Apache-2.0

package agentservice

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
)

func TestCallsDuringARoundShareTheNextRound(t *testing.T) {
	begun, release := make(chan int, 10), make(chan struct{})
	n := 0
	s := newShared(func(context.Context) (int, error) {
		n++
		begun <- n
		<-release
		return n, nil
	})
	results := make(chan int, 10)
	ask := func() {
		v, err := s.call(context.Background())
		if err != nil {
			t.Error(err)
		}
		results <- v
	}
	go ask()
	if got := <-begun; got != 1 {
		t.Fatalf("round %d began first", got)
	}
	var joined sync.WaitGroup
	for range 5 {
		joined.Go(ask)
	}
	waitFor(t, "all to wait for the same", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.next != nil
	})
	// A caller whose context ends does not affect the others.
	left, leave := context.WithCancel(context.Background())
	leave()
	if _, err := s.call(left); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	close(release)
	joined.Wait()
	var got []int
	for range 6 {
		got = append(got, <-results)
	}
	slices.Sort(got)
	if got[0] != 1 || got[1] < 2 {
		t.Errorf("the results are %v, want 1 only for the first", got)
	}
	if v, err := s.call(context.Background()); err != nil || v <= got[5] {
		t.Errorf("a later call returns %d, %v: the result of an earlier round", v, err)
	}
}

func TestAnErrorIsNotReturnedToLaterCallers(t *testing.T) {
	bad := errors.New("bad")
	errs := []error{bad, nil}
	s := newShared(func(context.Context) (int, error) {
		err := errs[0]
		errs = errs[1:]
		return 0, err
	})
	if _, err := s.call(context.Background()); err != bad {
		t.Errorf("the error is %v", err)
	}
	if _, err := s.call(context.Background()); err != nil {
		t.Errorf("the error is %v", err)
	}
}
