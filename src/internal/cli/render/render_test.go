// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
	"unicode"

	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
)

func TestNumbersHaveSeparatorsAndPlurals(t *testing.T) {
	for want, c := range map[string]struct {
		n    uint64
		noun string
	}{
		"0 events":                          {0, "event"},
		"1 event":                           {1, "event"},
		"999 chunks":                        {999, "chunk"},
		"1,000 entries":                     {1000, "entry"},
		"12,345,678 crashes":                {12345678, "crash"},
		"18,446,744,073,709,551,615 events": {1<<64 - 1, "event"},
	} {
		if got := render.Counted(c.n, c.noun); got != want {
			t.Errorf("%d is %q, want %q", c.n, got, want)
		}
	}
}

func TestTimesMatchThePublicTool(t *testing.T) {
	for name, c := range map[string]struct {
		ns   int64
		want string
	}{
		"a whole second":        {1771974863000000000, "1771974863.0"},
		"a fraction":            {1771974863214706000, "1771974863.214706"},
		"nanoseconds, rounded":  {1771974863214729512, "1771974863.2147295"},
		"the epoch":             {0, "0.0"},
		"a nanosecond after it": {1, "0.000000001"},
		"before it":             {-1500000000, "-1.5"},
		"the end of time":       {1<<63 - 1, "9223372036.854776"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			p := printer(t, "json", &out, render.Options{})
			if err := p.Root(&schema.Span{Start: c.ns}, nil); err != nil {
				t.Fatal(err)
			}
			if want := `"start":` + c.want + `,`; !strings.Contains(out.String(), want) {
				t.Errorf("the JSON is %s, want %s in it", out.String(), want)
			}
		})
	}
}

func TestARemovalIsShownWithTheKnownDetails(t *testing.T) {
	for want, r := range map[string]event.Removal{
		"entries 1–516 were removed (by alice, vacuum --max-size=1G, at 1970-01-01 00:00:02)": {First: 1, Last: 516, User: "alice", UID: 1000, Policy: "vacuum --max-size=1G"},
		"entries 1–516 were removed (by user 1000, at 1970-01-01 00:00:02)":                   {First: 1, Last: 516, UID: 1000},
		"entry 7 was removed (by a\\x1bb, max_age=30d, at 1970-01-01 00:00:02)":               {First: 7, Last: 7, User: "a\x1bb", Policy: "max_age=30d"},
	} {
		r.Time = 2e9
		entry := event.AppendRemoval(nil, &r)
		var g event.Group
		if _, err := event.Decode(entry, &g); err != nil {
			t.Fatal(err)
		}
		n, ok := render.NewNotice(&g, entry, 0)
		if !ok || n.Text(time.UTC) != want {
			t.Errorf("the text is %q, want %q", n.Text(time.UTC), want)
		}
	}
}

func TestOutputOfNoOperations(t *testing.T) {
	for form, want := range map[string]string{"short": "", "json": "", "json-pretty": "[]\n", "json-seq": "", "cbor": "", "cat": ""} {
		var out strings.Builder
		p := printer(t, form, &out, render.Options{})
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("%s of nothing is %q, want %q", form, out.String(), want)
		}
	}
}

func TestALongValueIsCutOnALine(t *testing.T) {
	r, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	p := printer(t, "cat", &out, render.Options{Registry: r, Location: time.UTC})
	long := strings.Repeat("é", 1000)
	s := &schema.Span{Name: "x::y", Data: []schema.Datum{{Key: "x::long", Value: event.Value{Kind: event.String, Bytes: []byte(long)}}}}
	if err := p.Root(s, nil); err != nil {
		t.Fatal(err)
	}
	if want := "x::y, long=" + strings.Repeat("é", 128) + "…\n"; out.String() != want {
		t.Errorf("the line is %q, want %q", out.String(), want)
	}
}

// Terminals interpret control characters, including the eight-bit ones of ISO 6429, and
// reorder bidirectional text.
func TestNoOutputContainsControlCharacters(t *testing.T) {
	const hostile = "\x1b[2J\x07\x7f\u009b2J\u0085\u202e\u2066\u200b\U000e0041 \\x1b \u00e9"
	r, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	text := event.Value{Kind: event.String, Bytes: []byte(hostile)}
	blob := event.Value{Kind: event.Blob, Bytes: []byte(hostile)}
	s := &schema.Span{Name: hostile, Origin: hostile, Executable: hostile, Data: []schema.Datum{
		{Key: hostile, Value: text}, {Key: "x::blob", Value: blob}, {Key: "name", Value: text},
	}}
	s.Spans = []*schema.Span{{Name: hostile, Executable: hostile, Data: s.Data}}
	for _, form := range []string{"short", "short-precise", "verbose", "csv", "json", "json-pretty", "json-seq", "cat"} {
		t.Run(form, func(t *testing.T) {
			var out strings.Builder
			p := printer(t, form, &out, render.Options{Registry: r, Location: time.UTC})
			if err := errors.Join(p.Root(s, nil), p.Close()); err != nil {
				t.Fatal(err)
			}
			for _, c := range out.String() {
				// A record of json-seq begins with a separator (RFC 7464).
				if c != '\n' && (c != '\x1e' || form != "json-seq") && !unicode.IsPrint(c) {
					t.Errorf("there is a %U in %q", c, out.String())
				}
			}
			if !strings.HasPrefix(form, "json") {
				return
			}
			var root struct{ Events map[string]any }
			text := strings.Trim(out.String(), "\x1e[]\n")
			if err := json.Unmarshal([]byte(text), &root); err != nil {
				t.Fatalf("%v in %s", err, text)
			}
			if got := root.Events["name"]; got != hostile {
				t.Errorf("the text is %q, want %q", got, hostile)
			}
		})
	}
}

// printer returns a printer of the named form.
func printer(t *testing.T, name string, w io.Writer, options render.Options) render.Printer {
	t.Helper()
	form, err := render.Forms().Named(name)
	if err != nil {
		t.Fatal(err)
	}
	return form.New(w, options)
}

func TestVisibleTextKeepsItsEscapes(t *testing.T) {
	for text, want := range map[string][2]string{
		`system\x2dcryptsetup`: {`system\x2dcryptsetup`, `system\x2dcryptsetup`},
		"a\x1b[2Jb\u202ec":     {`a\x1b[2Jb\xe2\x80\xaec`, `a\x1b[2Jb\xe2\x80\xaec`},
		"é\xff":                {`é\xff`, `\xc3\xa9\xff`},
	} {
		if got := [2]string{render.Visible(text, false), render.Visible(text, true)}; got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
