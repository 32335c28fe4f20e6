// SPDX-License-Identifier: Apache-2.0

package cryptopolicy

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// dump is the output of testdata/oracle.py: policies as evaluated by crypto-policies.
//
// testdata/evaluated.json is its output for the policies in testdata and all combinations of two of
// their modules. CRYPTO_POLICIES=DIR UPDATE_GOLDEN=1 go test rewrites it; DIR is a source tree of
// crypto-policies or an installed /usr/share/crypto-policies. The release of February 2026 wrote it.
// Without UPDATE_GOLDEN, CRYPTO_POLICIES=DIR also compares the policies in DIR.
type dump struct {
	Results map[string]result   `json:"results"`
	Known   map[string][]string `json:"known"`
}

type result struct {
	Error  string               `json:"error,omitempty"`
	Scopes map[string]evaluated `json:"scopes,omitempty"`
}

type evaluated struct {
	Scopes []string       `json:"scopes"`
	Values map[string]any `json:"values"`
}

// evaluate returns a policy as evaluated by this package for some scopes, without names that a release of
// crypto-policies does not know, and without values equal to those in base.
func evaluate(policy *Policy, scopes []string, properties, base map[string]any, known map[string][]string) map[string]any {
	s := policy.Scoped(scopes...)
	values := map[string]any{}
	for property := range properties {
		switch {
		case known[property] != nil:
			list := []any{}
			for _, v := range s.lists[property] {
				if slices.Contains(known[property], v) {
					list = append(list, v)
				}
			}
			values[property] = list
		case policy.vocabulary.enums[property] != nil:
			values[property] = s.Enum(property)
		default:
			values[property] = float64(s.Integer(property))
		}
		if reflect.DeepEqual(values[property], base[property]) {
			delete(values, property)
		}
	}
	return values
}

// combinations returns the policies of a directory, each with no, one and two of its modules, or, without pairs,
// with none and with all modules.
func combinations(t *testing.T, directory string, pairs bool) (names []string) {
	t.Helper()
	entries, err := List([]Directory{{Path: directory}})
	if err != nil {
		t.Fatal(err)
	}
	for _, policy := range entries {
		if policy.Module {
			continue
		}
		names = append(names, policy.Name)
		all := policy.Name
		for _, first := range entries {
			if !first.Module {
				continue
			}
			names = append(names, policy.Name+":"+first.Name)
			all += ":" + first.Name
			for _, second := range entries {
				if pairs && second.Module && second != first {
					names = append(names, policy.Name+":"+first.Name+":"+second.Name)
				}
			}
		}
		if !pairs {
			names = append(names, all)
		}
	}
	return names
}

// oracle evaluates policies with crypto-policies.
func oracle(t *testing.T, release, directory string, names []string) []byte {
	t.Helper()
	python := filepath.Join(release, "python")
	if _, err := os.Stat(filepath.Join(python, "cryptopolicies")); err != nil {
		t.Fatalf("CRYPTO_POLICIES names no crypto-policies: %v", err)
	}
	command := exec.Command("python3", "testdata/oracle.py", python, directory)
	command.Stdin = strings.NewReader(strings.Join(names, "\n"))
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %v", command, err)
	}
	return output
}

// modernise replaces the old name of a group, like the package, for releases that have only that.
func modernise(values map[string]any) {
	groups, _ := values[Group].([]any)
	for i, v := range groups {
		groups[i] = newGroupName(v.(string))
	}
}

// compare compares all results of a dump with the results of this package.
func compare(t *testing.T, output []byte, directory string, names []string) {
	t.Helper()
	var d dump
	if err := json.Unmarshal(output, &d); err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(d.Results)); len(got) != len(names) || len(got) == 0 {
		t.Fatalf("%d policies were evaluated, there are %d", len(got), len(names))
	}
	known := d.Known
	known[Group] = append(known[Group], newGroupName("X25519-MLKEM768"))
	compared := 0
	for _, name := range names {
		want := d.Results[name]
		policy, err := Load(name, []Directory{{Path: directory}})
		if (err != nil) != (want.Error != "") {
			t.Errorf("%s: error %v, crypto-policies reports %q", name, err, want.Error)
			continue
		}
		base := evaluate(policy, nil, want.Scopes["*"].Values, nil, known)
		for scope, e := range want.Scopes {
			modernise(e.Values)
			same := base
			if scope == "*" {
				same = nil
			}
			if got := evaluate(policy, e.Scopes, want.Scopes["*"].Values, same, known); !reflect.DeepEqual(got, e.Values) {
				t.Errorf("%s for %s:\n got %+v\nwant %+v", name, scope, got, e.Values)
			}
			compared++
		}
	}
	t.Logf("%d policies, %d evaluations", len(names), compared)
}

func TestPoliciesAreEvaluatedAsByCryptoPolicies(t *testing.T) {
	const directory, recorded = "testdata/policies", "testdata/evaluated.json"
	names := combinations(t, directory, true)
	release := os.Getenv("CRYPTO_POLICIES")
	if release != "" {
		output := oracle(t, release, directory, names)
		if os.Getenv("UPDATE_GOLDEN") == "1" {
			if err := os.WriteFile(recorded, append(output, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		compare(t, output, directory, names)
	}
	output, err := os.ReadFile(recorded)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, output, directory, names)
}

// The policies of the distribution, if it has some.
func TestPoliciesOfTheDistributionAreEvaluatedAsByCryptoPolicies(t *testing.T) {
	release := os.Getenv("CRYPTO_POLICIES")
	if release == "" {
		release = ThisMachine().Share
		if _, err := os.Stat(filepath.Join(release, "python", "cryptopolicies")); err != nil {
			t.Skip("neither is crypto-policies installed, nor does CRYPTO_POLICIES name a release")
		}
	}
	directory := filepath.Join(release, "policies")
	names := combinations(t, directory, os.Getenv("CRYPTO_POLICIES") != "")
	compare(t, oracle(t, release, directory, names), directory, names)
}

func policy(t *testing.T, text string) *Policy {
	t.Helper()
	p := &Policy{Name: "TEST", vocabulary: newVocabulary()}
	if err := p.add("TEST.pol", text, false); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAnOriginIsTheDirectiveThatDecides(t *testing.T) {
	s := policy(t, `cipher = AES-256-GCM AES-128-GCM \
	AES-128-CBC
cipher@TLS = -AES-128-*
mac = AEAD
cipher@SSH = AES-256-CTR
cipher = -AES-128-CBC
min_rsa_size@openssl = 3072`).Scoped("openssl", "tls", "ssl")
	for _, c := range []struct{ property, value, directive, place string }{
		{Cipher, "AES-128-GCM", "cipher@TLS", "TEST.pol:3"},
		{Cipher, "AES-128-CBC", "cipher", "TEST.pol:6"},
		{Cipher, "3DES-CBC", "cipher", "TEST.pol:1"},
		{MAC, "HMAC-SHA1", "mac", "TEST.pol:4"},
		{MinRSASize, "2048", "min_rsa_size@openssl", "TEST.pol:7"},
	} {
		o, ok := s.Origin(c.property, c.value)
		if !ok || o.Directive != c.directive || o.Place.String() != c.place {
			t.Errorf("%s %s is decided by %s at %v (%v), want %s at %s", c.property, c.value, o.Directive, o.Place, ok, c.directive, c.place)
		}
	}
	if o, ok := s.Origin(Group, "X25519"); ok {
		t.Errorf("a property that is not set is decided by %+v", o)
	}
}

// Every mistake is also an error of crypto-policies: each text was tested with it.
func TestMistakesNameTheLineAndTheRemedy(t *testing.T) {
	for text, want := range map[string]string{
		"cipher":                              `F.pol:1: "cipher" assigns nothing: write PROPERTY = VALUE, or begin a comment with "#"`,
		"\n\ncipher = AES-256-GCM = x":        `F.pol:3: more than one "=": write one assignment in a line`,
		"= AES-256-GCM":                       `F.pol:1: no property before "=": write PROPERTY = VALUE`,
		"cipher@ = AES-256-GCM":               `F.pol:1: no scope after "@": remove it, or name a scope`,
		"ciper = AES-256-GCM":                 `F.pol:1: unknown property "ciper": did you mean cipher?`,
		"cipher = \\\n AES-256-GMC":           `F.pol:2: unknown value "AES-256-GMC" of "cipher": did you mean AES-256-GCM?`,
		"cipher = SOMETHING-*":                `F.pol:1: unknown value "SOMETHING-*" of "cipher": remove it, unless a newer release of crauctl knows it`,
		"cipher = +NULL RC4-128":              `F.pol:1: "cipher" both sets and changes the list: write +NAME, NAME+ and -NAME in an assignment without plain names`,
		"cipher = 3":                          `F.pol:1: the value of "cipher" is an integer: list algorithms`,
		"min_rsa_size = big":                  `F.pol:1: the value of "min_rsa_size" is not an integer: write a number, such as 2048`,
		"min_rsa_size =":                      `F.pol:1: the value of "min_rsa_size" is not an integer: write a number, such as 2048`,
		"__ems = MAYBE":                       `F.pol:1: bad value of "__ems": there are DEFAULT, ENFORCE, RELAX`,
		"cipher@openSLL = NULL":               `F.pol:1: unknown scope "opensll": did you mean openssl?`,
		"cipher@x* = NULL":                    `F.pol:1: no scope matches "x*"`,
		"cipher@tls,ssh = NULL":               `F.pol:1: bad scopes "tls,ssh": write several scopes as {scope,scope}`,
		"cipher@{tls = NULL":                  `F.pol:1: bad scopes "{tls": write several scopes as {scope,scope}`,
		"cipher@{tls,} = NULL":                `F.pol:1: an empty scope in "{tls,}": remove it, or name a scope`,
		"cipher@a.b = NULL":                   `F.pol:1: bad character '.' in the scope "a.b": write a scope, {scope,scope} or !scope`,
		"min_tls_version = TLS1.9":            `F.pol:1: unknown property "min_tls_version"`,
		"min_tls_version@tls = TLS1.2":        `F.pol:1: unknown property "min_tls_version"`,
		"a = 1\nb = 2 # \\\nmin_rsa_size = x": "F.pol:3: the value",
	} {
		p := parser{vocabulary: newVocabulary(), file: "F.pol"}
		_, err := p.parse(text)
		var mistake *SyntaxError
		if err == nil || !errors.As(err, &mistake) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
		if release := os.Getenv("CRYPTO_POLICIES"); release != "" {
			directory := t.TempDir()
			if err := os.WriteFile(filepath.Join(directory, "BAD.pol"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if output := oracle(t, release, directory, []string{"BAD"}); !bytes.Contains(output, []byte(`"error"`)) {
				t.Errorf("crypto-policies accepts %q: %s", text, output)
			}
		}
	}
}

func TestUnknownNamesOfTheDistributionAreWarnings(t *testing.T) {
	p := &Policy{vocabulary: newVocabulary()}
	text := "cipher = AES-256-GCM AES-512-GCM\nnovelty = 1\ncipher@quic = AES-128-GCM+\ncipher@!quic = CHACHA20-POLY1305+\n"
	if err := p.add("D.pol", text, true); err != nil {
		t.Fatal(err)
	}
	var warnings []string
	for _, w := range p.Warnings {
		warnings = append(warnings, w.String())
	}
	want := []string{
		`D.pol:1: unknown value "AES-512-GCM" of "cipher"`, `D.pol:2: unknown property "novelty"`,
		`D.pol:3: unknown scope "quic"`, `D.pol:4: unknown scope "quic"`,
	}
	if !slices.Equal(warnings, want) {
		t.Errorf("the warnings are %q, want %q", warnings, want)
	}
	if got := p.Scoped("tls").List(Cipher); !slices.Equal(got, []string{"AES-256-GCM", "CHACHA20-POLY1305"}) {
		t.Errorf("the ciphers are %q", got)
	}
	if err := p.add("D.pol", "cipher", true); err == nil {
		t.Error("a line without an assignment is accepted")
	}
}

func FuzzParse(f *testing.F) {
	for _, directory := range []string{"testdata/policies", "testdata/policies/modules"} {
		files, err := filepath.Glob(filepath.Join(directory, "*.p*"))
		if err != nil || len(files) == 0 {
			f.Fatal(files, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text))
		}
	}
	f.Add("cipher@!{a,b*} = [!x]*+ -y \\\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, lenient := range []bool{false, true} {
			v := newVocabulary()
			p := &Policy{vocabulary: v}
			if err := p.add("F.pol", text, lenient); err != nil {
				if !errors.As(err, new(*SyntaxError)) {
					t.Fatalf("error %v names no place", err)
				}
				continue
			}
			for _, scopes := range [][]string{nil, {"tls", "ssl", "openssl"}, {"ssh", "libssh"}} {
				s := p.Scoped(scopes...)
				for property, values := range s.lists {
					for i, value := range values {
						if !slices.Contains(v.lists[property], value) {
							t.Fatalf("%s contains the unknown value %q", property, value)
						}
						if slices.Contains(values[:i], value) {
							t.Fatalf("%s contains %q twice", property, value)
						}
					}
					for _, value := range v.lists[property] {
						if o, ok := s.Origin(property, value); ok && (o.Place.Line < 1 || o.Place.Line > strings.Count(text, "\n")+strings.Count(text, "\r")+1) {
							t.Fatalf("%s %s is decided in line %d", property, value, o.Place.Line)
						}
					}
				}
			}
		}
	})
}
