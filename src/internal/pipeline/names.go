// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"slices"
	"sync"

	"crypto-auditing/src/internal/event"
)

// maxNamed bounds the libraries that the log is to name, the oldest go first.
const maxNamed = 1024

// libraryNames are the libraries that the log names by their build-ids. They come with the
// next batch that has events, before those, so that a machine that records nothing
// writes nothing for them.
type libraryNames struct {
	mu sync.Mutex
	// all were attached; the first named of them are in the segment that is written.
	all   []event.Library
	named int
}

// Name has the log name a library. It may be called from any goroutine.
func (p *Pipeline) Name(l event.Library) {
	n := &p.names
	n.mu.Lock()
	defer n.mu.Unlock()
	if slices.ContainsFunc(n.all, func(o event.Library) bool { return o.Name == l.Name && string(o.BuildID) == string(l.BuildID) }) {
		return
	}
	if len(n.all) >= maxNamed {
		n.all = n.all[1:]
		n.named = max(n.named-1, 0)
	}
	n.all = append(n.all, l)
}

// NameAgain has the log name all libraries again: a segment has begun. It may be called
// from any goroutine.
func (p *Pipeline) NameAgain() {
	p.names.mu.Lock()
	defer p.names.mu.Unlock()
	p.names.named = 0
}

// take adds the names that are due to a batch.
func (n *libraryNames) take(b *Batch, at uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for ; n.named < len(n.all); n.named++ {
		b.Entries = event.AppendLibrary(b.Entries, &n.all[n.named], at)
		b.notice(at, at)
	}
}
