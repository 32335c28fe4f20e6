// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"fmt"
	"path/filepath"
	"slices"

	"crypto-auditing/src/internal/discover"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/loss"
	"crypto-auditing/src/internal/wire"
)

// Report is what a tracer knows of what it could not see.
type Report struct {
	// Unseen are sentences without a full stop: what no source could see.
	Unseen []string
	// Lost are the losses by reason.
	Lost []loss.Loss
}

// Report returns what was not seen, after Run.
func (t *Tracer) Report() Report {
	r := Report{Lost: t.losses.List()}
	add := func(format string, arguments ...any) { r.Unseen = append(r.Unseen, fmt.Sprintf(format, arguments...)) }
	if t.socketsErr != nil {
		add("handshakes at sockets: %v", t.socketsErr)
	}
	if t.watcherErr != nil {
		add("libraries that were loaded later: %v", t.watcherErr)
	}
	attached := map[string]bool{}
	for _, l := range t.libraries.Status() {
		if l.Sites > 0 {
			attached[base(l.Path)] = true
		}
	}
	var none []string
	t.mu.Lock()
	for path := range t.mapped {
		if name := filepath.Base(path); (discover.Usual{}).Has(name) && !attached[base(path)] && t.options.uses(event.USDT) {
			none = append(none, name)
		}
	}
	t.mu.Unlock()
	slices.Sort(none)
	for _, name := range slices.Compact(none) {
		add("%s was loaded and has no probes", name)
	}
	if missed, err := t.tree.Missed(); err != nil {
		add("some processes: %v", err)
	} else if missed > 0 {
		add("%d processes, which were too many at a time", missed)
	}
	if t.watcher != nil && t.watcher.Lost() > 0 {
		add("%d files that were loaded, too many at a time", t.watcher.Lost())
	}
	if t.sockets != nil {
		seen, _ := t.pipeline.Connections()
		t.reportConnections(seen.Stats, add)
	}
	return r
}

// reportConnections adds what is known of connections.
func (t *Tracer) reportConnections(seen wire.Stats, add func(format string, arguments ...any)) {
	counts, err := t.sockets.Counts()
	if err != nil {
		add("connections: %v", err)
		return
	}
	if n := counts.NoHandshake + seen.NoHandshake; n > 0 {
		add("%d connections without a TLS or SSH handshake where it is looked for", n)
	}
	if seen.Relayed > 0 {
		add("%d handshakes that were passed on for others", seen.Relayed)
	}
	if seen.Undecodable > 0 {
		add("%d datagrams of QUIC that could not be decoded", seen.Undecodable)
	}
}

// base returns the name of the file that a path leads to.
func base(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return filepath.Base(path)
}
