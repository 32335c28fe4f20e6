// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// ValueError says that a value of the right type cannot be.
type ValueError struct {
	// Key is the key with its tables, as in "truncate.reading".
	Key string
	// Problem says which values can be.
	Problem string
}

func (e *ValueError) Error() string { return e.Key + " " + e.Problem }

func badValue(key, format string, args ...any) error {
	return &ValueError{Key: key, Problem: fmt.Sprintf(format, args...)}
}

// place is where a key has the value that counts, and a plain value as it is
// written.
type place struct {
	file  string
	line  int
	value string
}

// places tells where each key, in lower case, was set last: the decoder takes
// keys in any case.
type places map[string]place

// note takes in where a sound file sets which keys.
func (p places) note(file string, b []byte) {
	var parser unstable.Parser
	parser.Reset(b)
	table := ""
	for parser.NextExpression() {
		e := parser.Expression()
		name, line := p.key(&parser, e)
		if e.Kind != unstable.KeyValue {
			table = name + "."
			continue
		}
		p.set(table+name, file, line, e.Value())
	}
}

// set notes a value, and those inside it if it is an inline table.
func (p places) set(name, file string, line int, value *unstable.Node) {
	p[name] = place{file, line, string(value.Data)}
	if value.Kind != unstable.InlineTable {
		return
	}
	for it := value.Children(); it.Next(); {
		var parts []string
		for key := it.Node().Key(); key.Next(); {
			parts = append(parts, strings.ToLower(string(key.Node().Data)))
		}
		p.set(name+"."+strings.Join(parts, "."), file, line, it.Node().Value())
	}
}

// key returns the dotted key of an expression and its line.
func (places) key(parser *unstable.Parser, e *unstable.Node) (name string, line int) {
	var parts []string
	for it := e.Key(); it.Next(); {
		n := it.Node()
		if line == 0 {
			line = parser.Shape(n.Raw).Start.Line
		}
		parts = append(parts, strings.ToLower(string(n.Data)))
	}
	return strings.Join(parts, "."), line
}

// locate completes an error about a value with where the value is set: in no
// file, if it is a default.
func (p places) locate(err *ValueError) error {
	for key := err.Key; key != ""; {
		if at, ok := p[key]; ok {
			return &Error{File: at.file, Line: at.line, Problem: err.Error()}
		}
		key = key[:max(strings.LastIndexByte(key, '.'), 0)]
	}
	return err
}
