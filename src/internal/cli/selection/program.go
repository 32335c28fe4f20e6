// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"path"
	"strings"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/event"
)

// programs are the programs that --executable names. The log has the base names
// of their files.
type programs struct {
	names    []string
	patterns []string // as path.Match has them
}

func newPrograms(given []string) (p programs, err error) {
	for _, name := range given {
		if i := strings.LastIndexByte(name, '/'); i >= 0 {
			name = name[i+1:]
		}
		switch _, err := path.Match(name, ""); {
		case name == "":
			return p, console.Usagef("--executable needs the name of a program")
		case !strings.ContainsAny(name, "*?["):
			p.names = append(p.names, name)
		case err != nil:
			return p, console.Usagef("bad pattern %q of --executable: see glob(7)", name)
		default:
			p.patterns = append(p.patterns, name)
		}
	}
	return p, nil
}

func (p *programs) any() bool { return p.names == nil && p.patterns == nil }

// have reports whether a program, as the log names it, is one of them.
func (p *programs) have(program string) bool {
	for _, name := range p.names {
		if name == program || name == event.Escaped(program) {
			return true
		}
	}
	for _, pattern := range p.patterns {
		if ok, err := path.Match(pattern, program); ok && err == nil {
			return true
		}
	}
	return false
}
