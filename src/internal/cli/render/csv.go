// SPDX-License-Identifier: Apache-2.0

package render

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
)

// csvWriter writes RFC 4180: a line for each element of an operation, and for each
// context without elements.
type csvWriter struct {
	w       *csv.Writer
	options Options
	roots   int
}

func newCSV(w io.Writer, o Options) Printer { return &csvWriter{w: csv.NewWriter(w), options: o} }

func (p *csvWriter) header() error {
	if p.roots > 0 {
		return nil
	}
	return p.w.Write([]string{"operation", "depth", "start", "executable", "context", "key", "value", "name"})
}

func (p *csvWriter) Root(root *schema.Span, _ []Entry) error {
	if err := p.header(); err != nil {
		return err
	}
	p.roots++
	if err := p.span(root, 0); err != nil {
		return err
	}
	p.w.Flush()
	return p.w.Error()
}

func (p *csvWriter) span(s *schema.Span, depth int) error {
	line := []string{
		strconv.Itoa(p.roots), strconv.Itoa(depth), time.Unix(0, s.Start).In(p.options.Location).Format(csvLayout),
		Cell(printable([]byte(s.Executable))), Cell(printable([]byte(s.Name))), "", "", "",
	}
	lines := 0
	for i := range s.Data {
		d := &s.Data[i]
		if !p.options.shows(d.Key) || d.Key == schema.KeyName {
			continue
		}
		value, name := plainText(p.options.Registry.Key(d.Key), &d.Value)
		if d.Value.Kind != event.Word {
			value = Cell(value)
		}
		line[5], line[6], line[7] = Cell(printable([]byte(d.Key))), value, name
		if err := p.w.Write(line); err != nil {
			return err
		}
		lines++
	}
	if lines == 0 && p.options.Fields == nil {
		if err := p.w.Write(line); err != nil {
			return err
		}
	}
	for _, inner := range s.Spans {
		if err := p.span(inner, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// Cell prevents a spreadsheet from interpreting a text as a formula.
func Cell(text string) string {
	if text != "" && strings.ContainsRune("=+-@", rune(text[0])) {
		return "'" + text
	}
	return text
}

// Notice writes a warning: the table has no place for notices.
func (p *csvWriter) Notice(n *Notice) error {
	_, err := fmt.Fprintf(p.options.Warnings, "crauctl: %s\n", n.Text(p.options.Location))
	return err
}

func (p *csvWriter) Close() error {
	if err := p.header(); err != nil {
		return err
	}
	p.w.Flush()
	return p.w.Error()
}
