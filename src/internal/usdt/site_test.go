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
