// SPDX-License-Identifier: Apache-2.0

package broker_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/broker/brokertest"
	"crypto-auditing/src/internal/broker/delivery"
	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/broker/filter"
	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/quota"
)

func subscribe(t *testing.T, b *running, name string, f filter.Spec, o delivery.SubscribeOptions) (*delivery.Subscription, *client) {
	t.Helper()
	s, err := b.Subscribe(quota.Holder{User: 1000, Rank: quota.Member}, name, f, o)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient()
	if err := s.Attach(c); err != nil {
		t.Fatal(err)
	}
	return s, c
}

func TestAllGroupsArriveInOrderOnceLiveAndFromTheLog(t *testing.T) {
	l := brokertest.New(t)
	r := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		l.Append(brokertest.Some(r, 50)...)
	}
	l.Flush()
	b := run(t, l, nil)
	_, old := subscribe(t, b, "", filter.Spec{}, delivery.SubscribeOptions{After: logstore.OldestWord, Batch: 37})
	_, fresh := subscribe(t, b, "", filter.Spec{}, delivery.SubscribeOptions{})
	var last logstore.Cursor
	for range 50 {
		last = l.Append(brokertest.Some(r, 20)...)
	}
	old.awaitLast(t, last.Sequence)
	fresh.awaitLast(t, last.Sequence)
	if n := uint64(len(old.got)); n != last.Sequence {
		t.Errorf("%d groups of %d", n, last.Sequence)
	}
	if len(fresh.got) != 1000 || fresh.got[0] != last.Sequence-999 {
		t.Errorf("%d groups, from %d, want the newest 1000 of %d", len(fresh.got), fresh.got[0], last.Sequence)
	}
	old.increasing(t)
	fresh.increasing(t)
	if most := slices.Max(old.batches); most > 37 {
		t.Errorf("a window of %d groups, the limit is 37", most)
	}
	if len(old.gaps)+len(fresh.gaps) != 0 {
		t.Errorf("gaps: %v %v", old.gaps, fresh.gaps)
	}
	if newest := old.cursors[len(old.cursors)-1]; newest != last {
		t.Errorf("the last cursor is %v, want %v", newest, last)
	}
}

func TestADurableSubscriptionContinuesAtItsPosition(t *testing.T) {
	l := brokertest.New(t)
	r := rand.New(rand.NewPCG(2, 2))
	state := t.TempDir()
	keep := func(o *broker.Options) { o.StateDir = state }
	b := run(t, l, keep)
	s, first := subscribe(t, b, "x", filter.Spec{}, delivery.SubscribeOptions{After: logstore.OldestWord})
	last := l.Append(brokertest.Some(r, 100)...)
	first.awaitLast(t, last.Sequence)
	s.Detach(first)
	l.Append(brokertest.Some(r, 100)...)
	b.stop()
	last = l.Append(brokertest.Some(r, 100)...)
	l.Flush()
	b = run(t, l, keep)
	again, err := b.Named(1000, "x")
	if err != nil {
		t.Fatal(err)
	}
	second := newClient()
	if err := again.Attach(second); err != nil {
		t.Fatal(err)
	}
	second.awaitLast(t, last.Sequence)
	all := append(slices.Clone(first.got), second.got...)
	for i, got := range all {
		if got != uint64(i+1) {
			t.Fatalf("group %d at index %d", got, i)
		}
	}
	if status := again.Status(); status.Delivered != last.Sequence || status.Pending != 0 || status.Position != last {
		t.Errorf("status %+v", status)
	}
	if _, err := b.Subscribe(quota.Holder{User: 1000, Rank: quota.Member}, "x", filter.Spec{Keys: []string{"a"}}, delivery.SubscribeOptions{}); !errors.Is(err, fault.ErrExists) {
		t.Errorf("subscribing with another filter under the same name: %v", err)
	}
	if same, err := b.Subscribe(quota.Holder{User: 1000, Rank: quota.Member}, "x", filter.Spec{}, delivery.SubscribeOptions{}); err != nil || same != again {
		t.Errorf("subscribing again: %v", err)
	}
	if _, err := b.Named(1001, "x"); !errors.Is(err, fault.ErrNoSubscription) {
		t.Errorf("subscribing as another user: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	b.stop()
	b = run(t, l, keep)
	if _, err := b.Named(1000, "x"); !errors.Is(err, fault.ErrNoSubscription) {
		t.Errorf("a closed subscription: %v", err)
	}
}

func TestOnlyTheClientThatDoesNotAnswerIsSkipped(t *testing.T) {
	// The other client answers much faster, even on a busy machine.
	const answerTime = 2 * time.Second
	l := brokertest.New(t)
	r := rand.New(rand.NewPCG(3, 3))
	b := run(t, l, func(o *broker.Options) {
		o.AnswerTime, o.Encoder = answerTime, wide
	})
	stopped, err := b.Subscribe(quota.Holder{User: 1000, Rank: quota.Member}, "", filter.Spec{}, delivery.SubscribeOptions{Batch: 4})
	if err != nil {
		t.Fatal(err)
	}
	before := stopped.Status().Position.Sequence
	slow := newClient()
	slow.answers, slow.stride = make(chan struct{}), wideGroup
	if err := stopped.Attach(slow); err != nil {
		t.Fatal(err)
	}
	other, err := b.Subscribe(quota.Holder{User: 1000, Rank: quota.Member}, "", filter.Spec{}, delivery.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	quick := newClient()
	quick.stride = wideGroup
	if err := other.Attach(quick); err != nil {
		t.Fatal(err)
	}
	last := l.Append(brokertest.Some(r, 100)...)
	slow.await(t, "the first window", func() bool { return len(slow.got) == 4 })
	// More groups than are kept in memory.
	for range 40 {
		last = l.Append(brokertest.Some(r, 50)...)
	}
	quick.awaitLast(t, last.Sequence)
	if n := len(slow.groups()); n != 4 {
		t.Errorf("%d groups were sent to a client that does not answer, want one window of 4", n)
	}
	if n := uint64(len(quick.groups())); n != last.Sequence-before {
		t.Errorf("the other client got %d of %d groups", n, last.Sequence-before)
	}
	time.Sleep(2 * answerTime) // the answer is late
	close(slow.answers)
	slow.await(t, "the gap", func() bool { return len(slow.gaps) == 1 })
	slow.mu.Lock()
	gap, sent := slow.gaps[0], slow.cursors[0]
	slow.mu.Unlock()
	if gap.Reason != reading.Slow || gap.To != last || gap.From != sent || gap.Entries != last.Sequence-sent.Sequence {
		t.Errorf("gap %+v", gap)
	}
	from := last.Sequence
	last = l.Append(brokertest.Some(r, 5)...)
	slow.awaitLast(t, last.Sequence)
	if n := uint64(len(slow.groups())); n != 4+last.Sequence-from {
		t.Errorf("%d groups, want all except the skipped ones", n)
	}
}
