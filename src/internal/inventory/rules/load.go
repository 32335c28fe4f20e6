// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"bytes"
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/pelletier/go-toml/v2"

	"crypto-auditing/src/internal/inventory/fact"
	"crypto-auditing/src/internal/mistake"
)

//go:embed rules.toml
var rulesFile []byte

// maxFile is the maximum size of a file of rules in bytes.
const maxFile = 4 << 20

// Error is an error in a file of rules.
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

// builtin loads the rules of the project.
//
//nolint:gochecknoglobals // a constant except for its type, and loaded only once
var builtin = sync.OnceValues(func() (*Set, error) {
	set := &Set{}
	if err := set.add("rules.toml", rulesFile); err != nil {
		return nil, err
	}
	return set, nil
})

// Load returns the built-in rules with files added in order. A rule or profile of a later file
// replaces one of the same name; exceptions and purposes accumulate, later files first. An error in a
// file is an *Error.
func Load(files ...string) (*Set, error) {
	base, err := builtin()
	if err != nil {
		return nil, err
	}
	set := &Set{Rules: slices.Clone(base.Rules), Profiles: slices.Clone(base.Profiles)}
	for _, name := range files {
		data, err := read(name)
		if err != nil {
			return nil, fmt.Errorf("cannot read rules: %w", err)
		}
		if err := set.add(name, data); err != nil {
			return nil, err
		}
	}
	return set, nil
}

func read(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, &Error{name, 0, fmt.Sprintf("%d bytes are more than the %d a file of rules may have", info.Size(), maxFile)}
	}
	return os.ReadFile(name)
}

// Files returns the files *.toml of directories, sorted by base name. Of files with the same base name,
// it returns only the one of the last directory. A missing directory has no files.
func Files(directories ...string) ([]string, error) {
	byBase := make(map[string]string)
	for _, directory := range directories {
		names, err := fs.Glob(os.DirFS(directory), "*.toml")
		if err != nil {
			return nil, fmt.Errorf("cannot list rules: %w", err)
		}
		for _, name := range names {
			byBase[name] = filepath.Join(directory, name)
		}
	}
	files := make([]string, 0, len(byBase))
	for _, base := range slices.Sorted(maps.Keys(byBase)) {
		files = append(files, byBase[base])
	}
	return files, nil
}

// document is the form of a file.
type document struct {
	Rules      []ruleEntry             `toml:"rules"`
	Profiles   map[string]profileEntry `toml:"profiles"`
	Exceptions []exceptionEntry        `toml:"exceptions"`
	Purposes   []purposeEntry          `toml:"purposes"`
}

type ruleEntry struct {
	ID        string                `toml:"id"`
	Text      string                `toml:"text"`
	Axis      string                `toml:"axis"`
	Level     string                `toml:"level"`
	AppliesTo []string              `toml:"applies_to"`
	When      map[string][]string   `toml:"when"`
	Breaks    []map[string][]string `toml:"breaks"`
	Date      toml.LocalDate        `toml:"date"`
	Status    string                `toml:"status"`
	Source    string                `toml:"source"`
	Mark      string                `toml:"mark"`
	Quote     string                `toml:"quote"`
	Retrieved toml.LocalDate        `toml:"retrieved"`
}

type profileEntry struct {
	Text  string   `toml:"text"`
	Rules []string `toml:"rules"`
}

type exceptionEntry struct {
	Rule       string         `toml:"rule"`
	Executable string         `toml:"executable"`
	Unit       string         `toml:"unit"`
	AcceptedBy string         `toml:"accepted_by"`
	Until      toml.LocalDate `toml:"until"`
	Why        string         `toml:"why"`
}

type purposeEntry struct {
	Executable string `toml:"executable"`
	Unit       string `toml:"unit"`
	Purpose    string `toml:"purpose"`
}

// add adds the contents of a file. Its error is an *Error.
func (s *Set) add(file string, data []byte) error {
	var d document
	if err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(&d); err != nil {
		return decodeError(file, err)
	}
	for i := range d.Rules {
		r, err := d.Rules[i].rule()
		if err != nil {
			return &Error{file, 0, err.Error()}
		}
		s.replace(r)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Profiles)) {
		if err := s.addProfile(name, d.Profiles[name]); err != nil {
			return &Error{file, 0, err.Error()}
		}
	}
	exceptions, purposes, err := d.statements()
	if err != nil {
		return &Error{file, 0, err.Error()}
	}
	s.Exceptions = append(exceptions, s.Exceptions...)
	s.Purposes = append(purposes, s.Purposes...)
	return nil
}

func decodeError(file string, err error) error {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
		line, _ := unknown.Errors[0].Position()
		return &Error{file, line, fmt.Sprintf("unknown key %q", strings.Join(unknown.Errors[0].Key(), "."))}
	}
	var bad *toml.DecodeError
	if errors.As(err, &bad) {
		line, _ := bad.Position()
		return &Error{file, line, mistake.Describe(bad)}
	}
	return &Error{file, 0, strings.TrimPrefix(err.Error(), "toml: ")}
}

func (s *Set) replace(r *Rule) {
	if i := slices.IndexFunc(s.Rules, func(other *Rule) bool { return other.ID == r.ID }); i >= 0 {
		s.Rules[i] = r
		return
	}
	s.Rules = append(s.Rules, r)
}

func (s *Set) addProfile(name string, entry profileEntry) error {
	if name == AllProfiles {
		return fmt.Errorf("a profile cannot be named %q, which means all rules", name)
	}
	p := Profile{name, entry.Text, entry.Rules}
	if i := slices.IndexFunc(s.Profiles, func(other Profile) bool { return other.Name == name }); i >= 0 {
		s.Profiles[i] = p
	} else {
		s.Profiles = append(s.Profiles, p)
	}
	slices.SortFunc(s.Profiles, func(x, y Profile) int { return cmp.Compare(x.Name, y.Name) })
	return nil
}

// rule checks a rule.
func (e *ruleEntry) rule() (*Rule, error) {
	if e.ID == "" || strings.ContainsAny(e.ID, " \t\n*?[\\") {
		return nil, fmt.Errorf("rule %q: its id must not be empty, or have blanks or any of *?[\\", e.ID)
	}
	r := &Rule{
		ID: e.ID, Text: e.Text, Axis: Axis(e.Axis), Level: Level(e.Level), AppliesTo: e.AppliesTo, Date: day(e.Date),
		Draft: e.Status == "draft", Source: e.Source, Mark: e.Mark, Quote: e.Quote, Retrieved: day(e.Retrieved),
	}
	for _, c := range []struct {
		ok      bool
		problem string
	}{
		{e.Text != "", "it needs a text"},
		{slices.Contains(append(Axes(), Inventory), r.Axis), fmt.Sprintf("unknown axis %q: there are key establishment, authentication, classical, inventory", e.Axis)},
		{slices.Contains([]Level{Prohibited, Deprecated, Discouraged}, r.Level), fmt.Sprintf("unknown level %q: there are prohibited, deprecated, discouraged", e.Level)},
		{slices.Contains([]string{"draft", "final"}, e.Status), fmt.Sprintf("unknown status %q: it is draft or final", e.Status)},
		{e.Mark == "" || slices.Contains(Marks(), e.Mark), fmt.Sprintf("unknown mark %q: there are P, S, K", e.Mark)},
		{len(e.AppliesTo) > 0, "applies_to is empty"},
		{len(e.Breaks) > 0, "breaks is empty"},
		{e.Quote == "" || !r.Retrieved.IsZero(), "a quote needs the day on which it was retrieved"},
	} {
		if !c.ok {
			return nil, fmt.Errorf("rule %q: %s", e.ID, c.problem)
		}
	}
	var err error
	if r.When, err = conditions(e.When); err != nil {
		return nil, fmt.Errorf("rule %q: %w", e.ID, err)
	}
	for _, alternative := range e.Breaks {
		c, err := conditions(alternative)
		if err == nil && len(c) == 0 {
			err = errors.New("an element of breaks has no condition")
		}
		if err != nil {
			return nil, fmt.Errorf("rule %q: %w", e.ID, err)
		}
		r.Breaks = append(r.Breaks, c)
	}
	return r, nil
}

func conditions(table map[string][]string) (Conditions, error) {
	var list Conditions
	known := attributes()
	for _, name := range slices.Sorted(maps.Keys(table)) {
		c := Condition{fact.Attribute(name), table[name]}
		if !known[c.Attribute] {
			return nil, fmt.Errorf("unknown attribute %q: there are %s", name, join(slices.Sorted(maps.Keys(known))))
		}
		if len(c.Patterns) == 0 {
			return nil, fmt.Errorf("condition %q has no pattern", name)
		}
		if err := c.check(); err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// statements checks the administrator's statements about programs.
func (d *document) statements() (exceptions []Exception, purposes []Purpose, err error) {
	for _, e := range d.Exceptions {
		switch {
		case e.Rule == "":
			return nil, nil, errors.New("an exception needs a rule: * for all")
		case e.AcceptedBy == "" || e.Why == "":
			return nil, nil, fmt.Errorf("the exception for %q needs accepted_by and why", e.Rule)
		case e.Until == toml.LocalDate{}:
			return nil, nil, fmt.Errorf("the exception for %q needs the day until which it is accepted", e.Rule)
		}
		exceptions = append(exceptions, Exception{e.Rule, e.Executable, e.Unit, e.AcceptedBy, e.Why, day(e.Until)})
	}
	for _, p := range d.Purposes {
		if p.Purpose == "" || p.Executable == "" && p.Unit == "" {
			return nil, nil, errors.New("a purpose needs a text, and an executable or a unit")
		}
		purposes = append(purposes, Purpose{p.Executable, p.Unit, p.Purpose})
	}
	return exceptions, purposes, nil
}

func join[T ~string](names []T) string {
	list := make([]string, len(names))
	for i := range names {
		list[i] = string(names[i])
	}
	return strings.Join(list, ", ")
}
