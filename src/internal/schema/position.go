// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"errors"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"crypto-auditing/src/internal/mistake"
)

// decodeError converts an error of the TOML decoder to one with a line.
func decodeError(file string, err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		first := &strict.Errors[0]
		line, _ := first.Position()
		return &Error{file, line, "unknown entry " + strings.Join(first.Key(), ".") + ": expected contexts, keys, names and spellings, with the fields that registry.toml describes"}
	}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		line, _ := decode.Position()
		return &Error{file, line, mistake.Describe(decode)}
	}
	return &Error{file, 0, strings.TrimPrefix(err.Error(), "toml: ")}
}

// lines maps the path of an entry to its first line.
type lines map[string]int

func (l lines) of(path ...string) int { return l[strings.Join(path, "\x00")] }

// linesOf returns the lines of all entries of a file that was decoded without error.
func linesOf(data []byte) lines {
	l := make(lines)
	var p unstable.Parser
	p.Reset(data)
	var table []string
	for p.NextExpression() {
		node := p.Expression()
		switch node.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = l.add(&p, nil, node)
		case unstable.KeyValue:
			l.keyValue(&p, table, node)
		}
	}
	return l
}

func (l lines) keyValue(p *unstable.Parser, table []string, node *unstable.Node) {
	path := l.add(p, table, node)
	if value := node.Value(); value.Kind == unstable.InlineTable {
		for children := value.Children(); children.Next(); {
			l.keyValue(p, path, children.Node())
		}
	}
}

// add records the line of the key of a node and of the tables in that key, and returns the
// path.
func (l lines) add(p *unstable.Parser, table []string, node *unstable.Node) []string {
	path := append([]string(nil), table...)
	for key := node.Key(); key.Next(); {
		part := key.Node()
		path = append(path, string(part.Data))
		joined := strings.Join(path, "\x00")
		if _, ok := l[joined]; !ok {
			l[joined] = p.Shape(part.Raw).Start.Line
		}
	}
	return path
}
