// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// Limits of a ring record (bpf/audit.bpf.c); lengths are in bytes.
const (
	longestKey    = 127
	longestString = 511
	longestBlob   = 512
	mostElements  = 16
	// mostCount is the highest plausible number of elements. A higher one counts as a
	// single lost element.
	mostCount = 256
)

// noParent is the parent of a context without a parent.
const noParent = ^uint64(0)

// hit is a probe hit as a publisher reports it.
type hit struct {
	Case    string  `json:"case"`
	Probe   string  `json:"probe"`
	Context uint64  `json:"context"`
	Parent  uint64  `json:"parent"`
	Count   uint64  `json:"count"`
	Values  []value `json:"values"`
}

// value is one value of a hit.
type value struct {
	Kind  string `json:"kind"`
	Key   memory `json:"key"`
	Word  int64  `json:"word"`
	Bytes memory `json:"bytes"`
	Size  uint64 `json:"size"`
}

// memory is the content at a pointer.
type memory struct {
	null, unreadable bool
	bytes            []byte
}

// UnmarshalJSON reads hex digits, null for a NULL pointer, or false.
func (m *memory) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case "null":
		m.null = true
		return nil
	case "false":
		m.unreadable = true
		return nil
	}
	var digits string
	if err := json.Unmarshal(b, &digits); err != nil {
		return err
	}
	var err error
	m.bytes, err = hex.DecodeString(digits)
	return err
}

// opens reports whether the hit opens a context.
func (h *hit) opens() bool { return strings.HasPrefix(h.Probe, "new_context") }

// array reports whether the values are in an array.
func (h *hit) array() bool { return h.Probe == "data" || h.Probe == "new_context_with_data" }

// unrecorded counts the events of hits that cannot be recorded, by reason.
type unrecorded struct{ unreadable, oversize uint64 }

// recordable returns the values that can be recorded, and the number of events that
// cannot. If some could not be read, those beyond the limit count as unreadable, too.
func (h *hit) recordable() (values []value, lost unrecorded) {
	values = h.Values
	if h.array() {
		values = values[:min(len(values), mostElements)]
		if unread := min(h.Count, mostElements) - uint64(len(values)); unread > 0 {
			lost.unreadable = unread + beyond(h.Count)
		} else {
			lost.oversize = beyond(h.Count)
		}
	}
	readable := values[:0:0]
	for _, v := range values {
		if v.Key.null || v.Key.unreadable {
			lost.unreadable++
		} else {
			readable = append(readable, v)
		}
	}
	return readable, lost
}

// beyond returns how many elements of an array count as lost because they exceed the
// limit of a probe.
func beyond(count uint64) uint64 {
	switch {
	case count <= mostElements:
		return 0
	case count <= mostCount:
		return count - mostElements
	}
	return 1
}

// firedBy counts hits and their events, and the events that cannot be recorded.
func firedBy(hits []hit) (fired number, lost unrecorded) {
	for i := range hits {
		values, n := hits[i].recordable()
		fired.hits++
		fired.events += uint64(len(values)) + n.unreadable + n.oversize
		lost.unreadable += n.unreadable
		lost.oversize += n.oversize
		if hits[i].opens() {
			fired.events++
		}
	}
	return fired, lost
}

// text describes an event; equal events have equal texts.
func (e *event) text() string {
	if e.NewContext != nil {
		return fmt.Sprintf("NewContext executable=%q origin=%x", e.NewContext.Executable, e.NewContext.Origin)
	}
	return dataText(*e.Data.Key, e.Data.Value, e.Data.Truncated, e.Data.Unreadable)
}

func dataText(key string, value any, truncated, unreadable bool) string {
	text := fmt.Sprintf("%q = ", key)
	switch v := value.(type) {
	case string:
		text += fmt.Sprintf("text %q", v)
	case []byte:
		text += fmt.Sprintf("bytes %x", v)
	default:
		text += fmt.Sprintf("word %d", v)
	}
	if truncated {
		text += " truncated"
	}
	if unreadable {
		text += " unreadable"
	}
	return text
}

// text describes the event that the log must have for a value.
func (v *value) text() string {
	key, truncated := v.Key.bytes, false
	if len(key) > longestKey {
		key, truncated = key[:longestKey], true
	}
	if v.Kind == "word" {
		return dataText(keyText(key), v.Word, truncated, false)
	}
	content, limit, size := v.Bytes.bytes, longestString, uint64(len(v.Bytes.bytes))
	if v.Kind == "blob" {
		limit, size = longestBlob, v.Size
	}
	if size > uint64(limit) {
		content, truncated = content[:min(limit, len(content))], true
	}
	var logged any = content
	if v.Kind == "string" && utf8.Valid(content) {
		logged = string(content)
	}
	return dataText(keyText(key), logged, truncated, v.Bytes.unreadable)
}

// keyText returns a key as the log writes it: text, with invalid UTF-8 escaped.
func keyText(key []byte) string {
	if utf8.Valid(key) {
		return string(key)
	}
	var text strings.Builder
	for len(key) > 0 {
		r, n := utf8.DecodeRune(key)
		if r == utf8.RuneError && n == 1 || r < 0x20 || r == 0x7f || r == '\\' {
			fmt.Fprintf(&text, `\x%02x`, key[0])
		} else {
			text.Write(key[:n])
		}
		key = key[n:]
	}
	return text.String()
}

// stream has the events of one context.
type stream struct {
	events []string
	// parents has the parent of each opened context, in order.
	parents []string
}

// streams groups events by context, in the order in which the contexts appear.
type streams struct {
	order []string
	by    map[string]*stream
}

func (s *streams) of(context string) *stream {
	if s.by == nil {
		s.by = map[string]*stream{}
	}
	if s.by[context] == nil {
		s.by[context] = &stream{}
		s.order = append(s.order, context)
	}
	return s.by[context]
}

// compareHits compares the log of a process with one thread with the hits that it fired,
// in order, event by event. The context ids of the log differ from those of the process,
// but must be related in the same way. It returns the log's id for each id of the process.
func compareHits(t *testing.T, log []group, hits []hit, executable string, origin []byte) map[uint64]string {
	t.Helper()
	raw := func(context uint64) string { return fmt.Sprintf("%#x", context) }
	var want, got streams
	for i := range hits {
		h := &hits[i]
		values, _ := h.recordable()
		if !h.opens() && len(values) == 0 {
			continue
		}
		s := want.of(raw(h.Context))
		if h.opens() {
			opened := event{NewContext: &newContext{Executable: []byte(executable), Origin: origin}}
			s.events = append(s.events, opened.text())
			s.parents = append(s.parents, raw(h.Parent))
		}
		for _, v := range values {
			s.events = append(s.events, v.text())
		}
	}
	for i := range log {
		g := &log[i]
		if g.metadata() {
			continue
		}
		s := got.of(g.id())
		if n := g.opens(); n != nil {
			s.parents = append(s.parents, hex.EncodeToString(n.Parent))
		}
		for _, e := range g.Events {
			s.events = append(s.events, e.text())
		}
	}
	if len(want.order) != len(got.order) {
		t.Fatalf("the log has %d contexts, want %d", len(got.order), len(want.order))
	}
	ids, logged := map[string]string{}, map[uint64]string{}
	for i, context := range want.order {
		ids[context] = got.order[i]
	}
	for i := range hits {
		if id, ok := ids[raw(hits[i].Context)]; ok {
			logged[hits[i].Context] = id
		}
	}
	parents := map[string]string{}
	for _, context := range want.order {
		w, g := want.by[context], got.by[ids[context]]
		if !slices.Equal(w.events, g.events) {
			t.Errorf("context %s:\n%s", context, difference(w.events, g.events))
			continue
		}
		for i, parent := range w.parents {
			id, opened := ids[parent]
			if !opened {
				// The process never opened this context. Its id must be unique, and
				// always the same.
				if id = parents[parent]; id == "" {
					id = g.parents[i]
				}
				parents[parent] = id
				if slices.Contains(got.order, id) {
					t.Errorf("the parent of %s, %s, is a context of the log", context, parent)
				}
			}
			if g.parents[i] != id {
				t.Errorf("the parent of %s is %s in the log, want %s (%s)", context, g.parents[i], id, parent)
			}
		}
	}
	return logged
}

// difference describes the first difference between two lists.
func difference(want, got []string) string {
	at := 0
	for at < min(len(want), len(got)) && want[at] == got[at] {
		at++
	}
	show := func(list []string) string {
		if at == len(list) {
			return "(nothing)"
		}
		return list[at]
	}
	return fmt.Sprintf("event %d of %d (in the log, %d):\n want %s\n got  %s", at, len(want), len(got), show(want), show(got))
}

// compareAttributes checks that each group has the attributes of its context: executable
// and origin from its opening on, and the name from the event with the name on.
func compareAttributes(t *testing.T, log []group) {
	t.Helper()
	type known struct {
		executable, origin []byte
		name               string
	}
	contexts := map[string]*known{}
	for i := range log {
		g := &log[i]
		if g.metadata() {
			continue
		}
		k := contexts[g.id()]
		if k == nil {
			k = &known{}
			contexts[g.id()] = k
		}
		if n := g.opens(); n != nil {
			*k = known{executable: n.Executable, origin: n.Origin}
		}
		if name, ok := g.value("name").(string); ok && name != "" {
			k.name = name
		}
		if g.Name != k.name || !bytes.Equal(g.Executable, k.executable) || !bytes.Equal(g.Origin, k.origin) {
			t.Errorf("a group of context %s has name %q executable %q origin %x, want %q, %q, %x",
				g.id(), g.Name, g.Executable, g.Origin, k.name, k.executable, k.origin)
		}
	}
}

// readTrace reads a recorded handshake as "replay" does: beginning with its first
// tls::handshake.
func readTrace(t *testing.T, name string) []hit {
	t.Helper()
	f, err := os.Open(trace(name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var hits []hit
	started := false
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		started = started || strings.Contains(line, `name = "tls::handshake`)
		if !started {
			continue
		}
		f := strings.Fields(line)
		h := hit{Probe: f[4+1], Parent: noParent}
		var index, count int
		if _, err := fmt.Sscanf(f[6], "ctx=%x", &h.Context); err != nil {
			t.Fatalf("%s: %q: %v", name, line, err)
		}
		_, parent, ok := strings.Cut(line, "parent=")
		if ok {
			if _, err := fmt.Sscanf(parent, "%x", &h.Parent); err != nil {
				t.Fatalf("%s: %q: %v", name, line, err)
			}
		}
		if h.Probe == "new_context" {
			hits = append(hits, h)
			continue
		}
		_, element, _ := strings.Cut(line, " [")
		if _, err := fmt.Sscanf(element, "%d/%d]", &index, &count); err != nil {
			t.Fatalf("%s: %q: %v", name, line, err)
		}
		if index == 1 {
			h.Count = uint64(count)
			hits = append(hits, h)
		}
		_, element, _ = strings.Cut(element, "] ")
		key, content, _ := strings.Cut(element, " = ")
		v := value{Kind: "string", Key: memory{bytes: []byte(key)}}
		if _, err := fmt.Sscanf(content, "word %d", &v.Word); err == nil {
			v.Kind = "word"
		} else {
			v.Bytes.bytes = []byte(strings.Trim(content, `"`))
		}
		last := &hits[len(hits)-1]
		last.Values = append(last.Values, v)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return hits
}

// notes returns the notes of a file that describe its probes.
func notes(t *testing.T, file string) []byte { return section(t, file, ".note.stapsdt") }

// buildID returns the build-id of a file.
func buildID(t *testing.T, file string) []byte {
	// The content follows the sizes of name and content, the type, and the name "GNU".
	return section(t, file, ".note.gnu.build-id")[16:]
}

func section(t *testing.T, file, name string) []byte {
	t.Helper()
	f, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := f.Section(name)
	if s == nil {
		t.Fatalf("%s has no section %s", file, name)
	}
	b, err := s.Data()
	if err != nil {
		t.Fatal(err)
	}
	return b
}
