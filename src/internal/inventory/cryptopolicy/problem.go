// SPDX-License-Identifier: Apache-2.0

package cryptopolicy

import (
	"fmt"
	"strings"

	"crypto-auditing/src/internal/mistake"
)

// Place is a line of a policy file.
type Place struct {
	File string
	Line int
}

func (p Place) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// SyntaxError is a mistake in a policy file.
type SyntaxError struct {
	Place           Place
	Problem, Remedy string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%v: %s: %s", e.Place, e.Problem, e.Remedy) }

// Warning is an unknown name in a policy of the distribution. It is ignored, because no recorded value
// has the name.
type Warning struct {
	Place   Place
	Problem string
}

func (w Warning) String() string { return fmt.Sprintf("%v: %s", w.Place, w.Problem) }

// problem is a mistake in a text whose place the caller knows.
type problem struct {
	text, remedy string
	unknown      bool // a name that a newer release of crypto-policies may know
}

func (e *problem) Error() string { return e.text + ": " + e.remedy }

// unknown returns the problem of an unknown name.
func unknown(text, name string, known []string) *problem {
	const maxListed = 20
	remedy := "remove it, unless a newer release of crauctl knows it"
	if near := mistake.Nearest(strings.Trim(name, "*"), known); near != "" {
		remedy = fmt.Sprintf("did you mean %s?", near)
	} else if len(known) <= maxListed {
		remedy = "there are " + strings.Join(known, ", ")
	}
	return &problem{text, remedy, true}
}
