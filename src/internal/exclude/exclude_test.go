// SPDX-License-Identifier: Apache-2.0

package exclude_test

import (
	"strings"
	"testing"

	"crypto-auditing/src/internal/exclude"
)

func TestRulesExcludeByUnitExecutableAndUser(t *testing.T) {
	curl := exclude.Program{Executable: "curl", Owned: true, User: 1000, Unit: "user@1000.service", ShortUnit: "user@.service"}
	backup := exclude.Program{Executable: "restic", Owned: true, Unit: `backup-srv\x2dwww.service`, ShortUnit: `backup-srv\x2dwww.service`}
	library := exclude.Program{Executable: "curl"}
	none := exclude.Program{Executable: "curl", Owned: true, User: 7}
	for name, c := range map[string]struct {
		rule    string
		program exclude.Program
		want    bool
	}{
		"an executable":                   {"executable=curl", curl, true},
		"another executable":              {"executable=wget", curl, false},
		"a pattern":                       {"executable=c[au]*", curl, true},
		"a part of the name":              {"executable=cur", curl, false},
		"a user by number":                {"user=1000", curl, true},
		"a user by name":                  {"user=root", backup, true},
		"another user":                    {"user=root", curl, false},
		"an unknown user":                 {"user=root", library, false},
		"a unit":                          {"unit=user@1000.service", curl, true},
		"a unit without its suffix":       {"unit=user@1000", curl, true},
		"a unit as the log names it":      {"unit=user@.service", curl, true},
		"a pattern for units":             {"unit=backup-*", backup, true},
		"a unit with a backslash":         {`unit=backup-srv\x2dwww.service`, backup, true},
		"another unit":                    {"unit=backup", backup, false},
		"any unit, without a unit":        {"unit=*", none, false},
		"any unit, with an unknown unit":  {"unit=*", library, false},
		"an executable without an owner":  {"executable=*", library, true},
		"a program without an executable": {"executable=*", exclude.Program{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			rules, err := exclude.Parse([]string{"executable=something-else", c.rule})
			if err != nil {
				t.Fatal(err)
			}
			switch got := exclude.List(rules).Match(&c.program); {
			case got == nil && c.want:
				t.Error("the program is not excluded")
			case got != nil && (!c.want || got.String() != c.rule):
				t.Errorf("the program is excluded by %v", got)
			}
		})
	}
}

func TestAnInvalidRuleIsAnErrorWithARemedy(t *testing.T) {
	for rule, want := range map[string]string{
		"curl":                     "write \"unit=GLOB\"",
		"process=1":                "write \"unit=GLOB\"",
		"":                         "write \"unit=GLOB\"",
		"executable=":              "valid pattern",
		"executable=[":             "valid pattern",
		"executable=/usr/bin/curl": "base name",
		"unit=":                    "valid pattern",
		"user=":                    "\"user=1000\"",
		"user=no-such-user-here":   "\"user=1000\"",
		"user=4294967296":          "\"user=1000\"",
	} {
		if _, err := exclude.Parse([]string{rule}); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), `"`+rule+`"`) {
			t.Errorf("%q: %v, want %s", rule, err, want)
		}
	}
}

func TestUnchangedRulesKeepTheirCounts(t *testing.T) {
	parse := func(rules ...string) []*exclude.Rule {
		t.Helper()
		parsed, err := exclude.Parse(rules)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	var s exclude.Set
	if len(s.Rules()) > 0 || s.Rules().Match(&exclude.Program{}) != nil {
		t.Error("an empty set excludes something")
	}
	s.Replace(parse("executable=a", "executable=b"))
	if s.Rules().NeedsOwner() {
		t.Error("a rule for executables requires the owner")
	}
	s.AddHandshake(s.Rules()[0])
	s.AddHit(s.Rules()[1])
	s.Replace(parse("user=7", "executable=b"))
	if r := s.Rules(); !r.NeedsOwner() || r[0].Hits.Load() != 0 || r[1].Hits.Load() != 1 || s.Handshakes() != 1 || s.Hits() != 1 {
		t.Errorf("the rules are %v, of all: %d, %d", r, s.Handshakes(), s.Hits())
	}
}
