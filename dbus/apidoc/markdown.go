// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// reference matches a member that a text names as #MEMBER, parameter an argument that it
// names as @ARGUMENT.
var (
	reference = regexp.MustCompile(`#([A-Z]\w*)`)
	parameter = regexp.MustCompile(`@(\w+)`)
)

// markdownWriter writes a document in Markdown.
type markdownWriter struct {
	bytes.Buffer
	source *source
}

func markdown(s *source) []byte {
	w := markdownWriter{source: s}
	fmt.Fprintf(&w, `<!-- SPDX-License-Identifier: Apache-2.0 -->
<!-- Made by "go generate ./dbus" from dbus/%s.xml and dbus/examples*: change those. -->
# %s

`, s.name, s.title)
	w.wrap("", s.introduction)
	w.WriteString("\n")
	for _, i := range s.interfaces {
		w.iface(i)
	}
	if len(s.scripts) > 0 {
		w.WriteString("## Programs\n")
		for _, script := range s.scripts {
			fmt.Fprintf(&w, "\n`dbus/examples/%s`:\n\n```%s\n%s```\n", script.name, script.language(), script.text)
		}
	}
	return w.Bytes()
}

// language returns the language of the script, for the code block.
func (s *script) language() string {
	if strings.HasSuffix(s.name, ".py") {
		return "python"
	}
	return "bash"
}

func (w *markdownWriter) iface(i *iface) {
	fmt.Fprintf(w, "## %s\n\n%s.\n\n", i.name, i.summary)
	w.blocks("", i.text)
	for _, m := range i.methods {
		w.member(i, m, false)
	}
	for _, m := range i.signals {
		w.member(i, m, true)
	}
	if len(i.properties) == 0 {
		return
	}
	w.WriteString("### Properties\n\n| property | type | changes are | |\n| --- | --- | --- | --- |\n")
	for _, p := range i.properties {
		fmt.Fprintf(w, "| `%s` | `%s` | %s | %s |\n", p.name, p.signature, p.changes(), w.inline(p.text[0].text))
	}
	w.WriteString("\n")
	w.examples(i.name + ".Properties")
}

// changes describes the signal for changes of a property.
func (p *property) changes() string {
	switch p.emits {
	case "const":
		return "none"
	case "false":
		return "not announced"
	case "invalidates":
		return "announced without the value"
	}
	return "announced"
}

func (w *markdownWriter) member(i *iface, m *member, isSignal bool) {
	kind := "Method"
	if isSignal {
		kind = "Signal"
	}
	fmt.Fprintf(w, "### %s %s\n\n`%s`\n\n", kind, m.name, m.signatureText(isSignal))
	if len(m.args) > 0 {
		for _, a := range m.args {
			w.wrap("- ", fmt.Sprintf("`%s`: %s", a.name, a.text[0].text))
			for _, item := range a.text[0].items {
				w.wrap("  - ", item)
			}
		}
		w.WriteString("\n")
	}
	w.blocks("", m.text)
	w.examples(i.name + "." + m.name)
}

func (w *markdownWriter) examples(memberName string) {
	for _, e := range w.source.examples[memberName] {
		if e.text != "" {
			w.wrap("", e.text)
			w.WriteString("\n")
		}
		fmt.Fprintf(w, "```sh\n%s```\n\n", e.commands)
	}
}

func (w *markdownWriter) blocks(indent string, blocks []block) {
	for _, b := range blocks {
		if b.text != "" {
			w.wrap(indent, b.text)
		}
		if len(b.items) > 0 {
			w.WriteString("\n")
		}
		for _, item := range b.items {
			w.wrap(indent+"- ", item)
		}
		w.WriteString("\n")
	}
}

func (w *markdownWriter) inline(text string) string {
	text = parameter.ReplaceAllString(text, "`$1`")
	return reference.ReplaceAllStringFunc(text, func(name string) string {
		name = name[1:]
		for _, i := range w.source.interfaces {
			for _, m := range i.methods {
				if m.name == name {
					return fmt.Sprintf("[%s](#method-%s)", name, strings.ToLower(name))
				}
			}
			for _, m := range i.signals {
				if m.name == name {
					return fmt.Sprintf("[%s](#signal-%s)", name, strings.ToLower(name))
				}
			}
		}
		return name
	})
}

// markdownColumns is the maximum length of lines.
const markdownColumns = 110

// wrap writes a paragraph, or with a bullet in the prefix an item.
func (w *markdownWriter) wrap(prefix, text string) {
	wrap(&w.Buffer, prefix, w.inline(text), markdownColumns)
}

// wrap writes text in lines of limited length. All lines except the first are indented by
// the length of prefix.
func wrap(w *bytes.Buffer, prefix, text string, columns int) {
	w.WriteString(prefix)
	at := len(prefix)
	for n, word := range strings.Fields(text) {
		length := len([]rune(word))
		switch {
		case n == 0:
		case at+1+length > columns:
			w.WriteString("\n" + strings.Repeat(" ", len(prefix)))
			at = len(prefix)
		default:
			w.WriteString(" ")
			at++
		}
		w.WriteString(word)
		at += length
	}
	w.WriteString("\n")
}
