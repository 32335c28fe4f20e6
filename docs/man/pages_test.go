// SPDX-License-Identifier: Apache-2.0

// Package man checks the manual pages: against what the programs print about their
// options, and as mdoc.
package man

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// programs is set once, before the tests run.
var programs struct {
	dir string
	err error
}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "crau-man-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	programs.dir = dir
	build := exec.Command("go", "build", "-o", dir+"/", "./src/cmd/crau-agent", "./src/cmd/crau-broker", "./src/cmd/crau-inventory", "./src/cmd/crau-opener", "./src/cmd/crauctl")
	build.Dir = "../.."
	if output, err := build.CombinedOutput(); err != nil {
		programs.err = fmt.Errorf("cannot build: %w\n%s", err, output)
	}
	return m.Run()
}

// help returns the help text of a program.
func help(t *testing.T, arguments ...string) string {
	t.Helper()
	if programs.err != nil {
		t.Fatal(programs.err)
	}
	command := exec.Command(filepath.Join(programs.dir, arguments[0]), append(arguments[1:], "--help")...)
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v --help: %v\n%s", arguments, err, output)
	}
	return string(output)
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// commandsIn returns the commands that a help text lists.
func commandsIn(help string) (names []string) {
	_, commands, _ := strings.Cut(help, "Available Commands:\n")
	commands, _, _ = strings.Cut(commands, "\n\n")
	for line := range strings.Lines(commands) {
		if name := strings.Fields(line)[0]; name != "help" {
			names = append(names, name)
		}
	}
	return names
}

// options returns the options in a help text, with their short forms.
func options(help string) (found []string) {
	_, flags, _ := strings.Cut(help, "\nFlags:\n")
	flags, _, _ = strings.Cut(flags, "\nGlobal Flags:\n") // of all commands
	for _, match := range regexp.MustCompile(`(?m)^ +(?:-(\w), +|    )--([\w-]+)`).FindAllStringSubmatch(flags, -1) {
		if match[1] != "" {
			found = append(found, "-"+match[1])
		}
		found = append(found, "--"+match[2])
	}
	return found
}

// documented returns the options in a part of a page.
func documented(page string) (found []string) {
	for _, item := range regexp.MustCompile(`(?m)^\.It (Fl .*)$`).FindAllStringSubmatch(page, -1) {
		for _, match := range regexp.MustCompile(`Fl (-[\w-]+|\w\b)`).FindAllStringSubmatch(strings.ReplaceAll(item[1], " , ", " , Fl "), -1) {
			if match[1] != "Fl" {
				found = append(found, "-"+match[1])
			}
		}
	}
	return found
}

// part returns a subsection of a page.
func part(page, name string) (text string, ok bool) {
	_, text, ok = strings.Cut(page, "\n.Ss "+name+"\n")
	if end := regexp.MustCompile(`(?m)^\.S[sh] `).FindStringIndex(text); end != nil {
		text = text[:end[0]]
	}
	return text, ok
}

func compareOptions(t *testing.T, what, help, page string) {
	t.Helper()
	has, described := options(help), documented(page)
	// Every command has these options; pages mention them once.
	has = slices.DeleteFunc(has, func(o string) bool { return o == "-h" || o == "--help" || o == "-v" || o == "--version" })
	described = slices.DeleteFunc(described, func(o string) bool { return o == "-h" || o == "--help" || o == "-v" || o == "--version" })
	slices.Sort(has)
	slices.Sort(described)
	if !slices.Equal(has, slices.Compact(described)) {
		t.Errorf("%s has the options\n%q, its manual page has\n%q", what, has, described)
	}
}

func TestEveryOptionOfTheServicesIsDocumented(t *testing.T) {
	for _, program := range []string{"crau-agent", "crau-broker", "crau-inventory", "crau-opener"} {
		t.Run(program, func(t *testing.T) {
			page := read(t, program+".8.in")
			compareOptions(t, program, help(t, program), page)
			_, synopsis, _ := strings.Cut(page, "\n.Sh SYNOPSIS\n")
			synopsis, _, _ = strings.Cut(synopsis, "\n.Sh ")
			for _, option := range options(help(t, program)) {
				if strings.HasPrefix(option, "--") && option != "--help" && option != "--version" &&
					!regexp.MustCompile(`(?m)(?:Fl|\|) `+option[1:]+`\b`).MatchString(synopsis) {
					t.Errorf("the synopsis does not have %s", option)
				}
			}
		})
	}
}

// shipped returns the sources of the manual pages that meson installs, by page name.
func shipped(t *testing.T) map[string]string {
	t.Helper()
	pages := map[string]string{}
	for _, match := range regexp.MustCompile(`'([\w.-]+\.[1-8])'`).FindAllStringSubmatch(read(t, "meson.build"), -1) {
		pages[match[1]] = match[1]
	}
	for _, match := range regexp.MustCompile(`'([\w.-]+)': '([\w.-]+\.8)'`).FindAllStringSubmatch(read(t, "meson.build"), -1) {
		pages[match[1]+".8"] = match[2]
	}
	return pages
}

func TestEveryPageIsInstalledAndEveryUnitHasAPage(t *testing.T) {
	pages := shipped(t)
	sources, err := filepath.Glob("*.in")
	if err != nil || len(sources) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	for _, source := range sources {
		if page := strings.TrimSuffix(source, ".in"); pages[page] != page {
			t.Errorf("meson.build does not install %s", page)
		}
	}
	units, err := filepath.Glob("../../systemd/crypto-auditing-*.*")
	if err != nil || len(units) < 6 {
		t.Fatalf("no units: %v, %v", units, err)
	}
	for _, unit := range units {
		name := strings.TrimSuffix(filepath.Base(unit), ".in")
		page, ok := pages[name+".8"]
		if !ok {
			t.Errorf("%s has no page", name)
			continue
		}
		if text := read(t, page+".in"); !strings.Contains(text, ".Pa "+name) && !strings.Contains(text, ".Pa "+strings.Replace(name, ".service", ".timer", 1)) {
			t.Errorf("%s should be in %s, but is not", name, page)
		}
	}
}

func TestReferencesLeadToExistingPages(t *testing.T) {
	pages := shipped(t)
	ours := regexp.MustCompile(`^(crau.*|crypto-auditing.*|org\.crypto.*)$`)
	sources, _ := filepath.Glob("*.in")
	for _, source := range sources {
		self := strings.TrimSuffix(source, ".in")
		for _, match := range regexp.MustCompile(`(?m)^\.Xr (\S+) (\d)`).FindAllStringSubmatch(read(t, source), -1) {
			name := match[1] + "." + match[2]
			if _, ok := pages[name]; ours.MatchString(match[1]) && !ok {
				t.Errorf("%s refers to %s(%s), which does not exist", source, match[1], match[2])
			}
			if name == self {
				t.Errorf("%s refers to itself", source)
			}
		}
	}
}

func TestEveryCommandOfCrauctlIsDocumentedWithItsOptions(t *testing.T) {
	page := read(t, "crauctl.1.in")
	for _, option := range options(help(t, "crauctl")) {
		if all, _, _ := strings.Cut(page, "\n.Ss "); !strings.Contains(all, "Fl "+option[1:]+"\n") && !strings.Contains(all, "Fl "+option[1:]+" ") {
			t.Errorf("the page does not describe the option %s of crauctl", option)
		}
	}
	for _, name := range commandsIn(help(t, "crauctl")) {
		t.Run(name, func(t *testing.T) {
			text, ok := part(page, name)
			if !ok {
				t.Fatalf("crauctl(1) does not describe it")
			}
			if name == "completion" {
				return
			}
			of := help(t, "crauctl", name)
			compareOptions(t, "crauctl "+name, of, text)
			// Its text describes the commands inside it.
			for _, inner := range commandsIn(of) {
				for _, option := range options(help(t, "crauctl", name, inner)) {
					if strings.HasPrefix(option, "--") && option != "--help" && !strings.Contains(text, "Fl "+option[1:]+" ") {
						t.Errorf("crauctl %s %s has the option %s, the page does not", name, inner, option)
					}
				}
				if !strings.Contains(text, ".Cm "+name+" "+inner) {
					t.Errorf("the page does not describe crauctl %s %s", name, inner)
				}
			}
		})
	}
}

func TestPagesAreCorrect(t *testing.T) {
	pages, err := filepath.Glob("*.in")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	if _, err := exec.LookPath("mandoc"); err != nil {
		if os.Geteuid() == 0 {
			t.Fatal("mandoc is not installed: tests/setup.sh installs it")
		}
		t.Skip("mandoc is not installed")
	}
	for _, page := range pages {
		if output, err := exec.Command("mandoc", "-T", "lint", "-W", "warning", page).CombinedOutput(); err != nil || len(output) > 0 {
			t.Errorf("mandoc: %v\n%s", err, output)
		}
	}
}
