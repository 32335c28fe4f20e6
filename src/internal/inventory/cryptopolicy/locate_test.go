// SPDX-License-Identifier: Apache-2.0

package cryptopolicy

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// machine writes files and returns a machine that uses them.
func machine(t *testing.T, files map[string]string) (m Machine, root string) {
	t.Helper()
	root = t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Machine{Etc: filepath.Join(root, "etc"), Share: filepath.Join(root, "share")}, root
}

func TestPoliciesOfTheAdministratorPrecedeThoseOfPackages(t *testing.T) {
	m, root := machine(t, map[string]string{
		"etc/policies/DEFAULT.pol":           "cipher = AES-256-GCM",
		"share/policies/DEFAULT.pol":         "cipher = NULL",
		"share/policies/LEGACY.pol":          "cipher = 3DES-CBC NEWCIPHER",
		"share/policies/modules/MORE.pmod":   "cipher = AES-128-GCM+",
		"etc/policies/modules/LOCAL.pmod":    "cipher = -AES-128-GCM",
		"own/MINE.pol":                       "cipher = RC4-128",
		"own/modules/SITE.pmod":              "cipher = RC2-CBC+",
		"etc/policies/modules/MISTAKEN.pmod": "cipher = NEWCIPHER",
	})
	for name, want := range map[string]struct{ name, ciphers string }{
		"DEFAULT":                        {"DEFAULT", "AES-256-GCM"},
		"default:more":                   {"DEFAULT:MORE", "AES-256-GCM AES-128-GCM"},
		"DEFAULT:MORE:LOCAL":             {"DEFAULT:MORE:LOCAL", "AES-256-GCM"},
		"DEFAULT:LOCAL:MORE":             {"DEFAULT:LOCAL:MORE", "AES-256-GCM AES-128-GCM"},
		"LEGACY:":                        {"LEGACY", "3DES-CBC"},
		root + "/own/MINE.pol:SITE:MORE": {root + "/own/MINE.pol:SITE:MORE", "RC4-128 RC2-CBC AES-128-GCM"},
		"LEGACY:" + root + "/own/modules/SITE.pmod": {"LEGACY:" + root + "/own/modules/SITE.pmod", "3DES-CBC RC2-CBC"},
		root + "/share/policies/LEGACY.pol":         {root + "/share/policies/LEGACY.pol", "3DES-CBC"},
	} {
		p, err := Load(name, m.Directories())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := strings.Join(p.Scoped().List(Cipher), " "); got != want.ciphers || p.Name != want.name {
			t.Errorf("%s is %s with ciphers %s, want %s with %s", name, p.Name, got, want.name, want.ciphers)
		}
	}
	for name, want := range map[string]string{
		"DEFAULLT":         `there is no policy "DEFAULLT": did you mean DEFAULT?`,
		"SOMETHING":        `there is no policy "SOMETHING": there are DEFAULT, LEGACY`,
		"DEFAULT:NONE":     `there is no module "NONE": there are LOCAL, MISTAKEN, MORE`,
		":MORE":            `there is no policy ":MORE": name a policy, such as DEFAULT, before its modules`,
		"DEFAULT:MISTAKEN": `unknown value "NEWCIPHER"`,
		root + "/none.pol": "cannot read policy file " + root + "/none.pol: no such file",
		root:               "not a regular file",
	} {
		if _, err := Load(name, m.Directories()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
	_, err := Load("DEFAULT", Machine{Etc: root + "/no", Share: root + "/none"}.Directories())
	if err == nil || !strings.Contains(err.Error(), "name a file, or the policies of another machine with --policy-dir") {
		t.Errorf("without policies: %v", err)
	}
	entries, err := List(m.Directories())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	if want := []string{"DEFAULT", "LEGACY", "LOCAL", "MISTAKEN", "MORE"}; !slices.Equal(names, want) {
		t.Errorf("the list is %q, want %q", names, want)
	}
	if entries[0].File != filepath.Join(root, "etc/policies/DEFAULT.pol") {
		t.Errorf("the list has the file %s", entries[0].File)
	}
}

func TestTheAppliedPolicyPrecedesTheConfiguredOne(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"applied":    {map[string]string{"etc/state/current": "FUTURE:SHA1\n", "etc/config": "DEFAULT\n"}, "FUTURE:SHA1"},
		"configured": {map[string]string{"etc/config": "# a comment\n\ndefault # another\n SHA1:NO-PQ\n", "share/default-config": "LEGACY"}, "DEFAULT:SHA1:NO-PQ"},
		"default":    {map[string]string{"share/default-config": "LEGACY\n"}, "LEGACY"},
		"empty":      {map[string]string{"etc/config": "\n", "share/default-config": "LEGACY\n"}, "LEGACY"},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := machine(t, c.files)
			got, _, err := m.Applied()
			if err != nil || got != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
	m, _ := machine(t, nil)
	if _, _, err := m.Applied(); !errors.Is(err, ErrNotConfigured) {
		t.Errorf("without a configuration: %v", err)
	}
}
