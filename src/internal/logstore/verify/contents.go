// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"fmt"
	"runtime"
	"sync"

	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/segment"
)

// maxWorkers limits the number of chunks checked at a time, and thus the memory: each takes
// up to 9 MiB.
const maxWorkers = 4

// contents is a chunk to check.
type contents struct {
	segment *segment.Segment
	offset  int64
	first   uint64 // of the segment
	header  frame.Header
	payload []byte
	before  frame.Hash // of the entry before the chunk
	// at is an entry whose hash is requested, 0 for none; hash is the result.
	at   uint64
	hash frame.Hash

	entries []byte
	err     error
	done    chan struct{}
}

// checker checks the entries of chunks in goroutines of its own. The hash before a chunk is
// in the previous header, so chunks can be checked in parallel. Its methods are for use by
// one goroutine.
type checker struct {
	opts  *Options
	jobs  chan *contents
	free  []*contents
	order []*contents // in progress, oldest first
	ended sync.WaitGroup
}

func newChecker(opts *Options) (*checker, error) {
	workers := min(max(runtime.GOMAXPROCS(0), 1), maxWorkers)
	c := &checker{opts: opts, jobs: make(chan *contents, workers)}
	for range workers {
		d, err := frame.NewDecoder()
		if err != nil {
			c.close()
			return nil, err
		}
		c.ended.Go(func() { c.work(d) })
	}
	for range 2 * workers {
		c.free = append(c.free, &contents{done: make(chan struct{}, 1)})
	}
	return c, nil
}

// close ends the goroutines. No check may be in progress.
func (c *checker) close() {
	close(c.jobs)
	c.ended.Wait()
}

func (c *checker) work(d *frame.Decoder) {
	defer d.Close()
	chain := frame.NewChain()
	var ends []uint32
	for j := range c.jobs {
		ends, j.err = j.check(d, chain, ends[:0], c.opts.EntryLen)
		j.done <- struct{}{}
	}
}

// check checks the entries against the header.
func (j *contents) check(d *frame.Decoder, chain *frame.Chain, ends []uint32, length frame.LenFunc) ([]uint32, error) {
	h := &j.header
	corrupt := func(kind frame.Kind, format string, args ...any) error {
		return &brokenError{&segment.CorruptError{Segment: j.segment.Path(), Offset: j.offset, Kind: kind, Detail: fmt.Sprintf(format, args...)}}
	}
	var err error
	if j.entries, err = d.Entries(j.entries, h, j.payload); err != nil {
		return ends, broken(nil, j.segment.Place(err, j.offset))
	}
	if ends, err = frame.AppendEnds(ends, j.entries, length); err != nil {
		return ends, corrupt(frame.KindEntries, "%v", err)
	}
	if n := len(ends); n != int(h.Entries) {
		return ends, corrupt(frame.KindEntries, "%d entries, but %d according to the header", n, h.Entries)
	}
	chain.Set(j.before)
	if j.at >= h.Sequence && j.at <= h.LastSequence() {
		n := j.at - h.Sequence + 1
		if err := chain.Add(j.entries[:ends[n-1]], ends[:n]); err != nil {
			return ends, corrupt(frame.KindEntries, "%v", err)
		}
		j.hash = chain.Sum()
		chain.Set(j.before)
	}
	if err := chain.Add(j.entries, ends); err != nil {
		return ends, corrupt(frame.KindEntries, "%v", err)
	}
	if chain.Sum() != h.Hash {
		return ends, corrupt(frame.KindHash, "the hash after the chunk is another")
	}
	return ends, nil
}

// begin returns memory for a chunk, nil if all of it is in use.
func (c *checker) begin() *contents {
	if len(c.free) == 0 {
		return nil
	}
	j := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	return j
}

// add starts the check of a chunk.
func (c *checker) add(j *contents) {
	c.order = append(c.order, j)
	c.jobs <- j
}

// next waits for the oldest chunk in progress and returns it, nil if there is none. The
// caller must pass it to giveBack.
func (c *checker) next() *contents {
	if len(c.order) == 0 {
		return nil
	}
	j := c.order[0]
	c.order = c.order[1:]
	<-j.done
	return j
}

func (c *checker) giveBack(j *contents) { c.free = append(c.free, j) }
