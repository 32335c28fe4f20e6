// SPDX-License-Identifier: Apache-2.0

// Command licences prints the modules that are linked into the programs of a directory of
// sources, one per line, with version and licences:
//
//	licences DIRECTORY
//	github.com/spf13/cobra v1.10.2 Apache-2.0
//
// With --vendored before DIRECTORY it prints all modules below its vendor directory,
// including those for other systems. The lines are sorted; the licences of a module are an
// SPDX expression. It fails if a licence is not accepted or not recognised.
package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// accepted are the licences whose code may be linked into the programs. They only require
// their notices, so that the programs can be distributed under the Apache License 2.0 and
// repackaged by distributions. Accepting others, such as the MPL, which require more, is a
// decision.
var accepted = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"}

// review is the result of a person's review of an unrecognised licence file. It applies to
// one text.
type review struct {
	sum      string   // SHA-256
	licences []string // empty: the text has no requirements
}

// reviewed are the reviews by module and name of the file.
var reviewed = map[string]review{
	// The notices of Go, musl (with parts under the 2-clause BSD licence), go-netdb and nixpkgs, with
	// the list of musl's authors.
	"modernc.org/libc/LICENSE-3RD-PARTY.md": {"f597097efe3d97021f89170746bd3a0fb9a8b6fb26b82043ed68a4e0283bee6c", []string{"BSD-2-Clause", "BSD-3-Clause", "MIT"}},
	// The licence of a picture in its README, which is not linked.
	"modernc.org/memory/LICENSE-LOGO": {"5ae5bee3072a841376451b48d8cfcec7188e10543926d5870828d36c8a750dc5", nil},
	// SQLite is in the public domain.
	"modernc.org/sqlite/LICENSE-SQLITE": {"8438c9c89b849131ead81d5435cb97fcf052df5b0b286dda8a2d4c29e6cb3fd0", nil},
}

// recognised is the part of a licence file that must be a known licence, in percent. The
// rest may name the copyright holders.
const recognised = 75

// architectures are the architectures of the project; each may link other modules.
var architectures = []string{"amd64", "arm64"}

// pkg is the description of a package by "go list -json".
type pkg struct {
	ImportPath, Dir string
	Module          *struct {
		Path, Version string
		Main          bool
		Replace       *struct{ Path, Version string }
	}
}

func main() {
	find, arguments := linkedFiles, os.Args[1:]
	if len(arguments) > 0 && arguments[0] == "--vendored" {
		find, arguments = vendoredFiles, arguments[1:]
	}
	if len(arguments) != 1 {
		fmt.Fprintln(os.Stderr, "usage: licences [--vendored] DIRECTORY")
		os.Exit(2)
	}
	files, err := find(arguments[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lines, err := modules(files)
	for _, line := range lines {
		fmt.Println(line)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// linkedFiles returns the licence files of each module that is linked, by
// "path version".
func linkedFiles(root string) (map[string]map[string]bool, error) {
	files := map[string]map[string]bool{}
	for _, architecture := range architectures {
		packages, err := linked(root, architecture)
		if err != nil {
			return nil, err
		}
		for _, p := range packages {
			if p.Module == nil || p.Module.Main {
				continue // the standard library or this project
			}
			version := p.Module.Version
			if r := p.Module.Replace; r != nil {
				version = path.Join(r.Path, r.Version)
			}
			module := p.Module.Path + " " + version
			if files[module] == nil {
				files[module] = map[string]bool{}
			}
			if err := find(p, files[module]); err != nil {
				return nil, err
			}
		}
	}
	return files, nil
}

// vendoredFiles returns the licence files of each module below vendor, by "path version".
func vendoredFiles(root string) (map[string]map[string]bool, error) {
	text, err := os.ReadFile(filepath.Join(root, "vendor/modules.txt"))
	if err != nil {
		return nil, fmt.Errorf("cannot list the modules of %s: %w", root, err)
	}
	files := map[string]map[string]bool{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[0] != "#" {
			continue
		}
		found := map[string]bool{}
		files[fields[1]+" "+fields[2]] = found
		err := filepath.WalkDir(filepath.Join(root, "vendor", fields[1]), func(file string, d fs.DirEntry, err error) error {
			if err == nil && isLicence(d) {
				found[file] = true
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("cannot search for the licence of %s: %w", fields[1], err)
		}
	}
	return files, nil
}

// isLicence reports whether a file has the name of a licence file.
func isLicence(d fs.DirEntry) bool {
	name := strings.ToUpper(d.Name())
	return d.Type().IsRegular() && (strings.HasPrefix(name, "LICEN") || strings.HasPrefix(name, "COPYING")) && path.Ext(name) != ".GO"
}

// modules returns a line for each module, given its licence files.
func modules(files map[string]map[string]bool) (lines []string, err error) {
	var errs []error
	for _, module := range slices.Sorted(maps.Keys(files)) {
		licences := map[string]bool{}
		for _, file := range slices.Sorted(maps.Keys(files[module])) {
			errs = append(errs, read(module, file, licences))
		}
		if len(files[module]) == 0 {
			errs = append(errs, fmt.Errorf("cannot accept module %s: it has no licence file", module))
		}
		lines = append(lines, module+" "+strings.Join(slices.Sorted(maps.Keys(licences)), " AND "))
	}
	return lines, errors.Join(errs...)
}

// linked returns the packages that are linked into the programs.
func linked(root, architecture string) (packages []pkg, err error) {
	list := exec.Command("go", "list", "-deps", "-json=ImportPath,Dir,Module", "./src/cmd/...")
	list.Dir = root
	list.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+architecture, "CGO_ENABLED=0", "GOFLAGS=")
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("cannot list the packages of %s: %w", root, err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("cannot read the output of go list: %w", err)
		}
		packages = append(packages, p)
	}
}

// find finds the licence files that apply to a package: in its directory and in the
// directories above it, up to the module's.
func find(p pkg, files map[string]bool) error {
	below := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, p.Module.Path), "/")
	dir := p.Dir
	for {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("cannot search for the licence of %s: %w", p.ImportPath, err)
		}
		for _, entry := range entries {
			if isLicence(entry) {
				files[filepath.Join(dir, entry.Name())] = true
			}
		}
		if below == "" {
			return nil
		}
		if below = path.Dir(below); below == "." {
			below = ""
		}
		dir = filepath.Dir(dir)
	}
}

// read adds the licences in a file to licences.
func read(module, file string, licences map[string]bool) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("cannot read the licence of %s: %w", module, err)
	}
	name, _, _ := strings.Cut(module, " ")
	if r, ok := reviewed[path.Join(name, filepath.Base(file))]; ok && r.sum == fmt.Sprintf("%x", sha256.Sum256(text)) {
		for _, licence := range r.licences {
			licences[licence] = true
		}
		return nil
	}
	coverage := licensecheck.Scan(text)
	if len(coverage.Match) == 0 || coverage.Percent < recognised {
		return fmt.Errorf("cannot accept module %s: only %.0f %% of %s is a known licence", module, coverage.Percent, file)
	}
	for _, match := range coverage.Match {
		licences[match.ID] = true
		if !slices.Contains(accepted, match.ID) {
			return fmt.Errorf("cannot accept module %s: its licence %s in %s is not one of %s", module, match.ID, file, strings.Join(accepted, ", "))
		}
	}
	return nil
}
