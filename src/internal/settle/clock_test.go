// SPDX-License-Identifier: Apache-2.0

package settle_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/settle"
)

// entry is an entry of a log: its number, and the times that are passed to a Clock.
type entry struct {
	sequence, end uint64
	boot          int64
}

// log returns random entries, some after a pause, a step of the clock, or a reboot.
func log(r *rand.Rand, n int) []entry {
	all := make([]entry, n)
	sequence, now, boot := uint64(r.IntN(1000)), uint64(r.IntN(1000))*uint64(time.Second), int64(1_700_000_000)*int64(time.Second)
	for i := range all {
		sequence++
		switch r.IntN(1000) {
		case 0:
			now += uint64(r.IntN(4000)) * uint64(time.Millisecond)
		case 1:
			boot += int64(r.IntN(7200)-3600) * int64(time.Second)
		case 2:
			sequence += 1 << 32
			boot += int64(now) + int64(r.IntN(60))*int64(time.Second)
			now = uint64(r.IntN(20)) * uint64(time.Second)
		}
		now += uint64(r.IntN(20)) * uint64(time.Millisecond)
		all[i] = entry{sequence, now - min(now, uint64(r.IntN(200))*uint64(time.Millisecond)), boot}
	}
	return all
}

func TestTheTimeOfALogIsTheSameWhereverReadingBegan(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 1))
		all := log(r, 6000)
		begin := 1000 + r.IntN(3000)
		var whole, late settle.Clock
		for i, e := range all {
			until := whole.Observe(e.sequence, e.end, e.boot)
			if i < begin {
				continue
			}
			got := late.Observe(e.sequence, e.end, e.boot)
			if i < begin+2000 {
				continue // late has not seen the latest time yet
			}
			if got != until {
				t.Fatalf("seed %d: entry %d of %d, read from %d on: complete up to %d, want %d", seed, i, len(all), begin, got, until)
			}
			if until >= e.sequence || i > 0 && until < all[0].sequence {
				t.Fatalf("seed %d: entry %d: complete up to %d", seed, e.sequence, until)
			}
		}
	}
}

func TestAnOperationIsCompleteAfterTwoSecondsOfTheLog(t *testing.T) {
	const ms = uint64(time.Millisecond)
	var c settle.Clock
	c.Observe(1, 1000*ms, 0)
	if until := c.Observe(2, 2990*ms, 0); until != 0 {
		t.Errorf("after 1.99 s: complete up to %d", until)
	}
	if until := c.Observe(3, 2500*ms, 0); until != 0 {
		t.Errorf("after an earlier entry: complete up to %d", until)
	}
	if until := c.Observe(4, 3020*ms, 0); until != 1 {
		t.Errorf("after 2.02 s: complete up to %d", until)
	}
	// At the end of the log, with half a second for entries that are not written yet.
	for after, want := range map[time.Duration]uint64{0: 1, 2400 * time.Millisecond: 1, 2490 * time.Millisecond: 3, 2530 * time.Millisecond: 4, time.Hour: 4, -time.Hour: 1} {
		if until := c.End(int64(3020*ms) + int64(after)); until != want {
			t.Errorf("%v after the last entry: complete up to %d, want %d", after, until, want)
		}
	}
}

func TestAnOperationIsCompleteAfterManyEntries(t *testing.T) {
	var c settle.Clock
	for i := range uint64(40_000) {
		until := c.Observe(i+1, uint64(time.Second), 0)
		if want := max(int64(i+1)-32_768, 0); until != uint64(want) {
			t.Fatalf("entry %d: complete up to %d, want %d", i+1, until, want)
		}
	}
}

func TestAnInvalidTimeChangesNothing(t *testing.T) {
	var c settle.Clock
	c.Observe(1, uint64(time.Second), 0)
	for _, end := range []uint64{1 << 62, 1<<64 - 1} {
		if until := c.Observe(2, end, 0); until != 0 {
			t.Errorf("%d: complete up to %d", end, until)
		}
	}
	if until := c.End(event.WallTime(0, uint64(time.Minute))); until != 2 {
		t.Errorf("complete up to %d", until)
	}
}

func TestTheTimeContinuesInTheNextBoot(t *testing.T) {
	const s = uint64(time.Second)
	var c settle.Clock
	c.Observe(1, 3600*s, 0)
	c.Observe(2, 5*s, int64(7200*s))
	if until := c.Observe(3, 6*s, int64(7200*s)); until != 0 {
		t.Errorf("after a second: complete up to %d", until)
	}
	if until := c.Observe(4, 8*s, int64(7200*s)); until != 2 {
		t.Errorf("after three seconds: complete up to %d", until)
	}
	// A boot soon after the previous one: its times are only a little earlier.
	c = settle.Clock{}
	c.Observe(1, 12*s, 0)
	c.Observe(2, 5*s, int64(60*s))
	if until := c.Observe(3, 8*s, int64(60*s)); until != 2 {
		t.Errorf("after three seconds of a short boot: complete up to %d", until)
	}
	if until := c.End(int64(68*s) + int64(3*time.Second)); until != 3 {
		t.Errorf("at the end: complete up to %d", until)
	}
}
