// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// iface is an interface of the API.
type iface struct {
	name       string
	summary    string
	text       []block
	methods    []*member
	signals    []*member
	properties []*property
}

// member is a method or a signal.
type member struct {
	name string
	args []*arg
	text []block
}

type arg struct {
	name, signature string
	out             bool // always true for signals
	text            []block
}

type property struct {
	name, signature string
	emits           string // value of the annotation EmitsChangedSignal
	text            []block
}

// block is a paragraph, and the list that follows it.
type block struct {
	text  string
	items []string
}

// comment is a parsed comment that precedes an element.
type comment struct {
	subject string
	summary string
	args    map[string][]block
	text    []block
}

// parser contains the open elements.
type parser struct {
	decoder    *xml.Decoder
	interfaces []*iface
	comment    *comment // not used by an element yet
	member     *member
	isSignal   bool
	property   *property
}

// parse reads introspection XML with its comments. Each interface, member, argument and
// property must have a description; a description of anything else is an error.
func parse(r io.Reader) ([]*iface, error) {
	p := parser{decoder: xml.NewDecoder(r)}
	for {
		token, err := p.decoder.Token()
		if err == io.EOF {
			return p.interfaces, p.unused()
		}
		if err == nil {
			switch t := token.(type) {
			case xml.Comment:
				err = p.comments(string(t))
			case xml.StartElement:
				err = p.start(t)
			case xml.EndElement:
				err = p.end(t)
			}
		}
		if err != nil {
			line, _ := p.decoder.InputPos()
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
	}
}

func (p *parser) unused() error {
	if p.comment != nil {
		return fmt.Errorf("the description of %s precedes nothing", p.comment.subject)
	}
	return nil
}

func (p *parser) comments(text string) error {
	if err := p.unused(); err != nil {
		return err
	}
	if strings.Contains(text, "SPDX-License-Identifier") {
		return nil
	}
	c, err := parseComment(text)
	p.comment = c
	return err
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// description returns the preceding comment, which must be about name.
func (p *parser) description(name string) (*comment, error) {
	c := p.comment
	p.comment = nil
	if c == nil {
		return nil, fmt.Errorf("%s is not described", name)
	}
	if c.subject != name {
		return nil, fmt.Errorf("the description of %s precedes %s", c.subject, name)
	}
	return c, nil
}

func (p *parser) start(e xml.StartElement) error {
	name := attribute(e, "name")
	switch e.Name.Local {
	case "node":
		return nil
	case "interface":
		c, err := p.description(name)
		if err != nil {
			return err
		}
		p.interfaces = append(p.interfaces, &iface{name: name, summary: c.summary, text: c.text})
		return nil
	case "annotation":
		if p.property != nil && name == "org.freedesktop.DBus.Property.EmitsChangedSignal" {
			p.property.emits = attribute(e, "value")
		}
		return nil
	case "arg":
		return p.arg(e, name)
	}
	if len(p.interfaces) == 0 {
		return fmt.Errorf("%s stands in no interface", e.Name.Local)
	}
	c, err := p.description(name)
	if err != nil {
		return err
	}
	i := p.interfaces[len(p.interfaces)-1]
	switch e.Name.Local {
	case "method", "signal":
		p.isSignal = e.Name.Local == "signal"
		p.member = &member{name: name, text: c.text}
		if p.isSignal {
			i.signals = append(i.signals, p.member)
		} else {
			i.methods = append(i.methods, p.member)
		}
		p.comment = c // arg removes the arguments one by one
	case "property":
		if len(c.text) == 0 {
			return fmt.Errorf("%s is not described", name)
		}
		p.property = &property{name: name, signature: attribute(e, "type"), emits: "true", text: c.text}
		i.properties = append(i.properties, p.property)
	default:
		return fmt.Errorf("unknown element %s", e.Name.Local)
	}
	return nil
}

func (p *parser) arg(e xml.StartElement, name string) error {
	if p.member == nil {
		return errors.New("argument outside of a method or signal")
	}
	text := p.comment.args[name]
	if len(text) == 0 {
		return fmt.Errorf("argument %s of %s is not described", name, p.member.name)
	}
	delete(p.comment.args, name)
	p.member.args = append(p.member.args, &arg{
		name: name, signature: attribute(e, "type"), text: text,
		out: p.isSignal || attribute(e, "direction") == "out",
	})
	return nil
}

func (p *parser) end(e xml.EndElement) error {
	switch e.Name.Local {
	case "method", "signal":
		for name := range p.comment.args {
			return fmt.Errorf("%s has no argument %s, which is described", p.member.name, name)
		}
		p.member, p.comment = nil, nil
	case "property":
		p.property = nil
	}
	return nil
}

var (
	subjectName = regexp.MustCompile(`^([A-Za-z_][\w.]*):(?: +(.*))?$`)
	argName     = regexp.MustCompile(`^@(\w+): *(.*)$`)
)

// parseComment reads a comment in the form of gdbus-codegen(1): the name of the following
// element and a colon, @NAME: and a text for each argument, paragraphs. Lines that begin
// with "- " form a list.
func parseComment(text string) (*comment, error) {
	lines := strings.Split(strings.Trim(text, "\n"), "\n")
	first := subjectName.FindStringSubmatch(strings.TrimSpace(lines[0]))
	if first == nil {
		return nil, fmt.Errorf("a description begins with the name of what it describes, not with %q", strings.TrimSpace(lines[0]))
	}
	c := &comment{subject: first[1], args: map[string][]block{}}
	var w writer
	w.line(first[2])
	argument := "" // the argument that the lines describe
	finish := func() {
		switch {
		case argument == "short_description":
			if len(w.blocks) > 0 {
				c.summary = w.blocks[0].text
			}
		case argument != "":
			c.args[argument] = w.blocks
		default:
			c.text = append(c.text, w.blocks...)
		}
		argument, w = "", writer{}
	}
	for _, line := range lines[1:] {
		line = strings.TrimSpace(line)
		if m := argName.FindStringSubmatch(line); m != nil {
			finish()
			argument, line = m[1], m[2]
		}
		if line == "" && argument != "" {
			finish()
		}
		w.line(line)
	}
	finish()
	return c, nil
}

// writer collects lines in blocks.
type writer struct {
	blocks []block
	open   bool // the next line continues the last paragraph or item
}

func (w *writer) line(line string) {
	item, isItem := strings.CutPrefix(line, "- ")
	switch {
	case line == "":
		w.open = false
	case isItem:
		if len(w.blocks) == 0 {
			w.blocks = append(w.blocks, block{})
		}
		last := &w.blocks[len(w.blocks)-1]
		last.items = append(last.items, item)
		w.open = true
	case !w.open:
		w.blocks = append(w.blocks, block{text: line})
		w.open = true
	default:
		last := &w.blocks[len(w.blocks)-1]
		if n := len(last.items); n > 0 {
			last.items[n-1] += " " + line
		} else {
			last.text += " " + line
		}
	}
}

// signatureText returns the signature of a member, for readers.
func (m *member) signatureText(isSignal bool) string {
	var in, out []string
	for _, a := range m.args {
		text := a.signature + " " + a.name
		if a.out && !isSignal {
			out = append(out, text)
		} else {
			in = append(in, text)
		}
	}
	text := m.name + "(" + strings.Join(in, ", ") + ")"
	if len(out) > 0 {
		text += " → " + strings.Join(out, ", ")
	}
	return text
}

// example is a text and the commands that it introduces.
type example struct {
	text, commands string
}

// parseExamples reads examples: [INTERFACE.MEMBER], then texts, and commands indented by
// four blanks. An empty line ends an example.
func parseExamples(text string, interfaces []*iface) (map[string][]example, error) {
	known := map[string]bool{}
	for _, i := range interfaces {
		for _, m := range append(append([]*member(nil), i.methods...), i.signals...) {
			known[i.name+"."+m.name] = true
		}
		known[i.name+".Properties"] = true
	}
	examples := map[string][]example{}
	memberName, open := "", false
	for n, line := range strings.Split(text, "\n") {
		command, isCommand := strings.CutPrefix(line, "    ")
		switch {
		case strings.HasPrefix(line, "#"):
		case line == "":
			open = false
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			memberName, open = line[1:len(line)-1], false
			if !known[memberName] {
				return nil, fmt.Errorf("line %d: there is no %s", n+1, memberName)
			}
		case memberName == "":
			return nil, fmt.Errorf("line %d: an example of nothing", n+1)
		default:
			if !open {
				examples[memberName] = append(examples[memberName], example{})
				open = true
			}
			e := &examples[memberName][len(examples[memberName])-1]
			switch {
			case isCommand:
				e.commands += command + "\n"
			case e.commands != "":
				return nil, fmt.Errorf("line %d: text after commands: put an empty line between examples", n+1)
			default:
				e.text = strings.TrimSpace(e.text + " " + line)
			}
		}
	}
	return examples, nil
}
