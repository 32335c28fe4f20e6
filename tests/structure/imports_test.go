// SPDX-License-Identifier: Apache-2.0

// Package structure checks the direction of imports that docs/architecture.md describes.
// It has the rules for the project's own packages, and requires only Go; the linter has
// the rules for other modules.
package structure

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "crypto-auditing/"

//go:embed imports.txt
var imports string

// rules returns the packages that each package may import, from imports.txt.
func rules(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for line := range strings.Lines(imports) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, allowed, ok := strings.Cut(strings.TrimSpace(line), ":")
		if _, duplicate := all[name]; !ok || duplicate {
			t.Fatalf("imports.txt: %q is not a rule, or its package has another one", line)
		}
		all[name] = strings.Fields(allowed)
	}
	return all
}

type listed struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	command := exec.Command("go", "list", "-json=ImportPath,Imports", "./bpf/...", "./src/...")
	command.Dir = "../.."
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// rule returns the entry for a package, or else for the nearest package above it.
func rule(rules map[string][]string, pkg string) (name string, allowed []string, ok bool) {
	for name = pkg; name != "."; {
		if allowed, ok = rules[name]; ok {
			return name, allowed, true
		}
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			break
		}
		name = name[:i]
	}
	return "", nil, false
}

func TestImportsPointDown(t *testing.T) {
	all, rules := packages(t), rules(t)
	if len(all) < 8 {
		t.Fatalf("found only %d packages, want at least 8", len(all))
	}
	for _, p := range all {
		pkg := strings.TrimPrefix(p.ImportPath, module)
		name, allowed, ok := rule(rules, pkg)
		if !ok {
			t.Errorf("%s has no rule in imports.txt", pkg)
			continue
		}
		for _, path := range p.Imports {
			path, ours := strings.CutPrefix(path, module)
			if !ours {
				continue
			}
			below := strings.HasPrefix(path, name+"/") || strings.HasPrefix(pkg, path+"/") && path == name
			if !below && !slices.ContainsFunc(allowed, func(a string) bool { return path == a || strings.HasPrefix(path, a+"/") }) {
				t.Errorf("%s must not import %s", pkg, path)
			}
		}
	}
}

func TestEveryRuleNamesAnExistingPackage(t *testing.T) {
	for name := range rules(t) {
		if _, err := os.Stat("../../" + name); err != nil {
			t.Errorf("imports.txt: %v", err)
		}
	}
}

// docs/architecture.md has a line for each package of src/internal and for each directory
// of the tree. All directories that it lists must exist.
func TestArchitectureListsEveryPackage(t *testing.T) {
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^    ((?:src|bpf|dbus|systemd|selinux|rpm|docs|tests)[a-z0-9/…]*)/?  +[^ ]`).FindAllStringSubmatch(string(text), -1) {
		name := strings.TrimRight(strings.TrimSuffix(m[1], "…"), "/")
		listed[name] = true
		if _, err := os.Stat("../../" + name); err != nil {
			t.Errorf("docs/architecture.md: %v", err)
		}
	}
	for _, p := range packages(t) {
		pkg := strings.TrimPrefix(p.ImportPath, module)
		// A package's line also describes the packages below it.
		if parts := strings.Split(pkg, "/"); len(parts) > 3 {
			pkg = strings.Join(parts[:3], "/")
		}
		if strings.HasPrefix(pkg, "src/internal/") && !listed[pkg] {
			t.Errorf("docs/architecture.md does not list %s", pkg)
			listed[pkg] = true
		}
	}
	// In a tarball, "vendor" has the modules of other projects.
	unlisted := []string{"build", "LICENSES", "src", "vendor"}
	entries, err := os.ReadDir("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := e.Name(); e.IsDir() && name[0] != '.' && !slices.Contains(unlisted, name) && !listed[name] {
			t.Errorf("docs/architecture.md does not list %s/", name)
		}
	}
}
