// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
)

// The JSON forms have the keys of the public project's query tool: context, origin,
// executable, start, end, events, spans. Times are seconds since the Unix epoch with a
// fraction; words are numbers, strings strings, blobs arrays of bytes. For additional
// data of our logs, a context has additional keys: truncated and unreadable list the
// keys whose values are incomplete. The forms json and json-seq have objects for
// notices, too.

// jsonPretty writes one array, as the public project does.
type jsonPretty struct {
	jsonWriter
	roots int
}

func newJSONPretty(w io.Writer, o Options) Printer {
	return &jsonPretty{jsonWriter: jsonWriter{w: w, options: o, pretty: true, public: !o.All && o.Fields == nil}}
}

func (p *jsonPretty) Root(root *schema.Span, _ []Entry) error {
	p.buffer = p.buffer[:0]
	if p.roots == 0 {
		p.buffer = append(p.buffer, '[')
	} else {
		p.buffer = append(p.buffer, ',')
	}
	p.roots++
	p.newline(1)
	p.span(root, 1)
	return p.flush()
}

// Notice writes a warning: the public project's arrays contain only contexts.
func (p *jsonPretty) Notice(n *Notice) error {
	_, err := fmt.Fprintf(p.options.Warnings, "crauctl: %s\n", n.Text(p.options.Location))
	return err
}

func (p *jsonPretty) Close() error {
	end := "\n]\n"
	if p.roots == 0 {
		end = "[]\n"
	}
	p.buffer = append(p.buffer[:0], end...)
	return p.flush()
}

// jsonLines writes an object per line, each after a prefix.
type jsonLines struct {
	jsonWriter
	prefix string
}

func newJSONLines(w io.Writer, o Options) Printer {
	return &jsonLines{jsonWriter: jsonWriter{w: w, options: o, marks: true}}
}

// newJSONSequence writes RFC 7464: a record separator before each text.
func newJSONSequence(w io.Writer, o Options) Printer {
	return &jsonLines{jsonWriter{w: w, options: o, marks: true}, "\x1e"}
}

func (p *jsonLines) Root(root *schema.Span, _ []Entry) error {
	p.buffer = append(p.buffer[:0], p.prefix...)
	p.span(root, 0)
	p.buffer = append(p.buffer, '\n')
	return p.flush()
}

// Notice writes an object. Its member notice distinguishes it from a context.
func (p *jsonLines) Notice(n *Notice) error {
	p.buffer = append(p.buffer[:0], p.prefix...)
	p.notice(n)
	p.buffer = append(p.buffer, '\n')
	return p.flush()
}

func (p *jsonLines) Close() error { return nil }

// jsonWriter formats spans as JSON.
type jsonWriter struct {
	w       io.Writer
	options Options
	pretty  bool
	// public omits the keys that the public project does not have.
	public bool
	// marks adds the members headless and cut to contexts that are.
	marks  bool
	buffer []byte
	order  []int
	// lastText is the text of last, the last time that was written: the end of a
	// context is often the same as its beginning.
	last     int64
	lastText []byte
}

func (j *jsonWriter) flush() error {
	_, err := j.w.Write(j.buffer)
	return err
}

func (j *jsonWriter) newline(level int) {
	if !j.pretty {
		return
	}
	j.buffer = append(j.buffer, '\n')
	for range level {
		j.buffer = append(j.buffer, ' ', ' ')
	}
}

// key begins a member of an object.
func (j *jsonWriter) key(name string, level int, first bool) {
	if !first {
		j.buffer = append(j.buffer, ',')
	}
	j.newline(level)
	j.string(name)
	j.buffer = append(j.buffer, ':')
	if j.pretty {
		j.buffer = append(j.buffer, ' ')
	}
}

// JSON returns the notice as a JSON object.
func (n *Notice) JSON() []byte {
	var j jsonWriter
	j.notice(n)
	return j.buffer
}

func (j *jsonWriter) notice(n *Notice) {
	j.buffer = append(j.buffer, '{')
	j.key("notice", 1, true)
	j.string(string(n.Kind()))
	j.key("start", 1, false)
	j.seconds(n.Start)
	j.key("end", 1, false)
	j.seconds(n.End)
	n.about.members(j)
	j.buffer = append(j.buffer, '}')
}

// text and unsigned write another member of a notice.
func (j *jsonWriter) text(name, value string) {
	j.key(name, 1, false)
	j.string(value)
}

func (j *jsonWriter) unsigned(name string, value uint64) {
	j.key(name, 1, false)
	j.buffer = strconv.AppendUint(j.buffer, value, 10)
}

func (j *jsonWriter) span(s *schema.Span, level int) {
	in := level + 1
	j.buffer = append(j.buffer, '{')
	j.key("context", in, true)
	j.hex(s.Context[:])
	j.key("origin", in, false)
	j.hex([]byte(s.Origin))
	j.key("executable", in, false)
	j.string(event.Escaped(s.Executable))
	j.key("start", in, false)
	j.seconds(s.Start)
	j.key("end", in, false)
	j.seconds(s.End)
	j.key("events", in, false)
	j.events(s, in)
	if len(s.Spans) > 0 {
		j.key("spans", in, false)
		j.buffer = append(j.buffer, '[')
		for i, inner := range s.Spans {
			if i > 0 {
				j.buffer = append(j.buffer, ',')
			}
			j.newline(in + 1)
			j.span(inner, in+1)
		}
		j.newline(in)
		j.buffer = append(j.buffer, ']')
	}
	j.flags(s, in)
	j.newline(level)
	j.buffer = append(j.buffer, '}')
}

// events writes the data, sorted by key.
func (j *jsonWriter) events(s *schema.Span, level int) {
	j.order = j.order[:0]
	for i := range s.Data {
		if key := s.Data[i].Key; j.options.shows(key) && !(j.public && isAdded(key)) {
			j.order = append(j.order, i)
		}
	}
	if len(j.order) == 0 {
		j.buffer = append(j.buffer, "{}"...)
		return
	}
	slices.SortFunc(j.order, func(a, b int) int { return strings.Compare(s.Data[a].Key, s.Data[b].Key) })
	j.buffer = append(j.buffer, '{')
	for n, i := range j.order {
		j.key(event.Escaped(s.Data[i].Key), level+1, n == 0)
		j.value(&s.Data[i].Value, level+1)
		if j.options.Names {
			j.name(&s.Data[i], level+1)
		}
	}
	j.newline(level)
	j.buffer = append(j.buffer, '}')
}

// name writes the name of a number, if it has one, as a member after the number.
func (j *jsonWriter) name(d *schema.Datum, level int) {
	if d.Value.Kind != event.Word {
		return
	}
	if name, ok := j.options.Registry.Key(d.Key).Text(d.Value.Word); ok {
		j.key(event.Escaped(d.Key)+"_name", level, false)
		j.string(name)
	}
}

func (j *jsonWriter) value(v *event.Value, level int) {
	switch v.Kind {
	case event.Word:
		j.buffer = strconv.AppendInt(j.buffer, v.Word, 10)
	case event.String:
		writeString(j, v.Bytes)
	case event.Blob:
		j.buffer = append(j.buffer, '[')
		for i, b := range v.Bytes {
			if i > 0 {
				j.buffer = append(j.buffer, ',')
			}
			j.newline(level + 1)
			j.buffer = strconv.AppendUint(j.buffer, uint64(b), 10)
		}
		if len(v.Bytes) > 0 {
			j.newline(level)
		}
		j.buffer = append(j.buffer, ']')
	}
}

// flags writes the properties of a span for which the public project has no keys.
func (j *jsonWriter) flags(s *schema.Span, level int) {
	for _, list := range []struct {
		name string
		has  func(*event.Value) bool
	}{
		{"truncated", func(v *event.Value) bool { return v.Truncated }},
		{"unreadable", func(v *event.Value) bool { return v.Unreadable }},
	} {
		n := 0
		for i := range s.Data {
			if !list.has(&s.Data[i].Value) {
				continue
			}
			if n == 0 {
				j.key(list.name, level, false)
				j.buffer = append(j.buffer, '[')
			} else {
				j.buffer = append(j.buffer, ',')
			}
			n++
			j.newline(level + 1)
			j.string(event.Escaped(s.Data[i].Key))
		}
		if n > 0 {
			j.newline(level)
			j.buffer = append(j.buffer, ']')
		}
	}
	if j.marks && s.Headless {
		j.key("headless", level, false)
		j.buffer = append(j.buffer, "true"...)
	}
	if j.marks && s.Cut {
		j.key("cut", level, false)
		j.buffer = append(j.buffer, "true"...)
	}
}

// seconds writes a time as the public project computes it: the sum of whole seconds and
// the fraction in 64-bit floating point, in its shortest representation.
func (j *jsonWriter) seconds(ns int64) {
	if ns != j.last || len(j.lastText) == 0 {
		whole, fraction := floorSeconds(ns)
		f := float64(whole) + float64(fraction)/1e9
		j.last, j.lastText = ns, strconv.AppendFloat(j.lastText[:0], f, 'f', -1, 64)
		if !bytes.Contains(j.lastText, []byte{'.'}) {
			j.lastText = append(j.lastText, ".0"...)
		}
	}
	j.buffer = append(j.buffer, j.lastText...)
}

// hex writes bytes as a string of hex digits.
func (j *jsonWriter) hex(b []byte) {
	j.buffer = append(j.buffer, '"')
	j.buffer = hex.AppendEncode(j.buffer, b)
	j.buffer = append(j.buffer, '"')
}

// floorSeconds splits a time in nanoseconds into whole seconds and the
// nanoseconds above them, which are not negative.
func floorSeconds(ns int64) (whole, fraction int64) {
	const second = int64(time.Second)
	whole, fraction = ns/second, ns%second
	if fraction < 0 {
		whole, fraction = whole-1, fraction+second
	}
	return whole, fraction
}

// escape writes a UTF-16 code unit of a JSON string as a \u escape.
func (j *jsonWriter) escape(unit uint16) {
	j.buffer = append(j.buffer, '\\', 'u', hexDigits[unit>>12], hexDigits[unit>>8&15], hexDigits[unit>>4&15], hexDigits[unit&15])
}

// string writes a JSON string (RFC 8259). Characters that could control a terminal, or
// are invisible on it, are escaped; JSON parsers read the same text. Strings of the log
// contain no invalid UTF-8; if one did, the invalid bytes would be replaced.
func (j *jsonWriter) string(s string) { writeString(j, s) }

func writeString[T string | []byte](j *jsonWriter, s T) {
	j.buffer = append(j.buffer, '"')
	plain := 0 // start of the text to copy unmodified
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		j.buffer = append(j.buffer, s[plain:i]...)
		i += special(j, s[i:min(i+utf8.UTFMax, len(s))])
		plain = i
	}
	j.buffer = append(j.buffer, s[plain:]...)
	j.buffer = append(j.buffer, '"')
}

// special writes the first character of a text, which needs an escape or a check, and
// returns its length in bytes.
func special[T string | []byte](j *jsonWriter, s T) int {
	switch c := s[0]; {
	case c == '"' || c == '\\':
		j.buffer = append(j.buffer, '\\', c)
		return 1
	case c == '\n':
		j.buffer = append(j.buffer, '\\', 'n')
		return 1
	case c == '\r':
		j.buffer = append(j.buffer, '\\', 'r')
		return 1
	case c == '\t':
		j.buffer = append(j.buffer, '\\', 't')
		return 1
	case c == '\b':
		j.buffer = append(j.buffer, '\\', 'b')
		return 1
	case c == '\f':
		j.buffer = append(j.buffer, '\\', 'f')
		return 1
	case c < utf8.RuneSelf:
		j.escape(uint16(c))
		return 1
	}
	r, n := utf8.DecodeRuneInString(string(s))
	switch {
	case unicode.IsPrint(r):
		j.buffer = utf8.AppendRune(j.buffer, r)
	case r < 0x10000:
		j.escape(uint16(r))
	default:
		high, low := utf16.EncodeRune(r)
		j.escape(uint16(high))
		j.escape(uint16(low))
	}
	return n
}
