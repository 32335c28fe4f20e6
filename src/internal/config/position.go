// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// ValueError is a value of the right type that is not valid.
type ValueError struct {
	// Key is the key with its tables, such as "truncate.reading".
	Key string
	// Problem describes the valid values.
	Problem string
}

func (e *ValueError) Error() string { return e.Key + " " + e.Problem }

func badValue(key, format string, args ...any) error {
	return &ValueError{Key: key, Problem: fmt.Sprintf(format, args...)}
}

// place is the file and line that set the effective value of a key, and the value as
// written, if it is a scalar.
type place struct {
	file  string
	line  int
	value string
}

// places maps each key to the place where it was set last. Keys are in lower case,
// because the decoder ignores case.
type places map[string]place

// note records the places of all keys of a file that was decoded without error.
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

// set records a value, and the values inside an inline table.
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

// key returns the dotted key of an expression, and its line.
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

// locate adds the place of the value to the error. A default has no place.
func (p places) locate(err *ValueError) error {
	for key := err.Key; key != ""; {
		if at, ok := p[key]; ok {
			return &Error{File: at.file, Line: at.line, Problem: err.Error()}
		}
		key = key[:max(strings.LastIndexByte(key, '.'), 0)]
	}
	return err
}
