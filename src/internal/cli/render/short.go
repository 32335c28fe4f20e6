// SPDX-License-Identifier: Apache-2.0

package render

import (
	"io"
	"strconv"
	"strings"
	"time"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/schema/outcome"
)

// Terminal control sequences (ECMA-48), named by the meaning of the styled text.
const (
	styleReset   = "\x1b[0m"
	styleTime    = "\x1b[2m"
	styleProgram = "\x1b[1m"
	styleContext = "\x1b[36m"
	styleFaint   = "\x1b[2m"
	styleWarning = "\x1b[1;33m"
)

// The layouts of times are readable, can be sorted, and are accepted by --since.
const (
	timeLayout    = "2006-01-02 15:04:05"
	preciseLayout = "2006-01-02 15:04:05.000000"
	isoLayout     = "2006-01-02T15:04:05-07:00"
	csvLayout     = "2006-01-02T15:04:05.000000-07:00"
)

// short writes a line for each root, followed by its tree.
type short struct {
	w       io.Writer
	options Options
	// terse omits times, programs and trees.
	terse  bool
	layout string // of times
	line   strings.Builder
}

func newShort(w io.Writer, o Options) Printer { return &short{w: w, options: o, layout: timeLayout} }

func newShortISO(w io.Writer, o Options) Printer { return &short{w: w, options: o, layout: isoLayout} }

func newShortPrecise(w io.Writer, o Options) Printer {
	return &short{w: w, options: o, layout: preciseLayout}
}

func newCat(w io.Writer, o Options) Printer { return &short{w: w, options: o, terse: true} }

func (p *short) Close() error { return nil }

func (p *short) styled(style, text string) {
	if p.options.Color && text != "" {
		p.line.WriteString(style)
		p.line.WriteString(text)
		p.line.WriteString(styleReset)
		return
	}
	p.line.WriteString(text)
}

// write writes the collected lines.
func (p *short) write() error {
	text := p.line.String()
	if p.options.ASCII {
		text = asciiText(text)
	}
	_, err := io.WriteString(p.w, text)
	p.line.Reset()
	return err
}

func (p *short) time(ns int64) string {
	return time.Unix(0, ns).In(p.options.Location).Format(p.layout)
}

func (p *short) Root(root *schema.Span, _ []Entry) error {
	if !p.terse {
		p.head(root)
	}
	p.summary(root)
	p.line.WriteByte('\n')
	if !p.terse {
		p.inside(root, "")
	}
	return p.write()
}

// head writes the beginning of an operation's line.
func (p *short) head(root *schema.Span) {
	p.styled(styleTime, p.time(root.Start))
	p.line.WriteByte(' ')
	program := "(unknown program)"
	if root.Executable != "" {
		program = printable([]byte(root.Executable))
	}
	p.styled(styleProgram, program)
	if root.Unit != "" {
		p.styled(styleFaint, " ("+printable([]byte(root.Unit))+")")
	}
	p.line.WriteString(": ")
}

// Text formats an operation like the form short, without its time.
func Text(root *schema.Span, registry *schema.Registry, location *time.Location) string {
	var text strings.Builder
	p := newShort(&text, Options{Registry: registry, Location: location})
	_ = p.Root(root, nil) // a strings.Builder returns no errors
	return text.String()[len(timeLayout)+1:]
}

// summary writes the summary of a context: its name, the results that the registry lists
// for its summary, then the rest of its own data.
func (p *short) summary(root *schema.Span) {
	context := p.options.Registry.Context(root.Name)
	shown := map[string]bool{schema.KeyName: true}
	var values []string
	name := root.Name
	role := ""
	if context != nil {
		if len(context.Implied) > 0 {
			name = context.Kind
		}
		for i, key := range context.Summary {
			if shown[key] {
				continue
			}
			text, own := p.find(root, key)
			if text == "" {
				continue
			}
			shown[key] = own
			if i == 0 {
				role = text
			} else {
				values = append(values, text)
			}
		}
	}
	if name == "" {
		name = "(no name)"
	}
	p.styled(styleContext, printable([]byte(name)))
	if role != "" {
		p.line.WriteByte(' ')
		p.line.WriteString(role)
	}
	for _, text := range values {
		p.line.WriteString(", ")
		p.line.WriteString(text)
	}
	p.data(root, shown, ", ")
	p.marks(root)
}

// find returns the text of a tree's result for a key, and whether it is data of the root
// itself.
func (p *short) find(root *schema.Span, key string) (text string, own bool) {
	v, span, implied := outcome.Result(p.options.Registry, root, key)
	if span == nil {
		return implied, false
	}
	return valueText(p.options.Registry.Key(key), &v), span == root
}

// data writes the data of a span as KEY=VALUE, except for the keys in shown.
func (p *short) data(s *schema.Span, shown map[string]bool, separator string) {
	scope := schema.Scope(s.Name)
	for i := range s.Data {
		d := &s.Data[i]
		if shown[d.Key] || !p.options.shows(d.Key) || p.options.Fields == nil && isAdded(d.Key) || (d.Key == schema.KeyName && d.Value.Kind == event.String) {
			continue
		}
		// The scope is nearly always the context's.
		key := d.Key
		if scope != "" {
			key = strings.TrimPrefix(key, scope+"::")
		}
		p.line.WriteString(separator)
		p.styled(styleFaint, printable([]byte(key))+"=")
		p.line.WriteString(quoted(valueText(p.options.Registry.Key(d.Key), &d.Value)))
	}
}

func (p *short) marks(s *schema.Span) {
	if s.Headless {
		p.styled(styleFaint, " (beginning not in the log)")
	}
	if s.Cut {
		p.styled(styleFaint, " (too large, continued below)")
	}
}

// inside writes the inner spans of s as a tree. Its depth is bounded by
// schema.MaxDepth.
func (p *short) inside(s *schema.Span, indent string) {
	for i, inner := range s.Spans {
		branch, below := "├─ ", "│  "
		if i == len(s.Spans)-1 {
			branch, below = "└─ ", "   "
		}
		p.styled(styleFaint, indent+branch)
		name := "(no name)"
		if inner.Name != "" {
			name = printable([]byte(inner.Name))
		}
		p.styled(styleContext, name)
		p.data(inner, nil, " ")
		p.marks(inner)
		p.line.WriteByte('\n')
		p.inside(inner, indent+below)
	}
}

// Notice writes the notice between dashes.
func (p *short) Notice(n *Notice) error {
	p.styled(styleWarning, "— "+n.Text(p.options.Location)+" —")
	p.line.WriteByte('\n')
	return p.write()
}

// Grouped formats a number with its digits in groups of three.
func Grouped(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// Counted formats a number with its noun, with the digits in groups of three.
func Counted(n uint64, noun string) string {
	digits := Grouped(n)
	switch {
	case n == 1:
	case strings.HasSuffix(noun, "y"):
		noun = strings.TrimSuffix(noun, "y") + "ies"
	case strings.HasSuffix(noun, "sh"):
		noun += "es"
	default:
		noun += "s"
	}
	return digits + " " + noun
}
