// SPDX-License-Identifier: Apache-2.0

package cryptopolicy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// operation is the effect of a directive on a property.
type operation uint8

const (
	reset      operation = iota // empty the list
	appendLast                  // add the value at the end of the list
	prepend                     // add the value at the beginning of the list
	omit                        // remove the value from the list
	setInteger
	setEnum
)

// directive is an assignment, or one value of it.
type directive struct {
	place     Place
	property  string
	scope     selector
	operation operation
	value     string // of a list or an enumeration
	number    int
}

// word is a part of a line. Its line may differ from the first line of a continued statement.
type word struct {
	text string
	line int
}

// statement is an assignment as written.
type statement struct {
	line     int
	property string
	scope    string // empty if there is none
	words    []word
}

// maxProblems bounds the reported mistakes of a file.
const maxProblems = 10

// parser parses a policy file.
type parser struct {
	*vocabulary
	file     string
	lenient  bool // unknown names are warnings
	warnings []Warning
	problems []error
}

// parse returns the directives of a text, in the order in which they apply. The error joins mistakes
// as SyntaxErrors.
func (p *parser) parse(text string) ([]directive, error) {
	if !utf8.ValidString(text) {
		return nil, &SyntaxError{Place{p.file, 1}, "the text is not UTF-8", "store it as UTF-8"}
	}
	var directives []directive
	for _, s := range p.modern(p.statements(text)) {
		directives = append(directives, p.directives(s)...)
	}
	if len(p.problems) > 0 {
		return nil, errors.Join(p.problems...)
	}
	return directives, nil
}

// report records a mistake. It returns false if the mistake is an error.
func (p *parser) report(line int, err *problem) bool {
	place := Place{p.file, line}
	if p.lenient && err.unknown {
		p.warnings = append(p.warnings, Warning{place, err.text})
		return true
	}
	if len(p.problems) < maxProblems {
		p.problems = append(p.problems, &SyntaxError{place, err.text, err.remedy})
	}
	return false
}

// isSpace is equivalent to Python's str.isspace: unicode.IsSpace, and separators of ASCII.
func isSpace(r rune) bool { return unicode.IsSpace(r) || 0x1c <= r && r <= 0x1f }

// statements splits a text into assignments. A backslash at the end of a line continues it.
func (p *parser) statements(text string) []statement {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	lines := strings.Split(text, "\n")
	var statements []statement
	for number := 0; number < len(lines); number++ {
		var logical strings.Builder
		var begins []int // of the lines in it
		first := number
		for {
			line, _, _ := strings.Cut(lines[number], "#")
			line = strings.TrimFunc(line, isSpace)
			begins = append(begins, logical.Len())
			continued := strings.HasSuffix(line, `\`) && number+1 < len(lines)
			if continued {
				line = strings.TrimSuffix(line, `\`)
			}
			logical.WriteString(line)
			if !continued {
				break
			}
			number++
		}
		if s, ok := p.statement(logical.String(), first+1, begins); ok {
			statements = append(statements, s)
		}
	}
	return statements
}

// statement parses an assignment that begins in a line. begins are the offsets at which its lines
// begin.
func (p *parser) statement(text string, first int, begins []int) (s statement, ok bool) {
	lineAt := func(offset int) int {
		return first + max(0, sortedBefore(begins, offset)-1)
	}
	begin := len(text) - len(strings.TrimLeftFunc(text, isSpace))
	s.line = lineAt(begin)
	if begin == len(text) {
		return s, false
	}
	left, right, found := strings.Cut(text, "=")
	if !found {
		p.report(s.line, &problem{fmt.Sprintf("%q assigns nothing", strings.TrimFunc(text, isSpace)), `write PROPERTY = VALUE, or begin a comment with "#"`, false})
		return s, false
	}
	if strings.Contains(right, "=") {
		p.report(s.line, &problem{fmt.Sprintf("more than one %q", "="), "write one assignment in a line", false})
		return s, false
	}
	left = strings.TrimFunc(left, isSpace)
	if left == "" {
		p.report(s.line, &problem{fmt.Sprintf("no property before %q", "="), "write PROPERTY = VALUE", false})
		return s, false
	}
	var scoped bool
	s.property, s.scope, scoped = strings.Cut(left, "@")
	if scoped && s.scope == "" {
		p.report(s.line, &problem{`no scope after "@"`, "remove it, or name a scope", false})
		return s, false
	}
	offset := len(text) - len(right)
	for right != "" {
		trimmed := strings.TrimLeftFunc(right, isSpace)
		offset += len(right) - len(trimmed)
		end := strings.IndexFunc(trimmed, isSpace)
		if end < 0 {
			end = len(trimmed)
		}
		if end > 0 {
			s.words = append(s.words, word{trimmed[:end], lineAt(offset)})
		}
		offset += end
		right = trimmed[end:]
	}
	return s, true
}

// sortedBefore returns the number of offsets that are not after the given one.
func sortedBefore(offsets []int, offset int) int {
	n, _ := slices.BinarySearch(offsets, offset+1)
	return n
}

// modern rewrites the spellings of older releases like crypto-policies itself.
func (p *parser) modern(statements []statement) []statement {
	kept := make([]statement, 0, len(statements))
	moved := map[string][]statement{}
	renamed := []struct{ from, property, scope string }{
		{"tls_cipher", Cipher, "TLS"}, {"ssh_cipher", Cipher, "SSH"}, {"ssh_group", Group, "SSH"}, {"ike_protocol", Protocol, "IKE"},
	}
	for _, s := range statements {
		for i := range s.words {
			s.words[i].text = newGroupName(s.words[i].text)
		}
		oldName := false
		for _, r := range renamed {
			if s.property == r.from && s.scope == "" {
				s.property, s.scope, oldName = r.property, r.scope, true
				moved[r.from] = append(moved[r.from], s)
			}
		}
		if !oldName {
			kept = append(kept, p.rewrite(s)...)
		}
	}
	// These take effect after all others.
	for _, r := range renamed {
		kept = append(kept, moved[r.from]...)
	}
	return kept
}

// newGroupName returns a value with the name that later releases use for a group of Fedora 42 and RHEL 10.
func newGroupName(value string) string {
	const old, modern = "X25519-MLKEM768", "MLKEM768-X25519"
	if !strings.Contains(value, old) {
		return value
	}
	return regexp.MustCompile(`\b`+old+`\b`).ReplaceAllString(value, modern)
}

// rewrite returns the statements that replace an old one.
func (p *parser) rewrite(s statement) []statement {
	if len(s.words) != 1 {
		return []statement{s}
	}
	value := s.words[0].text
	as := func(property, scope, values string) statement {
		r := statement{line: s.line, property: property, scope: scope}
		for _, v := range strings.Fields(values) {
			r.words = append(r.words, word{v, s.line})
		}
		return r
	}
	switch name := s.property; {
	case name == "sha1_in_dnssec" && s.scope == "" && value == "0":
		return []statement{as(Hash, "DNSSec", "-SHA1"), as(Sign, "DNSSec", "-RSA-SHA1 -ECDSA-SHA1")}
	case name == "sha1_in_dnssec" && s.scope == "" && value == "1":
		return []statement{as(Hash, "DNSSec", "SHA1+"), as(Sign, "DNSSec", "RSA-SHA1+ ECDSA-SHA1+")}
	case name == "ssh_etm" && (value == "0" || value == "1"):
		scope := s.scope
		if scope == "" {
			scope = "SSH"
		}
		return []statement{as(EtM, scope, map[string]string{"0": "DISABLE_ETM", "1": "ANY"}[value])}
	case (name == "min_tls_version" || name == "min_dtls_version") && s.scope == "":
		versions := tlsProtocols()
		if name == "min_dtls_version" {
			versions = dtlsProtocols()
		}
		i := slices.Index(versions, value)
		if i < 0 && value != "0" {
			break
		}
		if i < 0 || i == len(versions)-1 {
			return nil // all versions
		}
		older := slices.Clone(versions[i+1:])
		slices.Reverse(older)
		return []statement{as(Protocol, "TLS", "-"+strings.Join(older, " -"))}
	}
	return []statement{s}
}

// directives returns the directives of a statement, and reports mistakes.
func (p *parser) directives(s statement) []directive {
	scope, err := newSelector(s.scope, p.scopes)
	if s.scope == "" {
		scope, err = selector{}, nil
	}
	if err != nil && !p.report(s.line, err) {
		return nil
	}
	d := directive{place: Place{p.file, s.line}, property: s.property, scope: scope}
	if _, ok := p.integers[s.property]; ok {
		return p.integer(s, d)
	}
	if values, ok := p.enums[s.property]; ok {
		return p.enum(s, d, values)
	}
	names, ok := p.lists[s.property]
	if !ok {
		p.report(s.line, unknown(fmt.Sprintf("unknown property %q", s.property), s.property, p.properties()))
		return nil
	}
	return p.list(s, d, names)
}

func (p *parser) integer(s statement, d directive) []directive {
	d.operation = setInteger
	if len(s.words) == 1 {
		text := s.words[0].text
		number, err := strconv.Atoi(text)
		if err == nil && text[0] != '-' && text[0] != '+' {
			d.number = number
			return []directive{d}
		}
	}
	p.report(s.line, &problem{fmt.Sprintf("the value of %q is not an integer", s.property), "write a number, such as 2048", false})
	return nil
}

func (p *parser) enum(s statement, d directive, values []string) []directive {
	d.operation = setEnum
	if len(s.words) == 1 && slices.Contains(values, s.words[0].text) {
		d.value = s.words[0].text
		return []directive{d}
	}
	p.report(s.line, &problem{fmt.Sprintf("bad value of %q", s.property), "there are " + strings.Join(values, ", "), false})
	return nil
}

// list returns the directives of an assignment to a list: of plain values, or of differences to it.
func (p *parser) list(s statement, d directive, names []string) []directive {
	if len(s.words) == 1 {
		if _, err := strconv.ParseUint(s.words[0].text, 10, 64); err == nil {
			p.report(s.line, &problem{fmt.Sprintf("the value of %q is an integer", s.property), "list algorithms", false})
			return nil
		}
	}
	differences := 0
	for _, w := range s.words {
		if op, _ := difference(w.text); op != reset {
			differences++
		}
	}
	if differences != 0 && differences != len(s.words) {
		p.report(s.line, &problem{fmt.Sprintf("%q both sets and changes the list", s.property), "write +NAME, NAME+ and -NAME in an assignment without plain names", false})
		return nil
	}
	var directives []directive
	if differences == 0 {
		d.operation = reset
		directives = append(directives, d)
	}
	for _, w := range s.words {
		op, pattern := difference(w.text)
		values := glob(pattern, names)
		if len(values) == 0 {
			p.report(w.line, unknown(fmt.Sprintf("unknown value %q of %q", pattern, s.property), pattern, names))
		}
		if op == reset {
			op = appendLast
		} else if op != omit {
			slices.Reverse(values) // so that prepending keeps their order; crypto-policies does so for both
		}
		d.place.Line, d.operation = w.line, op
		for _, d.value = range values {
			directives = append(directives, d)
		}
	}
	return directives
}

// difference returns the operation of a word in a list, reset for a plain one, and the pattern of its values.
func difference(text string) (operation, string) {
	if rest, ok := strings.CutPrefix(text, "+"); ok {
		return prepend, rest
	}
	if rest, ok := strings.CutSuffix(text, "+"); ok {
		return appendLast, rest
	}
	if rest, ok := strings.CutPrefix(text, "-"); ok {
		return omit, rest
	}
	return reset, text
}
