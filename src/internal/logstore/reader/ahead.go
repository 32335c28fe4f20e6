// SPDX-License-Identifier: Apache-2.0

package reader

import (
	"context"
	"sync"
)

// aheadChunks is the number of chunks read ahead. Each takes at most frame.MaxUncompressed
// bytes.
const aheadChunks = 3

// Ahead reads the chunks of a Reader ahead of the caller in a goroutine of its own: the
// caller processes one chunk while the next ones are decompressed. Order and errors are
// those of Reader.Next. It is for use by one goroutine, which must not use the Reader until
// Next has returned an error or Stop was called.
type Ahead struct {
	reader *Reader
	// spare has memory for entries.
	spare   chan []byte
	results chan result
	cancel  context.CancelFunc
	running sync.WaitGroup
	// current is the last result of Next; holds reports that it is a chunk.
	current result
	holds   bool
}

// result is a chunk or an error.
type result struct {
	chunk   Chunk
	entries []byte // the memory of the chunk, may be nil
	err     error
}

// NewAhead returns an Ahead that starts at the position of the Reader.
func NewAhead(r *Reader) *Ahead {
	a := &Ahead{reader: r, spare: make(chan []byte, aheadChunks)}
	for range aheadChunks {
		a.spare <- nil
	}
	return a
}

// Next returns the next result of Reader.Next. A chunk is valid until the next call. After
// an error, including io.EOF, no chunk has been read ahead.
func (a *Ahead) Next(ctx context.Context) (*Chunk, error) {
	if a.holds {
		a.holds = false
		a.spare <- a.current.entries
	}
	if a.results == nil {
		a.start(ctx)
	}
	var next result
	select {
	case next = <-a.results:
	case <-ctx.Done():
		next.err = ctx.Err()
	}
	if next.err != nil {
		a.Stop()
		return nil, next.err
	}
	a.current, a.holds = next, true
	return &a.current.chunk, nil
}

// Stop stops reading ahead. The position of the Reader is then unspecified, but after the
// last chunk returned.
func (a *Ahead) Stop() {
	if a.results == nil {
		return
	}
	a.cancel()
	a.running.Wait()
	for len(a.results) > 0 {
		if r := <-a.results; r.err == nil {
			a.spare <- r.entries
		}
	}
	a.results = nil
}

func (a *Ahead) start(ctx context.Context) {
	ctx, a.cancel = context.WithCancel(ctx)
	// The capacity is enough for all chunks that can be read and the final error.
	a.results = make(chan result, aheadChunks+1)
	a.running.Go(func() { a.read(ctx) })
}

// read reads until an error occurs.
func (a *Ahead) read(ctx context.Context) {
	for {
		var spare []byte
		select {
		case spare = <-a.spare:
		case <-ctx.Done():
			a.results <- result{err: ctx.Err()}
			return
		}
		a.reader.entries, spare = spare, a.reader.entries
		chunk, err := a.reader.Next(ctx)
		a.reader.entries, spare = spare, a.reader.entries
		if err != nil {
			a.spare <- spare
			a.results <- result{err: err}
			return
		}
		a.results <- result{chunk: *chunk, entries: spare}
	}
}
