// SPDX-License-Identifier: Apache-2.0

// Package tracetest provides tests with the event groups of real TLS handshakes, recorded at
// the probes of GnuTLS 3.8.13 and OpenSSL 4.0.
package tracetest

import (
	"embed"
	"encoding/binary"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"

	"crypto-auditing/src/internal/event"
)

//go:embed traces/*.txt
var traces embed.FS

// line matches a line of a trace: time, program, process/thread, library, address, probe,
// context, parent, position in the array, key, value.
var line = regexp.MustCompile(`^(\d+)\.(\d{6}) (\S+) +(\d+)/(\d+) (\S+) ip=\S+ (\S+) +ctx=([0-9a-f]{16})(?: parent=([0-9a-f]{16}))?(?: \[(\d+)/\d+\] (\S+) = (?:"(.*)"|word (-?\d+) .*))?$`)

// Names returns the names of the traces.
func Names() []string {
	files, _ := fs.Glob(traces, "traces/*.txt")
	for i := range files {
		files[i] = strings.TrimSuffix(strings.TrimPrefix(files[i], "traces/"), ".txt")
	}
	return files
}

// Hits returns one group for each probe hit of a trace, in order.
func Hits(name string) ([]event.Group, error) {
	text, err := traces.ReadFile("traces/" + name + ".txt")
	if err != nil {
		return nil, err
	}
	var groups []event.Group
	for n, s := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		m := line.FindStringSubmatch(s)
		if m == nil {
			return nil, fmt.Errorf("trace %s: line %d is not a probe hit: %q", name, n+1, s)
		}
		seconds, _ := strconv.ParseUint(m[1], 10, 64)
		micros, _ := strconv.ParseUint(m[2], 10, 64)
		at := seconds*1e9 + micros*1e3
		id := contextID(m[5], m[8])
		if m[10] == "" || m[10] == "1" {
			g := event.Group{Context: id, Start: at, End: at}
			if strings.HasPrefix(m[7], "new_context") {
				g.Events = append(g.Events, event.Event{
					Kind: event.NewContext, Parent: contextID(m[5], m[9]),
					Origin: []byte(m[6]), Executable: []byte(m[3]),
				})
			}
			groups = append(groups, g)
		}
		g := &groups[len(groups)-1]
		g.End = at
		if m[11] != "" {
			e := event.Event{Key: []byte(m[11]), Value: event.Value{Kind: event.String, Bytes: []byte(m[12])}}
			if m[13] != "" {
				word, err := strconv.ParseInt(m[13], 10, 64)
				if err != nil {
					return nil, fmt.Errorf("trace %s: line %d: %w", name, n+1, err)
				}
				e.Value = event.Value{Kind: event.Word, Word: word}
			}
			g.Events = append(g.Events, e)
		}
	}
	return groups, nil
}

// contextID builds an id from a thread and a context that is as unique as an encrypted one.
func contextID(thread, context string) (id event.ContextID) {
	t, _ := strconv.ParseUint(thread, 10, 64)
	c, _ := strconv.ParseUint(context, 16, 64)
	binary.LittleEndian.PutUint64(id[:8], t)
	binary.LittleEndian.PutUint64(id[8:], c)
	return id
}

// Split returns groups with the same events, one event per group, in the form that the public
// project writes.
func Split(groups []event.Group) []event.Group {
	var out []event.Group
	for _, g := range groups {
		for i := range g.Events {
			single := g
			single.End = single.Start
			single.Events = g.Events[i : i+1]
			out = append(out, single)
		}
	}
	return out
}

// Merge returns groups in the form that the agent creates in a window: consecutive events of
// one context are in one group, which a NewContext ends.
func Merge(groups []event.Group) []event.Group {
	var out []event.Group
	last := make(map[event.ContextID]int)
	for _, g := range groups {
		i, ok := last[g.Context]
		if ok && g.Events[0].Kind != event.NewContext {
			into := &out[i]
			into.End = g.End
			into.Events = append(into.Events[:len(into.Events):len(into.Events)], g.Events...)
			continue
		}
		last[g.Context] = len(out)
		out = append(out, g)
	}
	return out
}
