// SPDX-License-Identifier: Apache-2.0

package broker_test

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"crypto-auditing/src/internal/broker/brokertest"
	"crypto-auditing/src/internal/broker/delivery"
	"crypto-auditing/src/internal/broker/filter"
	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/quota"
)

// counting is a sink that counts groups.
type counting struct {
	groups atomic.Int64
	enough int64
	done   chan struct{}
}

func (c *counting) Events(_ []byte, count int, _ logstore.Cursor) error {
	if n := c.groups.Add(int64(count)); n >= c.enough && n-int64(count) < c.enough {
		close(c.done)
	}
	return nil
}

func (c *counting) Operations([]byte, int, logstore.Cursor) error { return nil }

func (c *counting) Skipped(*reading.Gap) error         { return nil }
func (c *counting) Ping(context.Context) error         { return nil }
func (c *counting) Reserve(context.Context, int) error { return nil }

// BenchmarkCatchUp sends a log to a subscription, without the bus.
func BenchmarkCatchUp(b *testing.B) {
	l := brokertest.New(b)
	r := rand.New(rand.NewPCG(1, 1))
	const groups = 100_000
	for range groups / 1000 {
		l.Append(brokertest.Some(r, 1000)...)
	}
	l.Flush()
	br := run(b, l, nil)
	b.ReportAllocs()
	for b.Loop() {
		s, err := br.Subscribe(quota.Holder{User: 1000, Rank: quota.Member}, "", filter.Spec{}, delivery.SubscribeOptions{After: logstore.OldestWord})
		if err != nil {
			b.Fatal(err)
		}
		c := &counting{enough: groups, done: make(chan struct{})}
		if err := s.Attach(c); err != nil {
			b.Fatal(err)
		}
		<-c.done
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(groups)*float64(b.N)/b.Elapsed().Seconds(), "groups/s")
}

// BenchmarkOpen reads a log as a stream does.
func BenchmarkOpen(b *testing.B) {
	l := brokertest.New(b)
	r := rand.New(rand.NewPCG(1, 1))
	const groups = 200_000
	for range groups / 1000 {
		l.Append(brokertest.Some(r, 1000)...)
	}
	l.Flush()
	br := run(b, l, nil)
	for name, f := range map[string]filter.Spec{"all": {}, "one program of four": {Executables: []string{"curl"}}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var buffer []byte
			for b.Loop() {
				pages, err := br.Open(quota.Holder{User: 1000}, logstore.OldestWord, f)
				if err != nil {
					b.Fatal(err)
				}
				pages.Undecoded()
				for {
					p, err := pages.Next(context.Background(), buffer[:0], 1<<20, 256<<10, reading.AppendCBOR)
					if err != nil {
						b.Fatal(err)
					}
					if buffer = p.Groups; p.End {
						break
					}
				}
				pages.Close()
			}
			b.ReportMetric(float64(groups)*float64(b.N)/b.Elapsed().Seconds(), "groups/s")
		})
	}
}
