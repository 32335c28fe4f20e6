// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// packages are the paths of built packages.
type packages struct {
	binary, source []string
	// next are the binary packages with a higher release.
	next []string
	// root is the build root, whose files were packed.
	root string
}

// rpms returns the packages built from the tarball, except those of debug information.
func rpms(t *testing.T) packages {
	t.Helper()
	need(t, "rpm", "rpmbuild", "clang", "llvm-strip", "gcc", "xz")
	path, _ := tarball(t)
	built, err := makePackages(path)
	if err != nil {
		t.Fatal(err)
	}
	return built
}

var makePackages = func() func(string) (packages, error) {
	var once sync.Once
	var built packages
	var err error
	return func(tarball string) (packages, error) {
		once.Do(func() { built, err = buildPackages(tarball) })
		return built, err
	}
}()

// buildPackages builds without %check: "make check" runs the unit tests anyway, and "make
// rpm" runs them from the tarball. The next release is packed from the same build root.
func buildPackages(tarball string) (built packages, err error) {
	directory, err := filepath.Abs(filepath.Join(scratch, "rpm"))
	if err != nil {
		return built, err
	}
	built.root = directory + "/root"
	// The fastest compression is sufficient.
	build := []string{
		"rpm/build.sh", tarball, directory, "--without", "check", "--noclean", "--buildroot", built.root,
		"--define", "_binary_payload w1.gzdio",
	}
	if _, err := offline(root, append(build, "-ba")...); err != nil {
		return built, err
	}
	if _, err := offline(root, append(build, "-bb", "--short-circuit", "--define", "dist .next")...); err != nil {
		return built, err
	}
	all, err := filepath.Glob(directory + "/RPMS/*/*.rpm")
	if err != nil {
		return built, err
	}
	for _, path := range all {
		switch {
		case strings.Contains(path, "-debuginfo-"), strings.Contains(path, "-debugsource-"):
		case strings.Contains(path, ".next."):
			built.next = append(built.next, path)
		default:
			built.binary = append(built.binary, path)
		}
	}
	if built.source, err = filepath.Glob(directory + "/SRPMS/*.rpm"); err != nil {
		return built, err
	}
	if len(built.binary) == 0 || len(built.binary) != len(built.next) || len(built.source) != 1 {
		return built, fmt.Errorf("cannot find all packages below %s, only %v", directory, built)
	}
	return built, nil
}

// Files and dependencies that differ between builds, machines and versions of RPM, or that
// the test of licences checks.
var (
	variesOfFiles        = regexp.MustCompile(`^/usr/lib/\.build-id|/bundled-licences/|/doc/crypto-auditing/docs/`)
	variesOfDependencies = regexp.MustCompile(`^(rpmlib|rtld|user|group|bundled)\(|^ld-linux|^lib[a-z]+\.so|^/bin/sh`)
)

func TestPackagesMatchTheGoldenFile(t *testing.T) {
	built := rpms(t)
	var text strings.Builder
	slices.SortFunc(built.binary, func(a, b string) int { return cmp.Compare(filepath.Base(a), filepath.Base(b)) })
	for _, path := range built.binary {
		query := func(format string) []string {
			lines := strings.Split(strings.TrimSpace(mustRun(t, "/", "rpm", "-qp", "--qf", format, path)), "\n")
			slices.Sort(lines)
			return slices.Compact(lines)
		}
		fmt.Fprintf(&text, "%s\n", query(`%{NAME} (%|SOURCERPM?{%{ARCH}}:{}|), %{LICENSE}\n`)[0])
		for _, kind := range []string{"REQUIRE", "RECOMMEND", "PROVIDE"} {
			for _, line := range query("[" + strings.ToLower(kind) + "s: %{" + kind + "NEVRS}\n]") {
				if _, name, ok := strings.Cut(line, ": "); ok && !variesOfDependencies.MatchString(name) {
					fmt.Fprintf(&text, "    %s\n", line)
				}
			}
		}
		for _, line := range query(`[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILEFLAGS:fflags}\n]`) {
			if !variesOfFiles.MatchString(line) {
				fmt.Fprintf(&text, "    %s\n", strings.TrimSpace(line))
			}
		}
	}
	arch := strings.TrimSpace(mustRun(t, "/", "rpm", "--eval", "%{_arch}"))
	isa := strings.TrimSpace(mustRun(t, "/", "rpm", "--eval", "%{?_isa}"))
	got := strings.NewReplacer(" "+arch+",", " ARCH,", "("+arch+")", "(ARCH)", isa, "(ARCH)", version(t)+"-1", "VERSION").Replace(text.String())

	const golden = "testdata/packages.golden"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range difference(strings.Split(string(want), "\n"), strings.Split(got, "\n")) {
		t.Error(d)
	}
}

// difference lists the lines that only one of the texts has, with the name of the
// package, whose line is not indented.
func difference(want, got []string) (lines []string) {
	withPackage := func(lines []string) map[string]bool {
		set, name := map[string]bool{}, ""
		for _, line := range lines {
			if !strings.HasPrefix(line, " ") {
				name, _, _ = strings.Cut(line, " ")
				set[line] = true
				continue
			}
			set[name+": "+strings.TrimSpace(line)] = true
		}
		return set
	}
	wanted, have := withPackage(want), withPackage(got)
	for line := range wanted {
		if !have[line] {
			lines = append(lines, "missing: "+line)
		}
	}
	for line := range have {
		if !wanted[line] {
			lines = append(lines, "unexpected: "+line)
		}
	}
	slices.Sort(lines)
	return lines
}

func TestRpmlintReportsNothing(t *testing.T) {
	need(t, "rpmlint")
	built := rpms(t)
	arguments := slices.Concat(
		[]string{"rpmlint", "-c", "tests/package/rpmlint.toml", "-r", "rpm/crypto-auditing.rpmlintrc", "rpm/crypto-auditing.spec"},
		built.binary, built.source)
	output := mustRun(t, root, arguments...)
	if !strings.Contains(output, fmt.Sprintf("%d packages and 1 specfiles checked; 0 errors, 0 warnings", len(built.binary)+1)) {
		t.Error(output)
	}
}

func TestProgramsOfPackagesAreLinkedWithTheFlagsOfTheDistribution(t *testing.T) {
	built := rpms(t)
	directory := t.TempDir()
	for _, path := range built.binary {
		mustRun(t, directory, "sh", "-euc", `rpm2cpio "$1" | cpio -id --quiet`, "sh", path)
	}
	for _, program := range []string{"crauctl", "crau-agent", "crau-broker"} {
		path := filepath.Join(directory, "usr/bin", program)
		if needs := libraries(t, path); !slices.Contains(needs, "libc.so.6") {
			t.Errorf("%s is linked with %v, want libc.so.6", program, needs)
		}
		// Effects of the macros' LDFLAGS; a position-independent program.
		headers := mustRun(t, "/", "readelf", "--wide", "-hdl", path)
		for _, want := range []string{"BIND_NOW", "Flags: NOW PIE", "GNU_RELRO"} {
			if !strings.Contains(headers, want) {
				t.Errorf("%s is linked without %s", program, want)
			}
		}
		if got := strings.TrimSpace(mustRun(t, "/", path, "--version")); !strings.HasSuffix(got, " "+version(t)) {
			t.Errorf("the version of %s is %q, want %s", program, got, version(t))
		}
	}
}
