// SPDX-License-Identifier: Apache-2.0

package broker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/broker/brokertest"
	"crypto-auditing/src/internal/broker/delivery"
	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/broker/filter"
	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/quota"
	"crypto-auditing/src/internal/retention"
)

// segmented makes a log of segments with 100 groups each, and returns the cursors at
// their ends.
func segmented(t *testing.T, segments int) (*brokertest.Log, []logstore.Cursor) {
	t.Helper()
	l := brokertest.New(t)
	r := rand.New(rand.NewPCG(1, 1))
	var ends []logstore.Cursor
	for i := range segments {
		if i > 0 {
			l.Rotate()
		}
		for range 10 {
			l.Append(brokertest.Some(r, 10)...)
		}
		ends = append(ends, l.Flush())
	}
	return l, ends
}

// readAll reads the entries and gaps after a cursor.
func readAll(t *testing.T, b *running, after string, f filter.Spec) (got []uint64, gaps []reading.Gap) {
	t.Helper()
	r, err := b.Read(quota.Holder{User: 1000}, after, f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		p, err := r.Next(context.Background(), nil, 1+len(got)%97, reading.MaxPage, sequences)
		if err != nil {
			t.Fatal(err)
		}
		if p.Gap != nil {
			gaps = append(gaps, *p.Gap)
		}
		c := client{stride: 8}
		c.changed = newClient().changed
		if err := c.Events(p.Groups, p.Count, r.Cursor()); err != nil {
			t.Fatal(err)
		}
		got = append(got, c.got...)
		if p.End {
			return got, gaps
		}
	}
}

func TestTruncatedEntriesAreReportedAndCounted(t *testing.T) {
	l, ends := segmented(t, 5)
	b := run(t, l, func(o *broker.Options) { o.Agent = &brokertest.Agent{Log: l} })
	s, first := subscribe(t, b, "lagging", filter.Spec{}, delivery.SubscribeOptions{After: logstore.OldestWord})
	first.awaitLast(t, ends[4].Sequence)
	if err := s.Seek(logstore.OldestWord); err != nil {
		t.Fatal(err)
	}
	s.Detach(first)
	_ = s.Seek(logstore.Cursor{Store: ends[0].Store}.String())
	if _, err := l.Writer.Remove(context.Background(), ends[2], nil); err != nil {
		t.Fatal(err)
	}
	want := reading.Gap{From: logstore.Cursor{Store: ends[0].Store}, To: ends[2], Entries: ends[2].Sequence, Reason: event.Truncated}

	second := newClient()
	if err := s.Attach(second); err != nil {
		t.Fatal(err)
	}
	second.awaitLast(t, ends[4].Sequence)
	second.increasing(t)
	if !slices.Equal(second.gaps, []reading.Gap{want}) || second.groups()[0] != ends[2].Sequence+1 {
		t.Errorf("a subscription gets the gaps %+v, and continues at %d; want %+v", second.gaps, second.groups()[0], want)
	}
	if status := s.Status(); status.Skipped != ends[2].Sequence {
		t.Errorf("skipped %d, want %d", status.Skipped, ends[2].Sequence)
	}
	got, gaps := readAll(t, b, want.From.String(), filter.Spec{})
	if !slices.Equal(gaps, []reading.Gap{want}) || !slices.Equal(got, second.groups()) {
		t.Errorf("a reader gets the gaps %+v", gaps)
	}
	if _, gaps := readAll(t, b, logstore.OldestWord, filter.Spec{}); len(gaps) != 0 {
		t.Errorf("a reader from the oldest entry gets the gaps %+v, want none", gaps)
	}
}

// damage overwrites bytes in the middle of a segment.
func damage(t *testing.T, dir string, segment int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "audit-*"))
	if err != nil || len(files) <= segment {
		t.Fatal(files, err)
	}
	slices.Sort(files)
	b, err := os.ReadFile(files[segment])
	if err != nil {
		t.Fatal(err)
	}
	for i := len(b) / 2; i < len(b)/2+40; i++ {
		b[i] ^= 0x55
	}
	if err := os.WriteFile(files[segment], b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestUnreadableSegmentsAreReportedAndSkipped(t *testing.T) {
	l, ends := segmented(t, 3)
	damage(t, l.Dir, 1)
	b := run(t, l, nil)
	_, c := subscribe(t, b, "", filter.Spec{}, delivery.SubscribeOptions{After: logstore.OldestWord})
	c.awaitLast(t, ends[2].Sequence)
	c.increasing(t)
	got, gaps := readAll(t, b, logstore.OldestWord, filter.Spec{})
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(got, c.got) || !slices.Equal(gaps, c.gaps) {
		t.Errorf("a reader gets %d groups and %+v, a subscription %d and %+v", len(got), gaps, len(c.got), c.gaps)
	}
	var missing uint64
	for _, g := range gaps {
		missing += g.Entries
		if g.Reason != event.Corrupt {
			t.Errorf("gap %+v", g)
		}
		if slices.ContainsFunc(got, func(n uint64) bool { return n > g.From.Sequence && n <= g.To.Sequence }) {
			t.Errorf("groups of the gap %+v were received", g)
		}
	}
	if len(gaps) == 0 || uint64(len(got))+missing != ends[2].Sequence {
		t.Errorf("%d groups and %d missing in %d gaps, want %d in total", len(got), missing, len(gaps), ends[2].Sequence)
	}
}

func TestALogThatIsReplacedIsReadFromItsBeginning(t *testing.T) {
	l, ends := segmented(t, 2)
	b := run(t, l, nil)
	_, c := subscribe(t, b, "", filter.Spec{}, delivery.SubscribeOptions{After: logstore.OldestWord})
	c.awaitLast(t, ends[1].Sequence)
	if err := l.Writer.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(l.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Remove(filepath.Join(l.Dir, f.Name())); err != nil {
			t.Fatal(err)
		}
	}
	l.Open()
	last := l.Append(brokertest.Some(rand.New(rand.NewPCG(2, 1)), 10)...)
	l.Flush()
	c.await(t, "the other log", func() bool { return len(c.cursors) > 0 && c.cursors[len(c.cursors)-1] == last })
	c.mu.Lock()
	defer c.mu.Unlock()
	want := reading.Gap{From: ends[1], To: logstore.Cursor{Store: last.Store}, Reason: reading.LogReplaced}
	if !slices.Equal(c.gaps, []reading.Gap{want}) {
		t.Errorf("gaps %+v, want %+v", c.gaps, want)
	}
	if other := c.got[ends[1].Sequence:]; uint64(len(other)) != last.Sequence || other[0] != 1 {
		t.Errorf("%d groups of the other log, from %d", len(other), other[0])
	}
}

func TestAnEmptyDirectoryBecomesALog(t *testing.T) {
	l := brokertest.New(t)
	if err := l.Writer.Close(); err != nil {
		t.Fatal(err)
	}
	dir := l.Dir
	l.Dir = filepath.Join(dir, "later")
	if err := os.Mkdir(l.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	b := run(t, l, nil)
	s, err := b.Subscribe(quota.Holder{User: 1000, Rank: quota.Member}, "early", filter.Spec{}, delivery.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := newClient()
	if err := s.Attach(c); err != nil {
		t.Fatal(err)
	}
	l.Open()
	last := l.Append(brokertest.Some(rand.New(rand.NewPCG(2, 2)), 10)...)
	c.awaitLast(t, last.Sequence)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.gaps) > 0 || uint64(len(c.got)) != last.Sequence {
		t.Errorf("%d groups of %d, gaps %v", len(c.got), last.Sequence, c.gaps)
	}
}

func TestTruncationFollowsThePolicy(t *testing.T) {
	cases := map[string]struct {
		policy func(size int64) retention.Policy
		// lagging is the last segment that a durable subscription has read; -1 means no
		// subscription.
		lagging int
		// removed is the number of removed segments, of five. because is the beginning of
		// the policy in the agent's call.
		removed int
		because string
	}{
		"no limit": {func(int64) retention.Policy { return retention.Policy{Reading: retention.Ignore} }, -1, 0, ""},
		"size": {func(n int64) retention.Policy {
			return retention.Policy{Reading: retention.Ignore, MaxSize: retention.Limit{Bytes: 3*n + n/2}}
		}, -1, 2, "max-size="},
		"size, even if a client lags": {func(n int64) retention.Policy {
			return retention.Policy{Reading: retention.Ignore, MaxSize: retention.Limit{Bytes: n}}
		}, 1, 4, "max-size="},
		"never the active segment": {func(int64) retention.Policy {
			return retention.Policy{Reading: retention.Ignore, MaxSize: retention.Limit{Bytes: 1}}
		}, -1, 4, "max-size="},
		"age": {func(int64) retention.Policy { return retention.Policy{Reading: retention.Ignore, MaxAge: time.Minute} }, -1, 4, "max-age=1m"},
		"more free space than the disk has": {func(int64) retention.Policy {
			return retention.Policy{Reading: retention.Ignore, KeepFree: retention.Limit{Bytes: 1 << 60}}
		}, -1, 4, "keep-free="},
		"keep unread segments": {func(int64) retention.Policy {
			return retention.Policy{Reading: retention.Keep, MaxSize: retention.Limit{Bytes: 1}}
		}, 2, 2, "max-size="},
		"keep, without readers": {func(int64) retention.Policy {
			return retention.Policy{Reading: retention.Keep, MaxSize: retention.Limit{Bytes: 1}}
		}, -1, 4, "max-size="},
		"keep, until the hold time expires": {func(int64) retention.Policy {
			return retention.Policy{Reading: retention.Keep, MaxSize: retention.Limit{Bytes: 1}, Hold: time.Minute}
		}, 1, 4, "max-size="},
		"keep, with a long hold time": {func(int64) retention.Policy {
			return retention.Policy{Reading: retention.Keep, MaxSize: retention.Limit{Bytes: 1}, Hold: 1000 * time.Hour}
		}, 1, 1, "max-size="},
		"drop read segments":    {func(int64) retention.Policy { return retention.Policy{Reading: retention.Drop} }, 3, 3, "reading=drop"},
		"drop, without readers": {func(int64) retention.Policy { return retention.Policy{Reading: retention.Drop} }, -1, 0, ""},
		"drop, with other limits": {func(n int64) retention.Policy {
			return retention.Policy{Reading: retention.Drop, MaxSize: retention.Limit{Bytes: n}}
		}, 1, 4, "max-size="},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			l, ends := segmented(t, 5)
			agent := &brokertest.Agent{Log: l}
			b := run(t, l, func(o *broker.Options) {
				o.Agent = agent
				o.Now = func() time.Time { return time.Now().Add(time.Hour) }
			})
			if c.lagging >= 0 {
				after := logstore.Cursor{Store: ends[0].Store}
				if c.lagging > 0 {
					after = ends[c.lagging-1]
				}
				if _, err := b.Subscribe(quota.Holder{User: 1000, Rank: quota.Member}, "lags", filter.Spec{}, delivery.SubscribeOptions{After: after.String()}); err != nil {
					t.Fatal(err)
				}
			}
			_, used, err := b.DiskUsage()
			if err != nil {
				t.Fatal(err)
			}
			policy, by := c.policy(int64(used)/5), retention.Remover{UID: 7, User: "anne"}
			if c.removed == 4 {
				var argument *fault.ArgumentError
				_, err := b.Truncate(context.Background(), policy, by)
				if !errors.As(err, &argument) || argument.Argument != "force" || !strings.Contains(err.Error(), c.because) || agent.Remover.Load() != nil {
					t.Errorf("removing the whole log without force: %v", err)
				}
			}
			policy.Force = true
			got, err := b.Truncate(context.Background(), policy, by)
			if err != nil {
				t.Fatal(err)
			}
			oldest := logstore.Cursor{Store: ends[0].Store}
			if c.removed > 0 {
				oldest = ends[c.removed-1]
			}
			if got.Segments != c.removed || got.Oldest != oldest || (got.Bytes > 0) != (c.removed > 0) {
				t.Errorf("removed %+v, want %d segments, up to %v", got, c.removed, oldest)
			}
			if c.removed == 0 {
				return
			}
			if by := agent.Remover.Load(); by.UID != 7 || by.User != "anne" || !strings.HasPrefix(by.Policy, c.because) {
				t.Errorf("removed for %+v, want user anne and a policy that begins with %s", by, c.because)
			}
		})
	}
}

func TestTruncationNeedsTheAgent(t *testing.T) {
	l, _ := segmented(t, 2)
	agent := &brokertest.Agent{Log: l}
	agent.Down.Store(true)
	b := run(t, l, func(o *broker.Options) { o.Agent = agent })
	if _, err := b.Truncate(context.Background(), retention.Policy{Reading: retention.Ignore, MaxSize: retention.Limit{Bytes: 1}}, retention.Remover{}); !errors.Is(err, fault.ErrAgentUnavailable) {
		t.Errorf("without an agent: %v", err)
	}
	var argument *fault.ArgumentError
	if _, err := b.Truncate(context.Background(), retention.Policy{Reading: "maybe"}, retention.Remover{}); !errors.As(err, &argument) {
		t.Errorf("with an invalid rule: %v", err)
	}
}

// An attached subscription also advances over groups that do not match.
func TestASubscriptionWithoutMatchesAdvances(t *testing.T) {
	l, ends := segmented(t, 3)
	b := run(t, l, func(o *broker.Options) { o.Agent = &brokertest.Agent{Log: l} })
	s, _ := subscribe(t, b, "rare", filter.Spec{Executables: []string{"none"}}, delivery.SubscribeOptions{After: logstore.OldestWord})
	for deadline := time.Now().Add(time.Minute); s.Status().Position != ends[2]; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the position is %v, want %v", s.Status().Position, ends[2])
		}
	}
	l.Append(brokertest.Some(rand.New(rand.NewPCG(3, 3)), 5)...)
	last := l.Flush()
	for deadline := time.Now().Add(time.Minute); s.Status().Position != last; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the position is %v, want %v", s.Status().Position, last)
		}
	}
	got, err := b.Truncate(context.Background(), retention.Policy{Reading: retention.Drop}, retention.Remover{})
	if err != nil || got.Segments != 2 {
		t.Errorf("removed %+v, %v", got, err)
	}
}

func TestLossesAreCountedByReason(t *testing.T) {
	l := brokertest.New(t)
	l.Flush()
	b := run(t, l, nil)
	_, c := subscribe(t, b, "", filter.Spec{Executables: []string{"none"}}, delivery.SubscribeOptions{})
	l.Lose("ring-full", 3)
	l.Append(brokertest.Some(rand.New(rand.NewPCG(4, 4)), 5)...)
	l.Lose("queue-full", 4)
	last := l.Lose("ring-full", 5)
	c.awaitLast(t, last.Sequence)
	if got := c.groups(); len(got) != 3 {
		t.Errorf("%d groups pass a filter that matches only losses", len(got))
	}
	status := b.Status(context.Background())
	if status.EventsLost != 12 || status.Lost["ring-full"] != 8 || status.Lost["queue-full"] != 4 {
		t.Errorf("lost %d: %v", status.EventsLost, status.Lost)
	}
}

// During all changes to the log, each client receives every group once and in order,
// except those reported as missing.
func TestNoEntryIsMissedDuringRotationSealingAndTruncation(t *testing.T) {
	l := brokertest.New(t)
	l.Flush()
	b := run(t, l, func(o *broker.Options) { o.Encoder, o.AnswerTime = sequences, time.Minute })
	r := rand.New(rand.NewPCG(5, uint64(time.Now().UnixNano())))
	var clients []*client
	filters := []filter.Spec{
		{}, {Executables: []string{"curl"}}, {Contexts: []string{"tls::*"}}, {Keys: []string{"pk::bits"}}, {Executables: []string{"never"}},
	}
	for i := range 15 {
		_, c := subscribe(t, b, []string{"", "d" + string(rune('a'+i))}[i%2], filters[i%len(filters)], delivery.SubscribeOptions{
			After: logstore.OldestWord, Batch: uint32(1 + r.IntN(50)),
		})
		clients = append(clients, c)
	}
	var expected [5][]uint64
	for range 300 {
		groups := brokertest.Some(r, 1+r.IntN(60))
		last := l.Append(groups...).Sequence
		for i, g := range groups {
			n := last - uint64(len(groups)-1-i)
			expected[0] = append(expected[0], n)
			if g.Executable == "curl" {
				expected[1] = append(expected[1], n)
			}
			if g.Name[:3] == "tls" {
				expected[2] = append(expected[2], n)
			}
			if _, ok := g.Data["pk::bits"]; ok {
				expected[3] = append(expected[3], n)
			}
		}
		switch r.IntN(20) {
		case 0:
			l.Rotate()
		case 1:
			if err := l.Writer.Seal(context.Background(), func(logstore.Sealed) {}); err != nil {
				t.Fatal(err)
			}
		case 2:
			if _, err := l.Writer.Retain(context.Background(), retention.Policy{MaxSize: retention.Limit{Bytes: 20 << 10}}, nil); err != nil {
				t.Fatal(err)
			}
		case 3:
			time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
		}
	}
	last := l.Lose("the end", 1)
	l.Flush()
	for i, c := range clients {
		c.awaitLast(t, last.Sequence)
		c.increasing(t)
		c.mu.Lock()
		for _, n := range expected[i%len(filters)] {
			_, got := slices.BinarySearch(c.got, n)
			missing := slices.ContainsFunc(c.gaps, func(g reading.Gap) bool { return n > g.From.Sequence && n <= g.To.Sequence })
			if got == missing {
				t.Fatalf("client %d: group %d was received: %v, reported missing: %v; gaps %+v", i, n, got, missing, c.gaps)
			}
		}
		c.mu.Unlock()
	}
}

func TestStreamsAreLimited(t *testing.T) {
	l := brokertest.New(t)
	l.Flush()
	b := run(t, l, func(o *broker.Options) {
		o.Limits = broker.Limits{UserStreams: 2, Streams: 3, UserSubscriptions: 2, Subscriptions: 3}
	})
	var open []*reading.Pages
	for _, step := range []struct {
		user uint32
		rank quota.Rank
		max  int
	}{
		{1, quota.Outsider, 0}, {2, quota.Outsider, 1},
		{3, quota.Member, 0}, {3, quota.Member, 0}, {3, quota.Member, 2}, {4, quota.Member, 3},
		{0, quota.Trusted, 0}, {0, quota.Trusted, 0}, {0, quota.Trusted, 2},
	} {
		r, err := b.Open(quota.Holder{User: step.user, Rank: step.rank}, logstore.OldestWord, filter.Spec{})
		var limit *fault.LimitError
		if step.max == 0 && err != nil || step.max != 0 && (!errors.As(err, &limit) || limit.Max != step.max) {
			t.Fatalf("user %d, with %d open: %v", step.user, len(open), err)
		}
		if err == nil {
			open = append(open, r)
		}
	}
	if b.Idle() {
		t.Error("the broker is idle with open streams")
	}
	for _, r := range open {
		r.Close()
		r.Close() // may be called twice
	}
	if !b.Idle() {
		t.Error("the broker is not idle after all streams were closed")
	}
}

// Users outside the group may have half of the subscriptions, which includes those made
// before a restart. Those of root are additional.
func TestSubscriptionsOfOtherUsersLeaveRoomForTheGroup(t *testing.T) {
	l := brokertest.New(t)
	l.Flush()
	state := t.TempDir()
	limits := func(o *broker.Options) {
		o.StateDir = state
		o.Limits = broker.Limits{UserStreams: 2, Streams: 3, UserSubscriptions: 3, Subscriptions: 6}
	}
	type step struct {
		user uint32
		rank quota.Rank
		max  int
	}
	subscribe := func(b *running, steps ...step) {
		t.Helper()
		for i, step := range steps {
			name := fmt.Sprintf("s%d-%d", len(b.Subscriptions()), i)
			_, err := b.Subscribe(quota.Holder{User: step.user, Rank: step.rank}, name, filter.Spec{}, delivery.SubscribeOptions{})
			var limit *fault.LimitError
			if step.max == 0 && err != nil || step.max != 0 && (!errors.As(err, &limit) || limit.Max != step.max) {
				t.Fatalf("step %d, user %d subscribes: %v", i, step.user, err)
			}
		}
	}
	b := run(t, l, limits)
	subscribe(b, step{1, quota.Outsider, 0}, step{2, quota.Outsider, 0}, step{3, quota.Outsider, 0})
	b.stop()
	b = run(t, l, limits)
	subscribe(b, step{4, quota.Outsider, 3}, step{5, quota.Member, 0}, step{5, quota.Member, 0}, step{5, quota.Member, 0},
		step{5, quota.Member, 3}, step{6, quota.Member, 6}, step{0, quota.Trusted, 0})
}

func TestStreamsAreEntriesWithTwoAdditionalKeys(t *testing.T) {
	g := event.Group{Context: event.ContextID{3}, Start: 5, End: 6, Events: []event.Event{{Key: []byte("a"), Value: event.Value{Word: 1}}}}
	raw := event.Append(nil, &g)
	for _, boot := range []int64{0, 1_700_000_000_000_000_000, -5} {
		b := reading.AppendCBOR(nil, &event.Entry{Sequence: 1 << 40, Raw: raw, Boot: boot})
		var decoded event.Group
		if n, err := event.Decode(b, &decoded); err != nil || n != len(b) || string(event.Append(nil, &decoded)) != string(raw) {
			t.Errorf("boot %d: %x is not a valid entry: %v", boot, b, err)
		}
	}
}
