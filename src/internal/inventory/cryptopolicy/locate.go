// SPDX-License-Identifier: Apache-2.0

package cryptopolicy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"crypto-auditing/src/internal/mistake"
)

// Directory contains policies (*.pol) and, in its directory modules, modules (*.pmod).
type Directory struct {
	Path string
	// Distribution: the files belong to a release of crypto-policies, which knows all their names.
	// Elsewhere unknown names are mistakes.
	Distribution bool
}

// Machine has the directories of a machine's policies.
type Machine struct {
	// Etc and Share are the directories of crypto-policies for the administrator and for packages.
	Etc, Share string
}

// ThisMachine returns the directories of this machine.
func ThisMachine() Machine {
	return Machine{Etc: "/etc/crypto-policies", Share: "/usr/share/crypto-policies"}
}

// Directories returns the directories in the order in which they are searched.
func (m Machine) Directories() []Directory {
	return []Directory{{Path: filepath.Join(m.Etc, "policies")}, {filepath.Join(m.Share, "policies"), true}}
}

// ErrNotConfigured is the error for a machine without a policy.
var ErrNotConfigured = errors.New("this machine has no system-wide cryptographic policy")

// Applied returns the name of the policy that the machine applies, and the file that names it: the
// applied one, else the configured one, else the default of the distribution.
func (m Machine) Applied() (name, file string, err error) {
	for _, file := range []string{
		filepath.Join(m.Etc, "state", "current"), filepath.Join(m.Etc, "config"), filepath.Join(m.Share, "default-config"),
	} {
		text, err := readFile(file)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return "", "", fmt.Errorf("cannot read the name of the policy in %s: %w", file, err)
		}
		if name := configured(text); name != "" {
			return name, file, nil
		}
	}
	return "", "", ErrNotConfigured
}

// configured returns the policy in the configuration file of crypto-policies: the first line has the
// policy with modules, other lines have further modules.
func configured(text string) string {
	var parts []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		for part := range strings.SplitSeq(strings.ToUpper(strings.TrimSpace(line)), ":") {
			if part != "" {
				parts = append(parts, part)
			}
		}
	}
	return strings.Join(parts, ":")
}

// Entry is a policy or a module that can be named.
type Entry struct {
	Name   string `json:"name"`
	Module bool   `json:"module"`
	File   string `json:"file"`
}

// List returns the policies and modules of directories, sorted, policies first. Of several files with
// the same name it returns the effective one. Missing directories are ignored.
func List(directories []Directory) ([]Entry, error) {
	var entries []Entry
	for _, d := range directories {
		for _, kind := range []struct {
			directory, suffix string
			module            bool
		}{{d.Path, policySuffix, false}, {filepath.Join(d.Path, "modules"), moduleSuffix, true}} {
			files, err := os.ReadDir(kind.directory)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("cannot list policies: %w", err)
			}
			for _, f := range files {
				name, ok := strings.CutSuffix(f.Name(), kind.suffix)
				same := func(e Entry) bool { return e.Name == name && e.Module == kind.module }
				if ok && name != "" && !slices.ContainsFunc(entries, same) {
					entries = append(entries, Entry{name, kind.module, filepath.Join(kind.directory, f.Name())})
				}
			}
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int {
		if a.Module != b.Module {
			if b.Module {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return entries, nil
}

const (
	policySuffix = ".pol"
	moduleSuffix = ".pmod"
)

// Load reads a policy with modules: NAME[:MODULE]… with names in the directories, in any case, or
// paths. A path has a slash or its suffix; the directory of a policy's file is searched for modules
// first.
func Load(name string, directories []Directory) (*Policy, error) {
	p := &Policy{vocabulary: newVocabulary()}
	policy, modules := name, []string(nil)
	if info, err := os.Stat(name); err != nil || info.IsDir() || !isPath(name, policySuffix) {
		parts := strings.Split(name, ":")
		policy, modules = parts[0], parts[1:]
	}
	if isPath(policy, policySuffix) {
		directories = append([]Directory{{Path: filepath.Dir(policy)}}, directories...)
	}
	names := []string{}
	for i, part := range append([]string{policy}, modules...) {
		module := i > 0
		if part == "" {
			if module {
				continue
			}
			return nil, &NotFoundError{Name: name, Remedy: "name a policy, such as DEFAULT, before its modules"}
		}
		path, distribution, err := find(part, module, directories)
		if err != nil {
			return nil, err
		}
		if err := p.read(path, distribution); err != nil {
			return nil, err
		}
		if path != part {
			part = strings.ToUpper(part)
		}
		names = append(names, part)
	}
	p.Name = strings.Join(names, ":")
	return p, nil
}

// isPath reports whether an argument is a path, not a name.
func isPath(argument, suffix string) bool {
	return strings.Contains(argument, "/") || strings.HasSuffix(argument, suffix)
}

// NotFoundError is the error for a policy or module that does not exist.
type NotFoundError struct {
	Name   string
	Module bool
	Remedy string
}

func (e *NotFoundError) Error() string {
	kind := "policy"
	if e.Module {
		kind = "module"
	}
	return fmt.Sprintf("there is no %s %q: %s", kind, e.Name, e.Remedy)
}

// find returns the file of a policy or a module.
func find(name string, module bool, directories []Directory) (path string, distribution bool, err error) {
	suffix, below := policySuffix, ""
	if module {
		suffix, below = moduleSuffix, "modules"
	}
	if isPath(name, suffix) {
		holds := func(d Directory) bool { return d.Distribution && filepath.Dir(name) == filepath.Join(d.Path, below) }
		return name, slices.ContainsFunc(directories, holds), nil
	}
	file := strings.ToUpper(name) + suffix
	for _, d := range directories {
		path := filepath.Join(d.Path, below, file)
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path, d.Distribution, nil
		}
	}
	return "", false, notFound(name, module, directories)
}

func notFound(name string, module bool, directories []Directory) error {
	e := &NotFoundError{Name: name, Module: module}
	entries, err := List(directories)
	if err != nil {
		return err
	}
	var names, searched []string
	for _, entry := range entries {
		if entry.Module == module {
			names = append(names, entry.Name)
		}
	}
	for _, d := range directories {
		searched = append(searched, d.Path)
	}
	switch near := mistake.Nearest(name, names); {
	case near != "":
		e.Remedy = fmt.Sprintf("did you mean %s?", near)
	case len(names) > 0:
		e.Remedy = "there are " + strings.Join(names, ", ")
	default:
		e.Remedy = fmt.Sprintf("%s have none; name a file, or the policies of another machine with --policy-dir", strings.Join(searched, " and "))
	}
	return e
}
