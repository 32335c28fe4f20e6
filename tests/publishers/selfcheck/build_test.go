// SPDX-License-Identifier: Apache-2.0

// Package selfcheck tests the publisher header bpf/crau and the publishers with real
// compilers and the real kernel, without the agent.
package selfcheck

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// includeDir is the directory that contains crau/.
const includeDir = "../../../bpf"

// build is one way to compile C.
type build struct {
	compiler string
	flags    []string
}

func (b build) String() string {
	return strings.Join(append([]string{b.compiler}, b.flags...), " ")
}

// with returns b with more flags.
func (b build) with(flags ...string) build {
	return build{b.compiler, append(append([]string{}, b.flags...), flags...)}
}

// needCompiler skips the test if a compiler is not installed. It fails the test without
// gcc.
func needCompiler(t *testing.T, compiler string) {
	t.Helper()
	if _, err := exec.LookPath(compiler); err == nil {
		return
	}
	if compiler == "gcc" {
		t.Fatal("gcc is not installed, and all publishers need it")
	}
	t.Skipf("%s is not installed", compiler)
}

// compile compiles a source file and returns the path of the result.
func (b build) compile(t *testing.T, source string, more ...string) string {
	t.Helper()
	needCompiler(t, b.compiler)
	out := filepath.Join(t.TempDir(), "out")
	args := append([]string{"-I" + includeDir, "-o", out}, b.flags...)
	args = append(args, source)
	run(t, exec.Command(b.compiler, append(args, more...)...))
	return out
}

// run runs a command and returns its standard output. If the command fails, the test fails
// with its output.
func run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", cmd, err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.String()
}

// strict are warnings that the header must not cause.
var strict = []string{"-Wall", "-Wextra", "-Wshadow", "-pedantic", "-Werror"}

// languages are the compilers and language versions that the header supports.
var languages = []build{
	{"gcc", []string{"-std=c99"}},
	{"gcc", []string{"-std=c11"}},
	{"gcc", []string{"-std=gnu17"}},
	{"g++", []string{"-x", "c++", "-std=c++11"}},
	{"g++", []string{"-x", "c++", "-std=c++20"}},
	{"clang", []string{"-std=c99"}},
	{"clang", []string{"-std=c11"}},
	{"clang++", []string{"-x", "c++", "-std=c++17"}},
}

// modes are compiler options that have broken probes in other projects.
var modes = [][]string{
	{"-O0"},
	{"-O1", "-fPIE"},
	{"-O2"},
	{"-O2", "-fPIC", "-fno-plt", "-fvisibility=hidden"},
	{"-O3", "-fPIC", "-flto"},
	{"-Os", "-ffunction-sections", "-fdata-sections"},
	{"-O2", "-fcf-protection=full", "-fstack-protector-all"},
	{"-O2", "-g", "-fno-asynchronous-unwind-tables"},
	{"-O1", "-pg"},
}

// enabling are the ways to enable or disable probes.
var enabling = map[string][]string{
	"default":              nil,
	"probes":               {"-DCRAU_ENABLE"},
	"probes, public name":  {"-DENABLE_CRYPTO_AUDITING=1"},
	"probes, no semaphore": {"-DCRAU_ENABLE=1", "-DCRAU_NO_SEMAPHORE"},
	"probes disabled":      {"-DCRAU_ENABLE=0"},
}

func TestHeaderCompilesWithoutWarning(t *testing.T) {
	for _, language := range languages {
		t.Run(language.String(), func(t *testing.T) {
			t.Parallel()
			for _, mode := range modes {
				for _, enable := range enabling {
					b := language.with(strict...).with(mode...).with(enable...).with("-c")
					b.compile(t, "testdata/every.c")
				}
			}
			language.with(strict...).with("-O2", "-DCRAU_ENABLE", "-c").compile(t, "testdata/unused.c")
		})
	}
}

func TestHeaderCompilesForArm64(t *testing.T) {
	for _, b := range []build{
		{"aarch64-linux-gnu-gcc", nil},
		{"clang", []string{"--target=aarch64-linux-gnu"}},
	} {
		t.Run(b.compiler, func(t *testing.T) {
			for mode, least := range map[string]int{"-O0": len(headerArgs), "-O2": 15, "-O3": 15} {
				object := b.with("-ffreestanding", "-std=c11", mode, "-fPIC", "-DCRAU_ENABLE", "-c").
					with(strict...).compile(t, "testdata/every.c")
				sites := readSites(t, object)
				if len(sites) < least {
					t.Errorf("%s: %d sites, want at least %d", mode, len(sites), least)
				}
				for _, s := range sites {
					for _, spec := range strings.Fields(s.args) {
						if !strings.HasPrefix(spec, "8@x") {
							t.Errorf("%s: argument %q of %s is not a 64-bit register", mode, spec, s.probe)
						}
					}
				}
			}
		})
	}
}

func TestDisabledHeaderGeneratesNoCode(t *testing.T) {
	for _, language := range languages {
		for _, optimise := range []string{"-O0", "-O2"} {
			t.Run(fmt.Sprint(language, " ", optimise), func(t *testing.T) {
				b := language.with(optimise, "-c")
				with := loadedSections(t, b.compile(t, "testdata/every.c"))
				without := loadedSections(t, b.with("-DNOTHING").compile(t, "testdata/every.c"))
				if optimise == "-O0" {
					// Unoptimised code also reserves stack space for unused
					// variables, and then needs longer offsets.
					const reserve = 32
					if extra := len(with[".text"]) - len(without[".text"]); extra > reserve {
						t.Errorf("%d bytes more code with unused probes", extra)
					}
					for _, sections := range []map[string][]byte{with, without} {
						delete(sections, ".text")
						delete(sections, ".eh_frame")
					}
				}
				if fmt.Sprint(with) != fmt.Sprint(without) {
					t.Errorf("loaded sections with unused probes:\n%v\nwithout any:\n%v", with, without)
				}
			})
		}
	}
}

func TestUnusedHeaderHasNoSites(t *testing.T) {
	for _, language := range languages {
		for _, optimise := range []string{"-O0", "-O2"} {
			object := language.with(optimise, "-DCRAU_ENABLE", "-c").compile(t, "testdata/unused.c")
			if sites := readSites(t, object); len(sites) != 0 {
				t.Errorf("%s %s: %d sites in a file that fires nothing", language, optimise, len(sites))
			}
		}
	}
}

func TestMoreThanSixteenItemsAreRefused(t *testing.T) {
	item := `CRAU_WORD("a::b", 1),`
	source := func(n int) string {
		return "#include \"crau/macros.h\"\nvoid f(void);\nvoid f(void) { CRAU_DATAV(1, " +
			strings.TrimSuffix(strings.Repeat(item, n), ",") + "); }\n"
	}
	for n, accepted := range map[int]bool{16: true, 17: false} {
		cmd := exec.Command("gcc", "-DCRAU_ENABLE", "-I"+includeDir, "-x", "c", "-fsyntax-only", "-")
		cmd.Stdin = strings.NewReader(source(n))
		out, err := cmd.CombinedOutput()
		if (err == nil) != accepted {
			t.Errorf("%d items: accepted %v, want %v\n%s", n, err == nil, accepted, out)
		}
		if !accepted && !strings.Contains(string(out), "crau_more_than_16_items_") {
			t.Errorf("%d items: the error does not name the reason:\n%s", n, out)
		}
	}
}

func TestContextStack(t *testing.T) {
	for _, b := range []build{
		{"gcc", []string{"-O0"}},
		{"gcc", []string{"-O2", "-flto"}},
		{"clang", []string{"-O2"}},
		{"g++", []string{"-x", "c++", "-O2"}},
	} {
		t.Run(b.String(), func(t *testing.T) {
			run(t, exec.Command(b.with("-DCRAU_ENABLE").compile(t, "testdata/stack.c")))
		})
	}
}
