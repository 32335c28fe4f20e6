// SPDX-License-Identifier: Apache-2.0

package counting

import (
	"bytes"
	_ "embed"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
)

//go:embed normal.toml
var normalFile []byte

// table is the form of normal.toml.
type table struct {
	Algorithms []struct {
		Name    string   `toml:"name"`
		Also    []string `toml:"also"`
		Sign    string   `toml:"sign"`
		Verify  string   `toml:"verify"`
		Derive  string   `toml:"derive"`
		Padding string   `toml:"padding"`
	} `toml:"algorithms"`
	Groups []struct {
		Name      string   `toml:"name"`
		Also      []string `toml:"also"`
		Algorithm string   `toml:"algorithm"`
	} `toml:"groups"`
	Hashes   []alias `toml:"hashes"`
	Paddings []alias `toml:"paddings"`
	Units    []struct {
		Pattern string `toml:"pattern"`
		Name    string `toml:"name"`
	} `toml:"units"`
}

type alias struct {
	Name string   `toml:"name"`
	Also []string `toml:"also"`
}

// algorithm is a normal algorithm.
type algorithm struct {
	name, padding string
	in            map[string]string // kind of operation: its name there
}

// group is a normal group with the algorithm of its keys, empty if unknown.
type group struct{ name, algorithm string }

// normal normalises names. Its methods cache, so it is for use by one goroutine.
type normal struct {
	algorithms cache[algorithm]
	groups     cache[group]
	hashes     cache[string]
	paddings   cache[string]
	units      cache[string]
	texts      cache[string]
}

// cache caches a function of a name.
type cache[T any] struct {
	values map[string]T
	value  func(string) T
}

// maxCached limits the names of a cache.
const maxCached = 4096

func newCache[T any](value func(string) T) cache[T] {
	return cache[T]{values: make(map[string]T), value: value}
}

// get returns the value of a name.
func (c *cache[T]) get(name []byte) T {
	if v, ok := c.values[string(name)]; ok {
		return v
	}
	return c.add(string(name))
}

// getText is get for a string.
func (c *cache[T]) getText(name string) T {
	if v, ok := c.values[name]; ok {
		return v
	}
	return c.add(name)
}

func (c *cache[T]) add(name string) T {
	if len(c.values) >= maxCached {
		clear(c.values)
	}
	v := c.value(name)
	c.values[strings.Clone(name)] = v
	return v
}

// newNormal loads the table. Groups of the registry are normal names.
func newNormal(r *schema.Registry) (*normal, error) {
	var t table
	if err := toml.NewDecoder(bytes.NewReader(normalFile)).DisallowUnknownFields().Decode(&t); err != nil {
		return nil, fmt.Errorf("cannot load the table of normal names: %w", err)
	}
	units, err := t.units()
	if err != nil {
		return nil, err
	}
	return &normal{
		algorithms: newCache(t.algorithms()), groups: newCache(t.groups(r)),
		hashes: newCache(aliases(t.Hashes)), paddings: newCache(aliases(t.Paddings)),
		units: newCache(units), texts: newCache(text),
	}, nil
}

// maxText limits the bytes of text in rows: any program can record text of any length.
const maxText = 256

// text returns text of the log as valid UTF-8, truncated if it is long.
func text(s string) string {
	plain := string(event.Plain(s))
	if len(plain) <= maxText {
		return plain
	}
	return strings.ToValidUTF8(plain[:maxText], "") + "…"
}

// folded returns the form of a name for comparison.
func folded(name string) string {
	return strings.ToLower(strings.NewReplacer(" ", "", "-", "", "_", "", "/", "").Replace(name))
}

func (t *table) algorithms() func(string) algorithm {
	known := map[string]algorithm{}
	for i := range t.Algorithms {
		a := &t.Algorithms[i]
		named := algorithm{name: a.Name, padding: a.Padding, in: map[string]string{}}
		for kind, name := range map[string]string{"pk::sign": a.Sign, "pk::verify": a.Verify, "pk::derive": a.Derive} {
			if name != "" {
				named.in[kind] = name
			}
		}
		names := a.Also
		if a.Padding == "" {
			names = append(names, a.Name)
		}
		for _, name := range names {
			known[folded(name)] = named
		}
	}
	return func(name string) algorithm {
		if found, ok := known[folded(name)]; ok {
			return found
		}
		return algorithm{name: text(name)}
	}
}

func (t *table) groups(r *schema.Registry) func(string) group {
	known := map[string]string{}
	if key := r.Key(keyGroup); key != nil {
		for _, name := range key.Names() {
			known[folded(name)] = name
		}
	}
	for i := range t.Groups {
		for _, also := range t.Groups[i].Also {
			known[folded(also)] = t.Groups[i].Name
		}
	}
	return func(name string) group {
		g := group{name: text(name)}
		if normal, ok := known[folded(name)]; ok {
			g.name = normal
		}
		for i := range t.Groups {
			if entry := &t.Groups[i]; entry.Algorithm != "" && matches(entry.Name, g.name) {
				g.algorithm = entry.Algorithm
				break
			}
		}
		return g
	}
}

// matches reports whether a name matches a pattern of the table.
func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

func aliases(list []alias) func(string) string {
	known := map[string]string{}
	for i := range list {
		for _, name := range append(list[i].Also, list[i].Name) {
			known[folded(name)] = list[i].Name
		}
	}
	return func(name string) string {
		if normal, ok := known[folded(name)]; ok {
			return normal
		}
		return text(name)
	}
}

// units returns a function that replaces the unique parts of unit names, such as ids of containers.
func (t *table) units() (func(string) string, error) {
	patterns := make([]*regexp.Regexp, len(t.Units))
	for i := range t.Units {
		var err error
		if patterns[i], err = regexp.Compile("^(?:" + t.Units[i].Pattern + ")$"); err != nil {
			return nil, fmt.Errorf("cannot load the table of normal names: pattern of units: %w", err)
		}
	}
	return func(name string) string {
		name = text(name)
		for i, p := range patterns {
			if p.MatchString(name) {
				return p.ReplaceAllString(name, t.Units[i].Name)
			}
		}
		return name
	}, nil
}
