// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"crypto-auditing/src/internal/discover"
	"crypto-auditing/src/internal/loss"
	"crypto-auditing/src/internal/wire"
)

// Report lists what a tracer could not record.
type Report struct {
	// Unseen are sentences without a full stop about events that no source could capture.
	Unseen []string
	// Lost are the losses by reason.
	Lost []loss.Loss
}

// Report returns the report. Call it after Run.
func (t *Tracer) Report() Report {
	r := Report{Lost: t.losses.List()}
	add := func(format string, arguments ...any) { r.Unseen = append(r.Unseen, fmt.Sprintf(format, arguments...)) }
	if t.socketsErr != nil {
		add("handshakes at sockets: %v", t.socketsErr)
	}
	if t.watcherErr != nil {
		add("libraries that were loaded later: %v", t.watcherErr)
	}
	if t.functionsErr != nil {
		add("functions of libraries: %v", t.functionsErr)
	}
	t.mu.Lock()
	for _, err := range t.quarantined {
		add("%v", err)
	}
	t.mu.Unlock()
	if len(t.sources) > 0 {
		t.reportLibraries(add)
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

// reportLibraries adds the cryptographic libraries that were loaded but not attached.
func (t *Tracer) reportLibraries(add func(format string, arguments ...any)) {
	attached, refused := map[string]bool{}, map[string]string{}
	for _, l := range t.libraries.Status() {
		if l.Sites > 0 {
			attached[base(l.Path)] = true
		} else if l.Error != "" {
			// The first reason is sufficient here; crauctl probes lists all.
			reason, _, _ := strings.Cut(strings.TrimPrefix(l.Error, "cannot attach to "+l.Path+": "), "\n")
			refused[base(l.Path)] = reason
		}
	}
	var files []loaded
	for _, path := range t.mapped.Paths() {
		files = append(files, loaded{name: filepath.Base(path), attached: attached[base(path)], refused: refused[base(path)]})
	}
	for _, line := range unsupported(files) {
		add("%s", line)
	}
}

// loaded is a file that a process has mapped.
type loaded struct {
	name     string
	attached bool
	// refused is the reason why it is not attached, empty if it has nothing to attach to.
	refused string
}

// unsupported returns a line for the cryptographic libraries that no source supports, and one for
// each reason to refuse others. Nettle and Hogweed are parts of GnuTLS: they get no line if
// GnuTLS is attached.
func unsupported(files []loaded) (lines []string) {
	gnutls := slices.ContainsFunc(files, func(f loaded) bool { return f.attached && strings.HasPrefix(f.name, "libgnutls.") })
	var none []string
	byReason := map[string][]string{}
	for _, f := range files {
		part := strings.HasPrefix(f.name, "libnettle.") || strings.HasPrefix(f.name, "libhogweed.")
		switch {
		case f.attached, gnutls && part:
		case f.refused != "":
			byReason[f.refused] = append(byReason[f.refused], f.name)
		case (discover.Usual{}).Has(f.name):
			none = append(none, f.name)
		}
	}
	names := func(list []string) string {
		slices.Sort(list)
		return strings.Join(slices.Compact(list), ", ")
	}
	if none != nil {
		lines = append(lines, "what these libraries did, of which no source knows more: "+names(none))
	}
	for _, reason := range slices.Sorted(maps.Keys(byReason)) {
		lines = append(lines, fmt.Sprintf("what %s did: %s", names(byReason[reason]), reason))
	}
	return lines
}

// reportConnections adds connections that were missed.
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

// base returns the file name that a path resolves to.
func base(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return filepath.Base(path)
}
