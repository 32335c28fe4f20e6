// SPDX-License-Identifier: Apache-2.0

package usdt

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/elffile"
)

// fixtures are the ELF files of testdata with the compiler of their source. They are
// committed, so that most tests need no compiler.
var fixtures = map[string]string{
	"amd64":     "gcc",
	"arm64":     "aarch64-linux-gnu-gcc",
	"prelinked": "gcc",
	"symbols":   "gcc",
}

// build compiles the source of a fixture to the file at path.
func build(t *testing.T, name, path string) {
	t.Helper()
	compiler := fixtures[name]
	if _, err := exec.LookPath(compiler); err != nil {
		t.Skipf("%s is not installed", compiler)
	}
	run(t, compiler, "-nostdlib", "-shared", "-s", "-o", path, filepath.Join("testdata", name+".S"),
		"-Wl,-z,max-page-size=4096", "-Wl,-z,noseparate-code", "-Wl,--hash-style=gnu",
		"-Wl,--build-id=0x000102030405060708090a0b0c0d0e0f10111213")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		var stderr []byte
		if exit, ok := err.(*exec.ExitError); ok {
			stderr = exit.Stderr
		}
		t.Fatalf("%s: %v\n%s", cmd, err, stderr)
	}
	return string(out)
}

// describe returns the contents of a File as text.
func describe(f *File) string {
	var b strings.Builder
	fmt.Fprintf(&b, "machine %s\nbuild-id %x\n", elffile.MachineName(f.Machine), f.BuildID)
	for _, s := range f.Segments {
		fmt.Fprintf(&b, "segment %#x offset %#x file %#x memory %#x flags %s\n", s.Vaddr, s.Off, s.Filesz, s.Memsz, s.Flags)
	}
	for _, s := range f.Sites {
		fmt.Fprintf(&b, "site %s:%s %#x offset %#x semaphore %#x offset %#x nop %s %q\n",
			s.Provider, s.Name, s.Addr, s.Offset, s.SemaphoreAddr, s.SemaphoreOffset, s.Nop, s.RawArgs)
		for i := range s.Args {
			fmt.Fprintf(&b, "\t%s: %s\n", s.Args[i].Kind, s.Args[i].String())
		}
	}
	for _, err := range f.Errors {
		fmt.Fprintf(&b, "error %v\n", err)
	}
	fmt.Fprintf(&b, "dropped %d\n", f.Dropped)
	return b.String()
}

func TestCommittedFilesReadAsRecorded(t *testing.T) {
	for name := range fixtures {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", name+".elf")
			golden := filepath.Join("testdata", name+".golden")
			update := os.Getenv("UPDATE_GOLDEN") == "1"
			if update {
				build(t, name, path)
			}
			f, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			if f.Path != path {
				t.Errorf("Path is %q, want %q", f.Path, path)
			}
			got := describe(f)
			if update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s reads as\n%s\nwant (UPDATE_GOLDEN=1 rewrites it)\n%s", path, got, want)
			}
		})
	}
}

// Addresses are not compared, because they depend on the linker.
func TestCommittedFilesMatchTheirSources(t *testing.T) {
	for name := range fixtures {
		t.Run(name, func(t *testing.T) {
			built := filepath.Join(t.TempDir(), name+".elf")
			build(t, name, built)
			a, err := Open(built)
			if err != nil {
				t.Fatal(err)
			}
			b, err := Open(filepath.Join("testdata", name+".elf"))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := withoutAddresses(a), withoutAddresses(b); got != want {
				t.Errorf("the source gives\n%s\nthe committed file\n%s", got, want)
			}
		})
	}
}

func withoutAddresses(f *File) string {
	c := *f
	c.Segments, c.Sites, c.Errors = nil, nil, nil
	for _, s := range f.Sites {
		s.Addr, s.Offset, s.SemaphoreAddr, s.SemaphoreOffset = 0, 0, min(s.SemaphoreAddr, 1), min(s.SemaphoreOffset, 1)
		s.Args = slices.Clone(s.Args)
		for i := range s.Args {
			if s.Args[i].Kind == capture.ArgImageMem {
				s.Args[i].Off = 0
			}
		}
		c.Sites = append(c.Sites, s)
	}
	for _, err := range f.Errors {
		e := *err.(*NoteError)
		e.Err = nil
		c.Errors = append(c.Errors, &e)
	}
	return describe(&c)
}

func TestPrelinkedFileIsCorrected(t *testing.T) {
	f, err := Open(filepath.Join("testdata", "prelinked.elf"))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Sites) != 2 || len(f.Errors) != 0 {
		t.Fatalf("%d sites and errors %v, want 2 and none", len(f.Sites), f.Errors)
	}
	s := f.Sites[0]
	if s.Nop != NopOne {
		t.Errorf("the site at %#x is not a nop: the address was not corrected", s.Addr)
	}
	if s.SemaphoreAddr == 0 || s.SemaphoreOffset == 0 {
		t.Errorf("semaphore at address %#x, offset %#x: want both", s.SemaphoreAddr, s.SemaphoreOffset)
	}
	if f.Sites[1].SemaphoreAddr != 0 || f.Sites[1].SemaphoreOffset != 0 {
		t.Error("the correction added a semaphore to a site without one")
	}
}
