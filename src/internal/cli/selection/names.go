// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"path"
	"strings"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/event"
)

// Names are the names and patterns (glob(7)) that an option lists.
type Names struct {
	names    []string
	patterns []string // for path.Match
}

// add adds an argument of an option; noun names its kind in errors.
func (n *Names) add(option, noun, given string) error {
	switch _, err := path.Match(given, ""); {
	case given == "":
		return console.Usagef("%s needs the name of a %s", option, noun)
	case !strings.ContainsAny(given, "*?["):
		n.names = append(n.names, given)
	case err != nil:
		return console.Usagef("bad pattern %q of %s: see glob(7)", given, option)
	default:
		n.patterns = append(n.patterns, given)
	}
	return nil
}

// NewPrograms returns the programs that --executable lists. The log has the base names of
// executables.
func NewPrograms(given []string) (n Names, err error) {
	for _, name := range given {
		if err := n.add("--executable", "program", name[strings.LastIndexByte(name, '/')+1:]); err != nil {
			return n, err
		}
	}
	return n, nil
}

// NewUnits returns the units that --unit lists. As in journalctl, a name without a unit
// type suffix is a service.
func NewUnits(given []string) (n Names, err error) {
	for _, name := range given {
		if name != "" && !strings.ContainsAny(name, "*?[") && !strings.HasSuffix(name, ".service") && !strings.HasSuffix(name, ".scope") {
			name += ".service"
		}
		if err := n.add("--unit", "unit", name); err != nil {
			return n, err
		}
	}
	return n, nil
}

// Any reports whether the option was not given, and all names are selected.
func (n *Names) Any() bool { return n.names == nil && n.patterns == nil }

// Have reports whether a name from the log is one of them.
func (n *Names) Have(known string) bool {
	for _, name := range n.names {
		if name == known || name == event.Escaped(known) {
			return true
		}
	}
	for _, pattern := range n.patterns {
		if ok, err := path.Match(pattern, known); ok && err == nil {
			return true
		}
	}
	return false
}
