// SPDX-License-Identifier: Apache-2.0

package render

import (
	"encoding/hex"
	"io"
	"strconv"
	"strings"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
)

// verbose writes all data of an operation: a line for each context and one for each
// element, with numbers and names.
type verbose struct{ short }

func newVerbose(w io.Writer, o Options) Printer {
	return &verbose{short{w: w, options: o, layout: preciseLayout}}
}

func (p *verbose) Root(root *schema.Span, _ []Entry) error {
	p.head(root)
	p.context(root, "")
	return p.write()
}

// context writes a context after the beginning of its line, and the inner ones.
func (p *verbose) context(s *schema.Span, indent string) {
	name := "(no name)"
	if s.Name != "" {
		name = printable([]byte(s.Name))
	}
	p.styled(styleContext, name)
	p.marks(s)
	p.line.WriteByte('\n')
	element := func(key, value string) {
		p.line.WriteString(indent + "    ")
		p.styled(styleFaint, key+"=")
		p.line.WriteString(value + "\n")
	}
	element("context", s.Context.String())
	element("origin", hex.EncodeToString([]byte(s.Origin)))
	if s.Executable != "" {
		element("executable", printable([]byte(s.Executable)))
	}
	element("start", p.time(s.Start))
	element("end", p.time(s.End))
	for i := range s.Data {
		d := &s.Data[i]
		if !p.options.shows(d.Key) || d.Key == schema.KeyName && d.Value.Kind == event.String {
			continue
		}
		element(printable([]byte(d.Key)), fullText(p.options.Registry.Key(d.Key), &d.Value))
	}
	for _, inner := range s.Spans {
		p.line.WriteString(indent + "  ")
		p.context(inner, indent+"  ")
	}
}

// fullText returns a complete value, with the name of a number that has one.
func fullText(key *schema.Key, v *event.Value) string {
	value, name := plainText(key, v)
	if name != "" {
		value += " (" + name + ")"
	}
	switch {
	case v.Unreadable:
		value = "(unreadable)"
	case v.Truncated:
		value += "… (truncated)"
	}
	return value
}

// plainText returns a value, and separately the name of a number that has one.
func plainText(key *schema.Key, v *event.Value) (value, name string) {
	switch v.Kind {
	case event.Word:
		name, _ = key.Text(v.Word)
		return strconv.FormatInt(v.Word, 10), name
	case event.Blob:
		return hex.EncodeToString(v.Bytes), ""
	}
	return strings.TrimSpace(printable(v.Bytes)), ""
}
