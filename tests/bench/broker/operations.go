// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/tests/bench/figures"
)

// groupsPerOperation is the number of groups of each operation in the log.
const groupsPerOperation = 5

// operations compares ReadOperations, page by page through the whole log, with Open.
func (b *bench) operations() error {
	log := b.directory("operations-log")
	groups := b.pick(150_000, 600_000)
	if err := b.fill(log, "-fresh", "-groups", "3000", "-chunks", strconv.Itoa(groups/3000), "-seal"); err != nil {
		return err
	}
	time.Sleep(3 * time.Second) // until the last operations are complete
	s, err := b.begin("operations", log)
	if err != nil {
		return err
	}
	rates, use, err := s.compareOperations(groups, b.pick(3, 5))
	if err := errors.Join(err, s.end()); err != nil {
		return err
	}
	opened, read := rates[0].Median(), rates[1].Median()
	b.figures.AtMost("operations_vs_open", opened/read, 12, fmt.Sprintf(
		"time per group of ReadOperations, all pages of 1,000 through the bus, divided by that of Open; operations of %d groups in %d contexts, alternating; processor time per group: broker %.2f us, bus %.2f us; Open %.2f us",
		groupsPerOperation, groupsPerOperation, use[1].Median(), use[2].Median(), use[0].Median()))
	b.figures.Add("operations_open_groups_per_s", opened, "Open of the same log")
	b.figures.Add("operations_groups_per_s", read, "groups in the operations that ReadOperations returns")
	return nil
}

// compareOperations returns the rates of Open and ReadOperations, and processor times per
// group in µs: of the broker in Open, of the broker and of the bus in ReadOperations.
func (s *testbed) compareOperations(groups, rounds int) (rates [2]figures.Sample, use [3]figures.Sample, err error) {
	conn, err := dbus.Connect(s.address)
	if err != nil {
		return rates, use, err
	}
	defer conn.Close()
	r, err := s.connect()
	if err != nil {
		return rates, use, err
	}
	defer r.conn.Close()
	for range rounds {
		for i, read := range []func() (float64, error){
			func() (float64, error) { return open(conn, groups) },
			func() (float64, error) { return r.readOperations(groups) },
		} {
			before, err := s.use()
			if err != nil {
				return rates, use, err
			}
			rate, err := read()
			if err != nil {
				return rates, use, err
			}
			after, err := s.use()
			if err != nil {
				return rates, use, err
			}
			rates[i] = append(rates[i], rate)
			use[i] = append(use[i], float64((after[0]-before[0]).Microseconds())/float64(groups))
			if i > 0 {
				use[2] = append(use[2], float64((after[1]-before[1]).Microseconds())/float64(groups))
			}
		}
	}
	return rates, use, nil
}

// readOperations reads all operations of the log and returns the rate of their groups.
func (r *subscriber) readOperations(groups int) (float64, error) {
	began := time.Now()
	before, err := r.count()
	if err != nil {
		return 0, err
	}
	for at := "oldest"; ; {
		var page []dict // empty: the tap has counted and removed the operations
		var next string
		var missing uint64
		err := r.conn.Object(brokerName, brokerPath).Call(brokerName+".ReadOperations", 0, at, dict{}, uint32(1000), dict{}).Store(&page, &next, &missing)
		if err != nil {
			return 0, fmt.Errorf("cannot read operations: %w", err)
		}
		if next == at {
			break
		}
		at = next
	}
	took := time.Since(began)
	after, err := r.count()
	if err == nil && after-before != groups/groupsPerOperation {
		err = fmt.Errorf("got %d operations from %d groups, want one per %d groups", after-before, groups, groupsPerOperation)
	}
	return float64(groups) / took.Seconds(), err
}

// countOperations counts the operations in the array at the beginning of a body, and
// returns the end of the array.
func (r *subscriber) countOperations(body []byte) (end int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	end = 4 + int(binary.LittleEndian.Uint32(body))
	for at := 4; at < end; r.groups++ {
		at = (at+4+7)&^7 + int(binary.LittleEndian.Uint32(body[at:]))
		at = (at + 3) &^ 3
	}
	return end
}

// withoutOperations replaces the array of operations in a reply by an empty one.
func withoutOperations(message []byte, begin, end int) []byte {
	body := message[begin:]
	end = (end + 3) &^ 3
	text := body[end : end+4+int(binary.LittleEndian.Uint32(body[end:]))+1]
	missing := body[(end+len(text)+7)&^7:][:8]
	short := append(message[:begin:begin], 0, 0, 0, 0)
	short = append(short, text...)
	for len(short)%8 != 0 {
		short = append(short, 0)
	}
	short = append(short, missing...)
	binary.LittleEndian.PutUint32(short[4:], uint32(len(short)-begin))
	return short
}

// operationRates measures the rate of operations that subscribers receive by signals while
// the log grows faster.
func (b *bench) operationRates() error {
	for n, groups := range map[int]int{1: b.pick(150_000, 600_000), 100: b.pick(60_000, 150_000)} {
		log := b.directory(fmt.Sprintf("operation-rates-log-%d", n))
		if err := b.fill(log, "-chunks", "1", "-groups", "1"); err != nil {
			return err
		}
		s, err := b.begin(fmt.Sprintf("operation-rates-%d", n), log)
		if err != nil {
			return err
		}
		rate, use, err := s.liveOperations(n, groups)
		if err := errors.Join(err, s.end()); err != nil {
			return err
		}
		name := "operation_signals_per_s"
		if n > 1 {
			name += "_" + strconv.Itoa(n)
		}
		b.figures.Add(name, rate, fmt.Sprintf("operations to %d subscribers in total, while the log grows; %s", n, use))
	}
	return nil
}

// liveOperations returns the total rate of operations that n subscribers receive from a
// growing log, in operations per second, and a description of the processor use.
func (s *testbed) liveOperations(n, groups int) (rate float64, use string, err error) {
	var all []*subscriber
	for range n {
		r, err := s.subscribe(dict{}, dict{"form": dbus.MakeVariant("operations")})
		if err != nil {
			return 0, "", err
		}
		defer r.conn.Close()
		all = append(all, r)
	}
	time.Sleep(500 * time.Millisecond) // until all are attached
	before, err := s.use()
	if err != nil {
		return 0, "", err
	}
	filled := make(chan error, 1)
	began := time.Now()
	go func() {
		filled <- s.bench.fill(s.log, "-fresh", "-groups", "3000", "-chunks", strconv.Itoa(groups/3000))
	}()
	// Stop after a pause; the last operations are not waited for because they are delivered
	// only when they are complete. Subscribers that are too slow skip some.
	const pause = 1500 * time.Millisecond
	want := n * groups / groupsPerOperation
	sum, took, after := 0, time.Duration(0), before
	for since := time.Since(began); since-took < pause || sum == 0; since = time.Since(began) {
		time.Sleep(20 * time.Millisecond)
		got := 0
		for _, r := range all {
			received, err := r.count()
			if err != nil {
				return 0, "", errors.Join(err, <-filled)
			}
			got += received
		}
		if got > sum {
			sum, took = got, time.Since(began)
			if after, err = s.use(); err != nil {
				return 0, "", errors.Join(err, <-filled)
			}
		}
		if since > time.Minute && sum == 0 {
			return 0, "", errors.Join(errors.New("no operation arrived within a minute"), <-filled)
		}
	}
	use = fmt.Sprintf("%d of %d; processors: broker %.2f, bus %.2f", sum, want, (after[0]-before[0]).Seconds()/took.Seconds(), (after[1]-before[1]).Seconds()/took.Seconds())
	return float64(sum) / took.Seconds(), use, <-filled
}
