// SPDX-License-Identifier: Apache-2.0

package usdt

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/elffile"
)

func TestKindsOfNopsAreDistinguished(t *testing.T) {
	for name, c := range map[string]struct {
		machine elf.Machine
		code    string
		want    NopKind
	}{
		"one":                    {elf.EM_X86_64, "\x90\xc3", NopOne},
		"one and five":           {elf.EM_X86_64, "\x90\x0f\x1f\x44\x00\x00\xc3", NopOnePlusFive},
		"one and a cut five":     {elf.EM_X86_64, "\x90\x0f\x1f\x44\x00", NopOne},
		"one and a similar five": {elf.EM_X86_64, "\x90\x66\x0f\x1f\x40\x00", NopOne},
		"five":                   {elf.EM_X86_64, "\x0f\x1f\x44\x00\x00", NopFive},
		"five with an operand":   {elf.EM_X86_64, "\x0f\x1f\x44\x00\x01", NopNone},
		"four":                   {elf.EM_X86_64, "\x0f\x1f\x40\x00\xc3", NopNone},
		"one and ten":            {elf.EM_X86_64, "\x90\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00", NopOnePlusTen},
		"one and a cut ten":      {elf.EM_X86_64, "\x90\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00", NopOne},
		"ten":                    {elf.EM_X86_64, "\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00", NopTen},
		"return":                 {elf.EM_X86_64, "\xc3\x90\x90", NopNone},
		"xchg with a prefix":     {elf.EM_X86_64, "\x66\x90", NopNone},
		"arm64":                  {elf.EM_AARCH64, "\x1f\x20\x03\xd5", NopOne},
		"arm64 return":           {elf.EM_AARCH64, "\xc0\x03\x5f\xd6", NopNone},
		"arm64 cut":              {elf.EM_AARCH64, "\x1f\x20\x03", NopNone},
		"x86-64's one on arm64":  {elf.EM_AARCH64, "\x90\x90\x90\x90", NopNone},
	} {
		t.Run(name, func(t *testing.T) {
			const vaddr, off = 0x4010, 64 + 56
			n := uint64(len(c.code))
			e, err := elffile.New(bytes.NewReader(minimal(c.machine, vaddr, off, c.code)), off+int64(n)+16)
			if err != nil {
				t.Fatal(err)
			}
			image := &capture.Image{Segments: []capture.Segment{{Vaddr: vaddr, Off: off, Filesz: n, Memsz: n, Flags: elf.PF_X}}}
			got, err := nopAt(e, image, &Site{Addr: vaddr, Offset: off})
			if err != nil || got != c.want {
				t.Errorf("got %s and error %v, want %s", got, err, c.want)
			}
		})
	}
}

// minimal returns an ELF file with one segment of code, followed by 16 bytes outside of the
// segment.
func minimal(machine elf.Machine, vaddr, off uint64, code string) []byte {
	le := binary.LittleEndian
	b := append([]byte(elf.ELFMAG), byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1)
	b = append(b, make([]byte, 64-len(b))...)
	le.PutUint16(b[16:], uint16(elf.ET_DYN))
	le.PutUint16(b[18:], uint16(machine))
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	p := make([]byte, 56)
	le.PutUint32(p, uint32(elf.PT_LOAD))
	le.PutUint32(p[4:], uint32(elf.PF_X))
	le.PutUint64(p[8:], off)
	le.PutUint64(p[16:], vaddr)
	le.PutUint64(p[32:], uint64(len(code)))
	le.PutUint64(p[40:], uint64(len(code)))
	b = append(append(b, p...), code...)
	return append(b, make([]byte, 16)...)
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
		t.Errorf("the error of a missing file is %v, want fs.ErrNotExist", err)
	}
}

func TestStringsOfARealFileAreRead(t *testing.T) {
	b := fixture(t, "amd64")
	f, err := parse(b)
	if err != nil {
		t.Fatal(err)
	}
	at := uint64(bytes.Index(b, []byte("tls::handshake\x00")))
	if got, ok := f.StringAt(bytes.NewReader(b), at, 64); !ok || string(got) != "tls::handshake" {
		t.Errorf("got %q, %v", got, ok)
	}
	changing := uint64(bytes.Index(b, []byte("may have changed")))
	if got, ok := f.StringAt(bytes.NewReader(b), changing-0x1000+0x2000, 64); ok {
		t.Errorf("got %q from the data segment", got)
	}
}
