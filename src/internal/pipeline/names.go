// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"slices"
	"sync"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/pipeline/window"
)

// maxNamed bounds the libraries that the log names; the oldest are dropped first.
const maxNamed = 1024

// libraryNames are the libraries that the log names by their build-ids. They are written
// in the next batch with events, before these, so that a machine that records nothing
// writes nothing for them.
type libraryNames struct {
	mu sync.Mutex
	// all are the attached libraries; the first named ones are in the current segment.
	all   []event.Library
	named int
}

// Name adds a library to name in the log. It may be called from any goroutine.
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

// RepeatNames causes all libraries to be named again, in a new segment. It may be called
// from any goroutine.
func (p *Pipeline) RepeatNames() {
	p.names.mu.Lock()
	defer p.names.mu.Unlock()
	p.names.named = 0
}

// take adds the pending names to a batch.
func (n *libraryNames) take(b *window.Batch, at uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for ; n.named < len(n.all); n.named++ {
		b.Entries = event.AppendLibrary(b.Entries, &n.all[n.named], at)
		b.EndNotice(at, at)
	}
}
