// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"bytes"
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"

	"github.com/pelletier/go-toml/v2"

	"crypto-auditing/src/internal/mistake"
	"crypto-auditing/src/internal/schema/spelling"
)

//go:generate go run ./ianagen -o iana.toml

//go:embed registry.toml
var registryFile []byte

//go:embed iana.toml
var ianaFile []byte

// maxFile is the maximum size of a registry file in bytes; the largest built-in one has 30
// KiB.
const maxFile = 4 << 20

// Error reports an error in a registry file and its position.
type Error struct {
	File string
	// Line counts from 1; it is 0 if the error does not belong to one line.
	Line    int
	Problem string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Problem)
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Problem)
}

// builtin loads the registry of the project's own files.
//
//nolint:gochecknoglobals // constant in all but type, and loaded only once
var builtin = sync.OnceValues(func() (*Registry, error) { return load(nil) })

// Builtin returns the built-in registry.
func Builtin() (*Registry, error) { return builtin() }

// Load returns the built-in registry with files added in order. An error in a file is an
// *Error.
func Load(files ...string) (*Registry, error) {
	if len(files) == 0 {
		return Builtin()
	}
	more := make([]source, 0, len(files))
	for _, name := range files {
		data, err := readFile(name)
		if err != nil {
			return nil, fmt.Errorf("cannot read registry file: %w", err)
		}
		more = append(more, source{name, data})
	}
	return load(more)
}

// Installed loads the registry with the files of packages and of the administrator.
func Installed() (*Registry, error) {
	files, err := Files("/usr/lib/crypto-auditing/registry.d", "/etc/crypto-auditing/registry.d")
	if err != nil {
		return nil, err
	}
	return Load(files...)
}

// Files returns the files *.toml of directories, sorted by base name. Of files with the same
// base name, it returns only that of the last directory. A missing directory has no files.
func Files(directories ...string) ([]string, error) {
	byBase := make(map[string]string)
	for _, directory := range directories {
		entries, err := os.ReadDir(directory)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot list registry files: %w", err)
		}
		for _, entry := range entries {
			if strings.HasSuffix(entry.Name(), ".toml") && !entry.IsDir() {
				byBase[entry.Name()] = filepath.Join(directory, entry.Name())
			}
		}
	}
	files := make([]string, 0, len(byBase))
	for _, base := range sortedKeys(byBase) {
		files = append(files, byBase[base])
	}
	return files, nil
}

func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s: %d bytes are more than the %d a registry file may have", name, info.Size(), maxFile)
	}
	return os.ReadFile(name)
}

type source struct {
	name string
	data []byte
}

// document is the form of a registry file.
type document struct {
	Contexts map[string]struct {
		Description string            `toml:"description"`
		Keys        []string          `toml:"keys"`
		Holds       []string          `toml:"holds"`
		Summary     []string          `toml:"summary"`
		Like        string            `toml:"like"`
		Implies     map[string]string `toml:"implies"`
		SettledBy   []string          `toml:"settled_by"`
		SettledWith []string          `toml:"settled_with"`
	} `toml:"contexts"`
	Keys map[string]struct {
		Description string `toml:"description"`
		Type        string `toml:"type"`
		Names       string `toml:"names"`
		Spellings   string `toml:"spellings"`
	} `toml:"keys"`
	Names     map[string]map[string]string   `toml:"names"`
	Spellings map[string]map[string][]string `toml:"spellings"`
}

// loader merges files. It resolves references between entries after reading all files, so
// entries may be in any order.
type loader struct {
	contexts  map[string]*contextEntry
	keys      map[string]*keyEntry
	names     map[string]map[int64]string
	spellings map[string]*spelling.Table
}

type contextEntry struct {
	description          string
	like                 string
	keys, holds, summary []string
	settledBy            []string
	settledWith          []string
	implies              map[string]string
	where                map[string]place // "" is the entry itself, other keys are fields
}

type keyEntry struct {
	description, kind, names, spellings string
	where                               place
}

type place struct {
	file string
	line int
}

func (p place) errorf(format string, arguments ...any) error {
	return &Error{p.file, p.line, fmt.Sprintf(format, arguments...)}
}

func load(more []source) (*Registry, error) {
	l := loader{
		contexts:  make(map[string]*contextEntry),
		keys:      make(map[string]*keyEntry),
		names:     make(map[string]map[int64]string),
		spellings: make(map[string]*spelling.Table),
	}
	for _, s := range append([]source{{"registry.toml", registryFile}, {"iana.toml", ianaFile}}, more...) {
		if err := l.add(s); err != nil {
			return nil, fmt.Errorf("cannot load registry: %w", err)
		}
	}
	r, err := l.finish()
	if err != nil {
		return nil, fmt.Errorf("cannot load registry: %w", err)
	}
	return r, nil
}

// add adds one file.
func (l *loader) add(s source) error {
	var d document
	decoder := toml.NewDecoder(bytes.NewReader(s.data)).DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		line, problem := mistake.Where(err, "contexts, keys, names and spellings, with the fields that registry.toml describes")
		return &Error{s.name, line, problem}
	}
	lines := mistake.LinesOf(s.data)
	at := func(path ...string) place { return place{s.name, lines.Line(path...)} }

	for _, name := range sortedKeys(d.Keys) {
		k, where := d.Keys[name], at("keys", name)
		if !ValidName(name) {
			return where.errorf("%q is not a valid key: a key is [SCOPE::]NAME of letters, digits and _, letters first", name)
		}
		if k.Type != "" && !validType(k.Type) {
			return at("keys", name, "type").errorf("unknown type %q: it is string, blob, bool, uint8, uint16, uint32, uint64 or int8 to int64", k.Type)
		}
		e := l.keys[name]
		if e == nil {
			e = &keyEntry{}
			l.keys[name] = e
		}
		e.where = where
		replace(&e.description, k.Description)
		replace(&e.kind, k.Type)
		if k.Names != "" {
			e.names, e.where = k.Names, at("keys", name, "names")
		}
		if k.Spellings != "" {
			e.spellings, e.where = k.Spellings, at("keys", name, "spellings")
		}
	}
	for _, name := range sortedKeys(d.Contexts) {
		c, where := d.Contexts[name], at("contexts", name)
		if !ValidName(name) {
			return where.errorf("%q is not a valid context name: it is [SCOPE::]NAME of letters, digits and _, letters first", name)
		}
		e := l.contexts[name]
		if e == nil {
			e = &contextEntry{where: make(map[string]place), implies: make(map[string]string)}
			l.contexts[name] = e
		}
		e.where[""] = where
		for _, field := range []string{"keys", "holds", "summary", "like", "implies", "settled_by", "settled_with"} {
			if p := at("contexts", name, field); p.line != 0 {
				e.where[field] = p
			}
		}
		replace(&e.description, c.Description)
		replace(&e.like, c.Like)
		e.keys = append(e.keys, c.Keys...)
		e.holds = append(e.holds, c.Holds...)
		e.summary = append(e.summary, c.Summary...)
		e.settledBy = append(e.settledBy, c.SettledBy...)
		e.settledWith = append(e.settledWith, c.SettledWith...)
		for key, value := range c.Implies {
			e.implies[key] = value
		}
	}
	for _, table := range sortedKeys(d.Names) {
		if l.names[table] == nil {
			l.names[table] = make(map[int64]string)
		}
		for _, number := range sortedKeys(d.Names[table]) {
			n, err := strconv.ParseInt(number, 0, 64)
			if err != nil {
				return at("names", table, number).errorf("%q is not a number: write it as 0x12 or 18", number)
			}
			name := d.Names[table][number]
			if name == "" {
				return at("names", table, number).errorf("the name of %s is empty", number)
			}
			l.names[table][n] = name
		}
	}
	for _, table := range sortedKeys(d.Spellings) {
		if l.spellings[table] == nil {
			l.spellings[table] = spelling.New()
		}
		for _, name := range sortedKeys(d.Spellings[table]) {
			if conflict, other := l.spellings[table].Add(name, d.Spellings[table][name]...); conflict != "" {
				return at("spellings", table, name).errorf("%q is a spelling of %s already", conflict, other)
			}
		}
	}
	return nil
}

func replace(old *string, new string) {
	if new != "" {
		*old = new
	}
}

func validType(s string) bool {
	switch s {
	case "string", "blob", "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64":
		return true
	}
	return false
}

// finish resolves the references between entries.
func (l *loader) finish() (*Registry, error) {
	r := &Registry{
		contexts: make(map[string]*Context, len(l.contexts)),
		keys:     make(map[string]*Key, len(l.keys)),
		names:    make(map[string]*names, len(l.names)),
	}
	for table, byNumber := range l.names {
		r.names[table] = newNames(byNumber)
	}
	for _, name := range sortedKeys(l.keys) {
		e := l.keys[name]
		k := &Key{Name: name, Description: e.description, Type: e.kind}
		if e.names != "" {
			if k.names = r.names[e.names]; k.names == nil {
				return nil, e.where.errorf("key %s: no table of names is called %q", name, e.names)
			}
		}
		if e.spellings != "" {
			if k.spellings = l.spellings[e.spellings]; k.spellings == nil {
				return nil, e.where.errorf("key %s: no table of spellings is called %q", name, e.spellings)
			}
		}
		r.keys[name] = k
	}
	for _, name := range sortedKeys(l.contexts) {
		c, err := l.context(name)
		if err != nil {
			return nil, err
		}
		r.contexts[name] = c
	}
	return r, nil
}

func newNames(byNumber map[int64]string) *names {
	n := &names{byNumber, make(map[string]int64, len(byNumber))}
	numbers := make([]int64, 0, len(byNumber))
	for number := range byNumber {
		numbers = append(numbers, number)
	}
	// A name shared by two numbers stands for the smaller one.
	sort.Slice(numbers, func(i, j int) bool { return numbers[i] > numbers[j] })
	for _, number := range numbers {
		n.byName[folded(byNumber[number])] = number
	}
	return n
}

func (l *loader) context(name string) (*Context, error) {
	e := l.contexts[name]
	c := &Context{
		Name: name, Kind: name, Description: e.description, Implied: e.implies,
		keys: make(map[string]bool), holds: make(map[string]bool), scopes: make(map[string]bool),
		settledBy: make(map[string]bool), settledWith: make(map[string]bool),
	}
	definitions := []*contextEntry{e}
	if e.like != "" {
		other := l.contexts[e.like]
		switch {
		case other == nil:
			return nil, e.where["like"].errorf("context %s: like names %q, which is not a context", name, e.like)
		case other.like != "":
			return nil, e.where["like"].errorf("context %s: like names %s, which itself is like %s", name, e.like, other.like)
		}
		c.Kind = e.like
		definitions = append(definitions, other)
	}
	for _, d := range definitions {
		for _, key := range d.keys {
			if l.keys[key] == nil {
				return nil, d.where["keys"].errorf("context %s: no key is called %q", name, key)
			}
			c.keys[key] = true
		}
		for _, key := range d.summary {
			if l.keys[key] == nil {
				return nil, d.where["summary"].errorf("context %s: no key is called %q", name, key)
			}
			c.Summary = append(c.Summary, key)
		}
		for _, settling := range d.settledBy {
			other := l.contexts[settling]
			if other == nil {
				return nil, d.where["settled_by"].errorf("context %s: settled_by names %q, which is not a context", name, settling)
			}
			c.settledBy[cmp.Or(other.like, settling)] = true
		}
		for _, key := range d.settledWith {
			if l.keys[key] == nil {
				return nil, d.where["settled_with"].errorf("context %s: no key is called %q", name, key)
			}
			c.settledWith[key] = true
		}
		for _, held := range d.holds {
			if scope, ok := strings.CutSuffix(held, "::*"); ok && validWord(scope) {
				c.scopes[scope] = true
				continue
			}
			other := l.contexts[held]
			if other == nil {
				return nil, d.where["holds"].errorf("context %s: holds names %q, which is not a context", name, held)
			}
			c.holds[held] = true
			if other.like != "" {
				c.holds[other.like] = true
			}
		}
	}
	for key := range e.implies {
		if l.keys[key] == nil {
			return nil, e.where["implies"].errorf("context %s: implies names %q, which is not a key", name, key)
		}
	}
	return c, nil
}
