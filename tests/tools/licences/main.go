// SPDX-License-Identifier: Apache-2.0

// Command licences prints the modules that are linked into the programs of a
// directory of sources, one a line with version and licences:
//
//	licences FOLDER
//	github.com/spf13/cobra v1.10.2 Apache-2.0
//
// With --vendored before FOLDER it prints all modules below vendor there, also what
// is for other systems. The lines are sorted; the licences of a module are an SPDX
// expression. It fails if a licence is none of those the project takes, or is not
// recognised.
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

// taken are the licences whose code may be linked into the programs. They ask
// for their notices alone, so that the whole can be passed on under the Apache
// License 2.0 and in whatever a distribution makes of it. Others, such as the
// MPL, ask for more, and get in by a decision.
var taken = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"}

// review is what a person found in a licence file that is not recognised. It holds for one text.
type review struct {
	sum      string   // SHA-256
	licences []string // none: it asks for nothing
}

// reviewed are the reviews by module and name of the file.
var reviewed = map[string]review{
	// The notices of Go, musl (with parts under the 2-clause BSD licence), go-netdb and nixpkgs, with
	// the list of musl's authors.
	"modernc.org/libc/LICENSE-3RD-PARTY.md": {"f597097efe3d97021f89170746bd3a0fb9a8b6fb26b82043ed68a4e0283bee6c", []string{"BSD-2-Clause", "BSD-3-Clause", "MIT"}},
	// Of a picture in its README, which is not linked.
	"modernc.org/memory/LICENSE-LOGO": {"5ae5bee3072a841376451b48d8cfcec7188e10543926d5870828d36c8a750dc5", nil},
	// SQLite is in the public domain.
	"modernc.org/sqlite/LICENSE-SQLITE": {"8438c9c89b849131ead81d5435cb97fcf052df5b0b286dda8a2d4c29e6cb3fd0", nil},
}

// recognised is how much of a licence file must be licence, in percent: the rest
// may be whose it is.
const recognised = 75

// architectures are those the project is built for; each may link others.
var architectures = []string{"amd64", "arm64"}

// pkg is what "go list -json" says of a package.
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
		fmt.Fprintln(os.Stderr, "usage: licences [--vendored] FOLDER")
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
				continue // Go's own, or ours
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

// vendoredFiles returns those of each module below vendor.
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
			return nil, fmt.Errorf("cannot look for the licence of %s: %w", fields[1], err)
		}
	}
	return files, nil
}

// isLicence reports whether a file is named as a licence is.
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
			errs = append(errs, fmt.Errorf("cannot take module %s: it has no licence file", module))
		}
		lines = append(lines, module+" "+strings.Join(slices.Sorted(maps.Keys(licences)), " AND "))
	}
	return lines, errors.Join(errs...)
}

// linked returns the packages that the programs are made of.
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
			return nil, fmt.Errorf("cannot read what go list says: %w", err)
		}
		packages = append(packages, p)
	}
}

// find finds the licence files that hold for a package: in its directory and those
// above it, up to that of its module.
func find(p pkg, files map[string]bool) error {
	below := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, p.Module.Path), "/")
	dir := p.Dir
	for {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("cannot look for the licence of %s: %w", p.ImportPath, err)
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

// read reads which licences a file holds.
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
		return fmt.Errorf("cannot take module %s: %.0f %% of %s is a known licence", module, coverage.Percent, file)
	}
	for _, match := range coverage.Match {
		licences[match.ID] = true
		if !slices.Contains(taken, match.ID) {
			return fmt.Errorf("cannot take module %s: its licence %s in %s is none of %s", module, match.ID, file, strings.Join(taken, ", "))
		}
	}
	return nil
}
