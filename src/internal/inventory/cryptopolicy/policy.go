// SPDX-License-Identifier: Apache-2.0

// Package cryptopolicy reads policies and modules of crypto-policies, the system-wide policies of
// Fedora, RHEL and their relatives (crypto-policies(7)), and computes which algorithms they allow.
package cryptopolicy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// Policy is a policy with its modules. It is immutable.
type Policy struct {
	// Name is the name with modules, such as DEFAULT:NO-PQ, as crypto-policies writes it.
	Name string
	// Files are the files of the policy and of its modules.
	Files []string
	// Warnings are the ignored parts of the files.
	Warnings []Warning

	directives []directive
	vocabulary *vocabulary
}

// maxFile limits the size of a policy file. Real ones have a few KiB.
const maxFile = 1 << 20

// read adds the directives of a file. Directives of later files take effect later.
func (p *Policy) read(path string, lenient bool) error {
	text, err := readFile(path)
	if err != nil {
		return fmt.Errorf("cannot read policy file %s: %w", path, err)
	}
	return p.add(path, text, lenient)
}

func (p *Policy) add(path, text string, lenient bool) error {
	parser := parser{vocabulary: p.vocabulary, file: path, lenient: lenient}
	directives, err := parser.parse(text)
	if err != nil {
		return err
	}
	p.Files = append(p.Files, path)
	p.Warnings = append(p.Warnings, parser.warnings...)
	p.directives = append(p.directives, directives...)
	return nil
}

// readFile reads a regular file of at most maxFile bytes.
func readFile(path string) (string, error) {
	info, err := os.Stat(path) // before opening: a FIFO would block
	if err != nil {
		return "", withoutPath(err)
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", withoutPath(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", withoutPath(err)
	}
	if len(text) > maxFile {
		return "", errors.New("larger than 1 MiB, not a policy")
	}
	return string(text), nil
}

// withoutPath returns an error of package os without the path, which the caller adds.
func withoutPath(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// Names reports whether a directive of the policy or a module has a value that begins with a prefix.
func (p *Policy) Names(property, prefix string) bool {
	return slices.ContainsFunc(p.directives, func(d directive) bool {
		return d.property == property && strings.HasPrefix(d.value, prefix)
	})
}

// Sets reports whether a directive of the policy or a module sets a property.
func (p *Policy) Sets(property string) bool {
	return slices.ContainsFunc(p.directives, func(d directive) bool { return d.property == property })
}

// Scoped is a policy, evaluated for a set of scopes.
type Scoped struct {
	lists      map[string][]string
	integers   map[string]int
	enums      map[string]string
	directives []directive // those that apply
}

// Scoped evaluates the policy for a back end, given by all its scopes, such as tls, ssl and openssl.
func (p *Policy) Scoped(scopes ...string) *Scoped {
	s := &Scoped{lists: map[string][]string{}, integers: map[string]int{}, enums: map[string]string{}}
	for name := range p.vocabulary.lists {
		s.lists[name] = nil
	}
	for name, value := range p.vocabulary.integers {
		s.integers[name] = value
	}
	for name, values := range p.vocabulary.enums {
		s.enums[name] = values[0]
	}
	for i := range p.directives {
		if d := &p.directives[i]; d.scope.matches(scopes) {
			s.apply(d)
			s.directives = append(s.directives, *d)
		}
	}
	return s
}

func (s *Scoped) apply(d *directive) {
	list := s.lists[d.property]
	at := slices.Index(list, d.value)
	switch d.operation {
	case reset:
		list = nil
	case appendLast:
		if at < 0 {
			list = append(list, d.value)
		}
	case prepend:
		if at >= 0 {
			list = slices.Delete(list, at, at+1)
		}
		list = slices.Insert(list, 0, d.value)
	case omit:
		if at >= 0 {
			list = slices.Delete(list, at, at+1)
		}
	case setInteger:
		s.integers[d.property] = d.number
		return
	case setEnum:
		s.enums[d.property] = d.value
		return
	}
	s.lists[d.property] = list
}

// List returns the values of a property in the order of preference.
func (s *Scoped) List(property string) []string { return slices.Clone(s.lists[property]) }

// Allows reports whether a list has a value.
func (s *Scoped) Allows(property, value string) bool {
	return slices.Contains(s.lists[property], value)
}

// Integer returns the value of a property such as min_rsa_size.
func (s *Scoped) Integer(property string) int { return s.integers[property] }

// Enum returns the value of a property such as __ems.
func (s *Scoped) Enum(property string) string { return s.enums[property] }

// Origin is the directive that decides about a value.
type Origin struct {
	// Directive is the left side as written, such as cipher@TLS.
	Directive string
	Place     Place
}

// Origin returns the directive that is the reason why a list lacks a value, or that sets an integer or
// an enumeration. ok is false if no directive of the policy is about the property.
func (s *Scoped) Origin(property, value string) (o Origin, ok bool) {
	for _, d := range slices.Backward(s.directives) {
		if d.property != property {
			continue
		}
		switch d.operation {
		case omit:
			if d.value != value {
				continue
			}
		case appendLast, prepend:
			continue
		}
		o.Directive, o.Place = d.property, d.place
		if d.scope.text != "" {
			o.Directive += "@" + d.scope.text
		}
		return o, true
	}
	return o, false
}
