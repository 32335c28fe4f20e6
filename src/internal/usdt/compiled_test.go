// SPDX-License-Identifier: Apache-2.0

package usdt

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// compile builds testdata/publisher.c with the distribution's <sys/sdt.h> for
// the machine of the compiler.
func compile(t *testing.T, compiler string, flags ...string) string {
	t.Helper()
	if _, err := exec.LookPath(compiler); err != nil {
		t.Skipf("%s is not installed", compiler)
	}
	include := ""
	for _, dir := range []string{"/usr/include", "/usr/include/x86_64-linux-gnu", "/usr/include/aarch64-linux-gnu"} {
		if _, err := os.Stat(filepath.Join(dir, "sys/sdt.h")); err == nil {
			include = dir
		}
	}
	if include == "" {
		t.Skip("<sys/sdt.h> is not installed (package systemtap-sdt-dev)")
	}
	path := filepath.Join(t.TempDir(), "publisher")
	// The header is the same for all machines, but its directory may have C library
	// headers of another machine, which must not be found first.
	args := append([]string{"-w", "-idirafter", include, "-o", path, "testdata/publisher.c"}, flags...)
	run(t, compiler, args...)
	return path
}

// readelfSites returns the output of readelf for the probe notes of a file, one line
// each.
func readelfSites(t *testing.T, path string) []string {
	t.Helper()
	if _, err := exec.LookPath("readelf"); err != nil {
		t.Skip("readelf is not installed")
	}
	note := regexp.MustCompile(`(?m)^ +Provider: (.*)\n +Name: (.*)\n +Location: (\w+), Base: \w+, Semaphore: (\w+)\n +Arguments: ?(.*)$`)
	out := run(t, "readelf", "-n", "-W", path)
	out = strings.ReplaceAll(out, "    Provider:", "\n    Provider:")
	var lines []string
	for _, m := range note.FindAllStringSubmatch(out, -1) {
		lines = append(lines, fmt.Sprintf("%s:%s %s %s %q", m[1], m[2], m[3], m[4], m[5]))
	}
	return lines
}

// sites returns the same lines for a File that was not prelinked.
func sites(f *File) []string {
	var lines []string
	for _, s := range f.Sites {
		lines = append(lines, fmt.Sprintf("%s:%s 0x%016x 0x%016x %q", s.Provider, s.Name, s.Addr, s.SemaphoreAddr, s.RawArgs))
	}
	return lines
}

func compareWithReadelf(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range f.Errors {
		t.Error(err)
	}
	got, want := strings.Join(sites(f), "\n"), strings.Join(readelfSites(t, path), "\n")
	if got != want {
		t.Errorf("%s: got\n%s\nreadelf prints\n%s", path, got, want)
	}
	return f
}

func TestCompiledProbesMatchReadelf(t *testing.T) {
	for _, compiler := range []string{"gcc", "aarch64-linux-gnu-gcc"} {
		for _, level := range []string{"-O0", "-O1", "-O2", "-O3", "-Os"} {
			t.Run(compiler+" "+level, func(t *testing.T) {
				f := compareWithReadelf(t, compile(t, compiler, level))
				if len(f.Sites) < 9 {
					t.Errorf("%d sites, want 9 or more", len(f.Sites))
				}
				for _, s := range f.Sites {
					if s.Nop != NopOne {
						t.Errorf("%s at %#x is at a nop of kind %s, want one", s.Name, s.Addr, s.Nop)
					}
				}
			})
		}
	}
}

func TestSystemLibrariesMatchReadelf(t *testing.T) {
	found := 0
	for _, pattern := range []string{"/usr/lib/*/libc.so.6", "/usr/lib64/libc.so.6", "/usr/lib/*/libstdc++.so.6", "/usr/lib64/libstdc++.so.6",
		"/usr/lib/*/libm.so.6", "/usr/lib/*/ld-linux*"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			t.Run(path, func(t *testing.T) {
				found++
				compareWithReadelf(t, path)
			})
		}
	}
	if found == 0 {
		t.Skip("no library of the system was found")
	}
}
