// SPDX-License-Identifier: Apache-2.0

package mistake

import (
	"errors"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// Where returns the line of an error of the TOML decoder, 0 if it has none, and a description.
// expected describes the entries that a file may have.
func Where(err error, expected string) (line int, problem string) {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		first := &strict.Errors[0]
		line, _ = first.Position()
		return line, "unknown entry " + strings.Join(first.Key(), ".") + ": expected " + expected
	}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		line, _ = decode.Position()
		return line, Describe(decode)
	}
	return 0, strings.TrimPrefix(err.Error(), "toml: ")
}

// Lines maps the path of an entry to its first line.
type Lines map[string]int

// Line returns the line of an entry, 0 if there is none.
func (l Lines) Line(path ...string) int { return l[strings.Join(path, "\x00")] }

// LinesOf returns the lines of all entries of a file that was decoded without error.
func LinesOf(data []byte) Lines {
	l := make(Lines)
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

func (l Lines) keyValue(p *unstable.Parser, table []string, node *unstable.Node) {
	path := l.add(p, table, node)
	if value := node.Value(); value.Kind == unstable.InlineTable {
		for children := value.Children(); children.Next(); {
			l.keyValue(p, path, children.Node())
		}
	}
}

// add records the line of the key of a node and of the tables in that key, and returns the
// path.
func (l Lines) add(p *unstable.Parser, table []string, node *unstable.Node) []string {
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
