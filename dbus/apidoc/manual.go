// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// manualWriter writes a manual page in mdoc(7).
type manualWriter struct {
	bytes.Buffer
	source *source
}

func manual(s *source) []byte {
	w := manualWriter{source: s}
	fmt.Fprintf(&w, `.\" SPDX-License-Identifier: Apache-2.0
.\" Made by "go generate ./dbus" from dbus/%s.xml and dbus/examples*.
.Dd %s
.Dt %s 5
.Os crypto-auditing @version@
.Sh NAME
.Nm %[1]s
.Nd %[4]s
.Sh DESCRIPTION
%s`, s.name, s.date, strings.ToUpper(s.name), s.short, s.long)
	for n, i := range s.interfaces {
		if n > 0 {
			fmt.Fprintf(&w, ".Sh %s\n", strings.ToUpper(i.summary))
		} else {
			w.WriteString(".Pp\n")
		}
		fmt.Fprintf(&w, "The interface is\n.Sy %s .\n", i.name)
		w.blocks(i.text)
		if n == 0 {
			w.WriteString(".Sh METHODS, SIGNALS AND PROPERTIES\n")
		}
		w.members(i)
	}
	fmt.Fprintf(&w, `.Sh FILES
.Bl -tag -width Ds
.It Pa /usr/share/dbus-1/interfaces/%s.xml
The interfaces, as introspection data.
.It Pa /usr/share/dbus-1/system.d/%[1]s.conf
The bus policy.
%s.El
.Sh SEE ALSO
%s`, s.name, s.files, s.seeAlso)
	return w.Bytes()
}

func (w *manualWriter) members(i *iface) {
	for _, m := range i.methods {
		w.member(i, m, "Method", false)
	}
	for _, m := range i.signals {
		w.member(i, m, "Signal", true)
	}
	if len(i.properties) == 0 {
		return
	}
	w.WriteString(".Ss Properties\n.Bl -tag -width Ds\n")
	for _, p := range i.properties {
		fmt.Fprintf(w, ".It Sy %s Pq %s\n", p.name, p.signature)
		w.text(p.text[0].text + " Changes: " + p.changes() + ".")
	}
	w.WriteString(".El\n")
	w.examples(i.name + ".Properties")
}

func (w *manualWriter) member(i *iface, m *member, kind string, isSignal bool) {
	fmt.Fprintf(w, ".Ss %s %s\n", kind, m.name)
	w.literal(strings.ReplaceAll(m.signatureText(isSignal), " → ", "\n    → ") + "\n")
	if len(m.args) > 0 {
		w.WriteString(".Bl -tag -width Ds\n")
		for _, a := range m.args {
			fmt.Fprintf(w, ".It Ar %s\n", a.name)
			w.text(a.text[0].text)
			w.items(a.text[0].items)
		}
		w.WriteString(".El\n")
	}
	w.blocks(m.text)
	w.examples(i.name + "." + m.name)
}

func (w *manualWriter) examples(memberName string) {
	for _, e := range w.source.examples[memberName] {
		if e.text != "" {
			w.WriteString(".Pp\n")
			w.text(e.text)
		}
		w.literal(e.commands)
	}
}

// literal writes lines without filling them.
func (w *manualWriter) literal(text string) {
	w.WriteString(".Bd -literal -offset indent\n")
	for line := range strings.Lines(text) {
		w.WriteString(escape(line))
	}
	w.WriteString(".Ed\n")
}

func (w *manualWriter) blocks(blocks []block) {
	for _, b := range blocks {
		if b.text != "" {
			w.WriteString(".Pp\n")
			w.text(b.text)
		}
		w.items(b.items)
	}
}

func (w *manualWriter) items(items []string) {
	if len(items) == 0 {
		return
	}
	w.WriteString(".Bl -bullet -compact\n")
	for _, item := range items {
		w.WriteString(".It\n")
		w.text(item)
	}
	w.WriteString(".El\n")
}

// code is a text between backquotes.
var code = regexp.MustCompile("`([^`]*)`")

// text writes running text, each sentence on a new line, as mdoc requires.
func (w *manualWriter) text(text string) {
	text = parameter.ReplaceAllString(escape(text), `\fI$1\fR`)
	text = reference.ReplaceAllString(text, "`$1`")
	text = code.ReplaceAllString(text, `\fB$1\fR`)
	for _, sentence := range sentences(text) {
		wrap(&w.Buffer, "", sentence, 78)
	}
}

// sentenceEnd matches the end of a sentence inside a paragraph.
var sentenceEnd = regexp.MustCompile(`([.:;?])((?:\\fR)?) +([A-Z\\])`)

func sentences(text string) []string {
	return strings.Split(sentenceEnd.ReplaceAllString(text, "$1$2\n$3"), "\n")
}

// escape escapes the characters that are special in roff.
func escape(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "^", `\(ha`, "~", `\(ti`).Replace(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	return text
}
