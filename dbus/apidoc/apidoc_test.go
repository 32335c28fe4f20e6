// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheDocumentationMatchesTheIntrospectionXML(t *testing.T) {
	files, err := generate("..")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s is out of date: run 'go generate ./dbus'", name)
		}
	}
}

// document returns introspection XML with one method.
func document(comment string) string {
	return `<node>
<!--
  a.b:
  @short_description: What it is for

  One.
-->
<interface name="a.b">
` + comment + `
<method name="M"><arg name="x" type="s" direction="in"/><arg name="y" type="u" direction="out"/></method>
</interface></node>`
}

func TestCommentsAreParsed(t *testing.T) {
	interfaces, err := parse(strings.NewReader(document(`<!--
	M:
	@x: What goes in,
	  on two lines:
	  - one
	    item
	  - another
	@y: What comes out.

	It does #M with @x and
	` + "`a{sv}`" + `.

	More.
	-->`)))
	if err != nil {
		t.Fatal(err)
	}
	if len(interfaces) != 1 || interfaces[0].name != "a.b" || interfaces[0].summary != "What it is for" || len(interfaces[0].methods) != 1 {
		t.Fatalf("interfaces %+v", interfaces)
	}
	m := interfaces[0].methods[0]
	if got := m.signatureText(false); got != "M(s x) → u y" {
		t.Errorf("signature %q", got)
	}
	x := m.args[0].text[0]
	if x.text != "What goes in, on two lines:" || strings.Join(x.items, "|") != "one item|another" {
		t.Errorf("x is %+v", x)
	}
	if len(m.text) != 2 || m.text[0].text != "It does #M with @x and `a{sv}`." || m.text[1].text != "More." {
		t.Errorf("text %+v", m.text)
	}
}

func TestUndocumentedMembersAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ comment, want string }{
		"a method without a comment":   {"", "M is not described"},
		"a comment of another element": {"<!--\n N:\n @x: in\n @y: out\n\n Text.\n-->", "the description of N precedes M"},
		"an undescribed argument":      {"<!--\n M:\n @x: in\n\n Text.\n-->", "argument y of M is not described"},
		"an empty description":         {"<!--\n M:\n @x:\n @y: out\n\n Text.\n-->", "argument x of M is not described"},
		"an unknown argument":          {"<!--\n M:\n @x: in\n @y: out\n @z: no\n\n Text.\n-->", "M has no argument z"},
		"a comment without a name":     {"<!-- hello there -->", "begins with the name"},
		"a comment without an element": {"<!--\n M:\n-->\n<!--\n M:\n-->", "precedes nothing"},
		"an unknown element":           {"<!--\n M:\n-->\n<thing name='M'/>", "unknown element thing"},
		"truncated XML":                {"<method", "syntax error"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(strings.NewReader(document(c.comment)))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "line ") {
				t.Errorf("error %v, want a line and %q", err, c.want)
			}
		})
	}
}

func TestExamplesUseExistingMembers(t *testing.T) {
	interfaces := []*iface{{name: "a.b", methods: []*member{{name: "M"}}}}
	got, err := parseExamples("# note\n\n[a.b.M]\nA text\non two lines:\n    run \\\n        this\n\nAnother:\n    run that\n", interfaces)
	if err != nil {
		t.Fatal(err)
	}
	examples := got["a.b.M"]
	if len(examples) != 2 || examples[0] != (example{"A text on two lines:", "run \\\n    this\n"}) || examples[1].commands != "run that\n" {
		t.Errorf("examples %+v", examples)
	}
	for name, text := range map[string]string{
		"an unknown member":   "[a.b.N]\n    run\n",
		"without a member":    "    run\n",
		"text after commands": "[a.b.M]\n    run\nText.\n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parseExamples(text, interfaces); err == nil || !strings.Contains(err.Error(), "line ") {
				t.Errorf("error %v, want one with the line", err)
			}
		})
	}
}

func TestTextIsSafeFromRoff(t *testing.T) {
	if got := escape(`.a 'b' \c -d`); got != `\&.a \(aqb\(aq \ec \-d` {
		t.Errorf("escaped to %q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(document("<!--\n M:\n @x: in\n @y: out\n\n Text.\n - item\n-->"))
	f.Fuzz(func(t *testing.T, text string) {
		interfaces, err := parse(strings.NewReader(text))
		if err != nil {
			return
		}
		s := source{interfaces: interfaces}
		markdown(&s)
		manual(&s)
	})
}
