// SPDX-License-Identifier: Apache-2.0

package usdt

import (
	"bytes"
	"debug/elf"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestKindsOfNoOperationsAreToldApart(t *testing.T) {
	for name, c := range map[string]struct {
		machine elf.Machine
		code    string
		want    NopKind
	}{
		"one":                   {elf.EM_X86_64, "\x90\xc3", NopOne},
		"one and five":          {elf.EM_X86_64, "\x90\x0f\x1f\x44\x00\x00\xc3", NopOnePlusFive},
		"one and most of five":  {elf.EM_X86_64, "\x90\x0f\x1f\x44\x00", NopOne},
		"one and another five":  {elf.EM_X86_64, "\x90\x66\x0f\x1f\x40\x00", NopOne},
		"five":                  {elf.EM_X86_64, "\x0f\x1f\x44\x00\x00", NopFive},
		"five with an operand":  {elf.EM_X86_64, "\x0f\x1f\x44\x00\x01", NopNone},
		"four":                  {elf.EM_X86_64, "\x0f\x1f\x40\x00\xc3", NopNone},
		"one and ten":           {elf.EM_X86_64, "\x90\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00", NopOnePlusTen},
		"one and most of ten":   {elf.EM_X86_64, "\x90\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00", NopOne},
		"ten":                   {elf.EM_X86_64, "\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00", NopTen},
		"return":                {elf.EM_X86_64, "\xc3\x90\x90", NopNone},
		"xchg with a prefix":    {elf.EM_X86_64, "\x66\x90", NopNone},
		"arm64":                 {elf.EM_AARCH64, "\x1f\x20\x03\xd5", NopOne},
		"arm64 return":          {elf.EM_AARCH64, "\xc0\x03\x5f\xd6", NopNone},
		"arm64 cut":             {elf.EM_AARCH64, "\x1f\x20\x03", NopNone},
		"x86-64's one on arm64": {elf.EM_AARCH64, "\x90\x90\x90\x90", NopNone},
	} {
		t.Run(name, func(t *testing.T) {
			const vaddr, off = 0x4010, 16
			b := append(make([]byte, off), c.code...)
			// Bytes after the segment are none of its own.
			n := uint64(len(c.code))
			b = append(b, make([]byte, 16)...)
			e := &reader{r: bytes.NewReader(b), size: uint64(len(b)), machine: c.machine}
			segments := []Segment{{Vaddr: vaddr, Off: off, Filesz: n, Memsz: n, Flags: elf.PF_X}}
			got, err := e.nop(segments, &Site{Addr: vaddr, Offset: off})
			if err != nil || got != c.want {
				t.Errorf("got %s and error %v, want %s", got, err, c.want)
			}
		})
	}
}

func TestParametersOfTheProbesAreKnown(t *testing.T) {
	for probe, want := range map[string]string{
		"new_context":           "context parent",
		"word_data":             "context key value",
		"string_data":           "context key value",
		"blob_data":             "context key value size",
		"data":                  "context array count",
		"new_context_with_data": "context parent array count",
	} {
		if got, ok := Parameters(probe); !ok || strings.Join(got, " ") != want {
			t.Errorf("%s has the parameters %q, want %s", probe, got, want)
		}
	}
	if got, ok := Parameters("setjmp"); ok || got != nil {
		t.Errorf("a probe of the C library has the parameters %q", got)
	}
}

func TestOpenNamesTheFileAndTheReason(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexec true\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, why := range map[string]string{
		filepath.Join(dir, "missing"): "no such file or directory",
		dir:                           "not a regular file",
		fifo:                          "not a regular file",
		"/dev/zero":                   "not a regular file",
		script:                        "not an ELF file",
	} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f, err := Open(path)
			if err == nil {
				t.Fatalf("got %+v, want an error", f)
			}
			if want := "cannot read the probes of " + path + ": " + why; err.Error() != want {
				t.Errorf("the error is %q, want %q", err, want)
			}
		})
	}
	if _, err := Open(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the error of a missing file is %v, want fs.ErrNotExist inside", err)
	}
}

func TestProvidersOfTheAuditAreAccepted(t *testing.T) {
	for _, p := range Providers() {
		if !Accepted(p) {
			t.Errorf("%s is listed and not accepted", p)
		}
	}
	if Providers()[0] != Provider {
		t.Errorf("the first provider is %s, want %s", Providers()[0], Provider)
	}
	for _, p := range []string{"", "libc", "crypto", strings.ToUpper(Provider)} {
		if Accepted(p) {
			t.Errorf("%q is accepted", p)
		}
	}
}
