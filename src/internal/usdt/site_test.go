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

func TestSitesBeforeAReturnAreTold(t *testing.T) {
	const one, five, ten = amd64Nop, amd64FiveNop, amd64TenNop
	for name, c := range map[string]struct {
		machine elf.Machine
		code    string
		want    bool
	}{
		"one":                        {elf.EM_X86_64, one + "\xc3", true},
		"one and five":               {elf.EM_X86_64, one + five + "\xc3", true},
		"one and ten":                {elf.EM_X86_64, one + ten + "\xc3", true},
		"all of them":                {elf.EM_X86_64, one + five + ten + "\xc3", true},
		"more than one of them":      {elf.EM_X86_64, five + five + one + one + "\xc3", true},
		"no no-operation":            {elf.EM_X86_64, "\xc3", true},
		"something between":          {elf.EM_X86_64, one + "\x48\x89\xf8\xc3", false},
		"something before a second":  {elf.EM_X86_64, one + "\x55" + one + "\xc3", false},
		"no return in the segment":   {elf.EM_X86_64, one + five, false},
		"no-operations without end":  {elf.EM_X86_64, strings.Repeat(one, 40) + "\xc3", false},
		"a return of another length": {elf.EM_X86_64, one + "\xc2\x08\x00", false},
		"arm64":                      {elf.EM_AARCH64, arm64Nop + "\xc0\x03\x5f\xd6", false},
	} {
		t.Run(name, func(t *testing.T) {
			n := uint64(len(c.code))
			e := &reader{r: strings.NewReader(c.code), size: n, machine: c.machine}
			s := Site{Addr: 0x4000}
			if _, err := e.nop([]Segment{{Vaddr: 0x4000, Filesz: n, Memsz: n, Flags: elf.PF_X}}, &s); err != nil {
				t.Fatal(err)
			}
			if s.ReturnFollows != c.want {
				t.Errorf("got %v, want %v", s.ReturnFollows, c.want)
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

func TestFiveByteNopIsGivenWhereTheKernelOptimises(t *testing.T) {
	for name, c := range map[string]struct {
		site         Site
		addr, offset uint64
		ok           bool
	}{
		"five":                          {Site{Addr: 0x2000, Offset: 0x1000, Nop: NopFive}, 0x2000, 0x1000, true},
		"one and five":                  {Site{Addr: 0x2000, Offset: 0x1000, Nop: NopOnePlusFive}, 0x2001, 0x1001, true},
		"one":                           {Site{Addr: 0x2000, Offset: 0x1000, Nop: NopOne}, 0, 0, false},
		"one and ten":                   {Site{Addr: 0x2000, Offset: 0x1000, Nop: NopOnePlusTen}, 0, 0, false},
		"none":                          {Site{Addr: 0x2000, Offset: 0x1000}, 0, 0, false},
		"up to the page's end":          {Site{Addr: 0x2ffb, Offset: 0xffb, Nop: NopFive}, 0x2ffb, 0xffb, true},
		"crossing a page":               {Site{Addr: 0x2ffc, Offset: 0xffc, Nop: NopFive}, 0x2ffc, 0xffc, false},
		"the five crossing a page":      {Site{Addr: 0x2ffb, Offset: 0xffb, Nop: NopOnePlusFive}, 0x2ffc, 0xffc, false},
		"the five on the next page":     {Site{Addr: 0x2fff, Offset: 0xfff, Nop: NopOnePlusFive}, 0x3000, 0x1000, true},
		"the last byte crossing":        {Site{Addr: 0x2fff, Offset: 0xfff, Nop: NopFive}, 0x2fff, 0xfff, false},
		"the five up to the page's end": {Site{Addr: 0x2ffa, Offset: 0xffa, Nop: NopOnePlusFive}, 0x2ffb, 0xffb, true},
	} {
		t.Run(name, func(t *testing.T) {
			addr, offset, ok := c.site.FiveByteNop()
			if ok != c.ok || ok && (addr != c.addr || offset != c.offset) {
				t.Errorf("got %#x, %#x, %v, want %#x, %#x, %v", addr, offset, ok, c.addr, c.offset, c.ok)
			}
		})
	}
}

func TestArgumentsBelowTheStackPointerAreSeen(t *testing.T) {
	for spec, want := range map[string]bool{
		"":                        false,
		"8@%rsp":                  false,
		"8@(%rsp) 8@8(%rsp)":      false,
		"8@-8(%rbp)":              false,
		"8@$-8 -8@-8(%rsp)":       true,
		"8@-128(%rsp) 8@16(%rax)": true,
	} {
		args, err := ParseArgs(elf.EM_X86_64, spec)
		if err != nil {
			t.Fatal(err)
		}
		if got := (&Site{Args: args}).BelowStackPointer(); got != want {
			t.Errorf("%q: got %v, want %v", spec, got, want)
		}
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
