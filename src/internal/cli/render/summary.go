// SPDX-License-Identifier: Apache-2.0

package render

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"

	"crypto-auditing/src/internal/schema"
)

// Count returns the form that only counts operations.
func Count() Form {
	return Form{New: func(w io.Writer, _ Options) Printer { return &counter{w: w} }}
}

type counter struct {
	w io.Writer
	n uint64
}

func (c *counter) Root(*schema.Span, []Entry) error {
	c.n++
	return nil
}

func (c *counter) Notice(*Notice) error { return nil }

func (c *counter) Close() error {
	_, err := fmt.Fprintln(c.w, c.n)
	return err
}

// Keys returns the form that lists the keys of operations with their number of
// occurrences.
func Keys(asJSON bool) Form {
	return Form{New: func(w io.Writer, o Options) Printer {
		return &tally{w: w, options: o, asJSON: asJSON, collect: func(s *schema.Span, add func(text, name string)) {
			for i := range s.Data {
				add(printable([]byte(s.Data[i].Key)), "")
			}
		}}
	}}
}

// Values returns the form that lists the values of keys with their number of
// occurrences. The words executable and origin stand for the executable and the origin
// of every context.
func Values(keys []string, asJSON bool) Form {
	return Form{New: func(w io.Writer, o Options) Printer {
		return &tally{w: w, options: o, asJSON: asJSON, collect: func(s *schema.Span, add func(text, name string)) {
			for _, key := range keys {
				switch v, ok := s.Value(key); {
				case ok:
					add(plainText(o.Registry.Key(key), &v))
				case key == "executable" && s.Executable != "":
					add(printable([]byte(s.Executable)), "")
				case key == "origin" && s.Origin != "":
					add(fmt.Sprintf("%x", s.Origin), "")
				}
			}
		}}
	}}
}

// tally counts texts in the contexts of operations.
type tally struct {
	w       io.Writer
	options Options
	asJSON  bool
	collect func(s *schema.Span, add func(text, name string))
	counts  map[counted]uint64
	bytes   int    // total length of the texts
	more    uint64 // occurrences of texts that are not in counts
}

type counted struct{ text, name string }

// maxTally bounds the number of distinct texts, maxTallyBytes their total length.
const maxTally, maxTallyBytes = 100_000, 32 << 20

func (t *tally) Root(root *schema.Span, _ []Entry) error {
	if t.counts == nil {
		t.counts = make(map[counted]uint64)
	}
	root.Walk(func(s *schema.Span) bool {
		t.collect(s, func(text, name string) {
			key := counted{text, name}
			_, known := t.counts[key]
			switch {
			case known:
			case len(t.counts) < maxTally && t.bytes < maxTallyBytes:
				t.bytes += len(text) + len(name)
			default:
				t.more++
				return
			}
			t.counts[key]++
		})
		return true
	})
	return nil
}

func (t *tally) Notice(*Notice) error { return nil }

// Close writes the counts in descending order.
func (t *tally) Close() error {
	keys := slices.SortedFunc(maps.Keys(t.counts), func(x, y counted) int {
		return cmp.Or(cmp.Compare(t.counts[y], t.counts[x]), cmp.Compare(x.text, y.text))
	})
	if t.asJSON {
		e := json.NewEncoder(t.w)
		e.SetEscapeHTML(false)
		for _, k := range keys {
			if err := e.Encode(struct {
				Value string `json:"value"`
				Name  string `json:"name,omitempty"`
				Count uint64 `json:"count"`
			}{k.text, k.name, t.counts[k]}); err != nil {
				return err
			}
		}
	} else {
		width := 0
		if len(keys) > 0 {
			width = len(strconv.FormatUint(t.counts[keys[0]], 10))
		}
		for _, k := range keys {
			text := k.text
			if k.name != "" {
				text += " (" + k.name + ")"
			}
			if _, err := fmt.Fprintf(t.w, "%*d %s\n", width, t.counts[k], text); err != nil {
				return err
			}
		}
	}
	if t.more > 0 {
		_, err := fmt.Fprintf(t.options.Warnings, "crauctl: %s of more than %d different values not listed\n", Counted(t.more, "occurrence"), len(t.counts))
		return err
	}
	return nil
}
