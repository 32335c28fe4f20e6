// SPDX-License-Identifier: Apache-2.0

package usdt

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"crypto-auditing/src/internal/elffile"
)

// fixture returns the bytes of a committed ELF file, which the test may change.
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".elf"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(b []byte) (*File, error) { return Parse(bytes.NewReader(b), int64(len(b))) }

// sectionHeader returns the offset of the header of a section.
func sectionHeader(t testing.TB, b []byte, name string) int {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range f.Sections {
		if s.Name == name {
			return int(binary.LittleEndian.Uint64(b[40:])) + i*64
		}
	}
	t.Fatalf("the file has no section %s", name)
	return 0
}

func TestUnsupportedKindsOfFilesAreRefused(t *testing.T) {
	le := binary.LittleEndian
	for name, c := range map[string]struct {
		change func(b []byte)
		want   string
	}{
		"ppc64le":   {func(b []byte) { le.PutUint16(b[18:], uint16(elf.EM_PPC64)) }, "ppc64le"},
		"s390x":     {func(b []byte) { b[5] = 2; binary.BigEndian.PutUint16(b[18:], uint16(elf.EM_S390)) }, "s390x"},
		"riscv":     {func(b []byte) { le.PutUint16(b[18:], uint16(elf.EM_RISCV)) }, "riscv"},
		"loongarch": {func(b []byte) { le.PutUint16(b[18:], uint16(elf.EM_LOONGARCH)) }, "loongarch"},
		"mips":      {func(b []byte) { le.PutUint16(b[18:], uint16(elf.EM_MIPS)) }, "mips"},
		"unknown":   {func(b []byte) { le.PutUint16(b[18:], 0xfedc) }, "number 65244"},
		"i386":      {func(b []byte) { b[4] = 1; le.PutUint16(b[18:], uint16(elf.EM_386)) }, "32-bit ELF file for i386"},
		"x32":       {func(b []byte) { b[4] = 1 }, "32-bit ELF file for x86-64"},
		"arm":       {func(b []byte) { b[4] = 1; le.PutUint16(b[18:], uint16(elf.EM_ARM)) }, "32-bit ELF file for arm"},
		"arm64 big-endian": {func(b []byte) { b[5] = 2; binary.BigEndian.PutUint16(b[18:], uint16(elf.EM_AARCH64)) },
			"aarch64_be"},
		"object file": {func(b []byte) { le.PutUint16(b[16:], uint16(elf.ET_REL)) }, "kind of ELF file REL"},
		"core file":   {func(b []byte) { le.PutUint16(b[16:], uint16(elf.ET_CORE)) }, "kind of ELF file CORE"},
	} {
		t.Run(name, func(t *testing.T) {
			b := fixture(t, "amd64")
			c.change(b)
			_, err := parse(b)
			var unsupported *UnsupportedError
			if !errors.As(err, &unsupported) {
				t.Fatalf("got error %v, want an UnsupportedError", err)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %q, want one with %q", err, c.want)
			}
		})
	}
}

func TestBrokenFilesAreTypedErrors(t *testing.T) {
	le := binary.LittleEndian
	huge := uint64(1) << 63
	for name, c := range map[string]struct {
		change func(t *testing.T, b []byte) []byte
		what   string
	}{
		"byte order":          {func(_ *testing.T, b []byte) []byte { b[5] = 3; return b }, "ELF header"},
		"class":               {func(_ *testing.T, b []byte) []byte { b[4] = 9; return b }, "ELF header"},
		"cut in identity":     {func(_ *testing.T, b []byte) []byte { return b[:17] }, "ELF header"},
		"cut in header":       {func(_ *testing.T, b []byte) []byte { return b[:40] }, "ELF header"},
		"cut in half":         {func(_ *testing.T, b []byte) []byte { return b[:len(b)/2] }, "section headers"},
		"no segments":         {func(_ *testing.T, b []byte) []byte { le.PutUint16(b[56:], 0); return b }, "program headers"},
		"many segments":       {func(_ *testing.T, b []byte) []byte { le.PutUint16(b[56:], 0xfffe); return b }, "program headers"},
		"odd segment headers": {func(_ *testing.T, b []byte) []byte { le.PutUint16(b[54:], 57); return b }, "program headers"},
		"segments beyond end": {func(_ *testing.T, b []byte) []byte { le.PutUint64(b[32:], huge); return b }, "program headers"},
		"sections beyond end": {func(_ *testing.T, b []byte) []byte { le.PutUint64(b[40:], ^uint64(0)); return b }, "section headers"},
		"odd section headers": {func(_ *testing.T, b []byte) []byte { le.PutUint16(b[58:], 63); return b }, "section headers"},
		"no name section":     {func(_ *testing.T, b []byte) []byte { le.PutUint16(b[62:], 99); return b }, "section names"},
		"endless sections without a number": {func(_ *testing.T, b []byte) []byte {
			le.PutUint16(b[60:], 0)
			le.PutUint64(b[le.Uint64(b[40:])+32:], huge)
			return b
		}, "section headers"},
		"many section names": {func(t *testing.T, b []byte) []byte {
			le.PutUint64(b[sectionHeader(t, b, ".shstrtab")+32:], elffile.MaxSectionNames+1)
			return b
		}, "section names"},
		"segment beyond the end": {func(_ *testing.T, b []byte) []byte {
			le.PutUint64(b[64+32:], uint64(len(b)))
			le.PutUint64(b[64+8:], 1)
			return b
		}, "program header 0"},
		"segment larger than its memory": {func(_ *testing.T, b []byte) []byte { le.PutUint64(b[64+40:], 1); return b },
			"program header 0"},
		"segment beyond the address space": {func(_ *testing.T, b []byte) []byte { le.PutUint64(b[64+16:], ^uint64(0)); return b },
			"program header 0"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(c.change(t, fixture(t, "amd64")))
			var format *FormatError
			if !errors.As(err, &format) {
				t.Fatalf("got error %v, want a FormatError", err)
			}
			if format.Part != c.what || !strings.HasPrefix(err.Error(), c.what+": ") {
				t.Errorf("the error is %q, want one about the %s", err, c.what)
			}
		})
	}
}

func TestFilesThatAreNotELFAreReported(t *testing.T) {
	for name, b := range map[string]string{"empty": "", "short": "\x7fELF", "text": "#!/bin/sh\necho hello\n"} {
		t.Run(name, func(t *testing.T) {
			if _, err := parse([]byte(b)); !errors.Is(err, ErrNotELF) {
				t.Errorf("got error %v, want ErrNotELF", err)
			}
		})
	}
}

// failing is a file whose reads fail after an offset.
type failing struct {
	io.ReaderAt
	from int64
}

var errDisk = errors.New("the disk is gone")

func (f failing) ReadAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) > f.from {
		return 0, errDisk
	}
	return f.ReaderAt.ReadAt(b, off)
}

// A failed read must not look like a file without probes.
func TestFailedReadsAreErrors(t *testing.T) {
	b := fixture(t, "amd64")
	want, err := parse(b)
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for from := range int64(len(b)) {
		f, err := Parse(failing{bytes.NewReader(b), from}, int64(len(b)))
		switch {
		case errors.Is(err, errDisk):
			failed++
		case err != nil:
			t.Fatalf("reads fail from %d: got error %v", from, err)
		case len(f.Sites) != len(want.Sites):
			t.Fatalf("reads fail from %d: %d sites and no error, want %d", from, len(f.Sites), len(want.Sites))
		}
	}
	if failed == 0 {
		t.Error("no read failed")
	}
}

func TestFileShrinkingWhileReadIsAnError(t *testing.T) {
	b := fixture(t, "amd64")
	_, err := Parse(bytes.NewReader(b[:len(b)-100]), int64(len(b)))
	var format *FormatError
	if !errors.As(err, &format) || !strings.Contains(format.Reason, "cut off") {
		t.Errorf("got error %v, want a FormatError about a truncated file", err)
	}
}

// testNote returns a note as <sys/sdt.h> writes it.
func testNote(owner string, typ uint32, addr, base, semaphore uint64, texts string) []byte {
	le := binary.LittleEndian
	desc := le.AppendUint64(nil, addr)
	desc = le.AppendUint64(desc, base)
	desc = le.AppendUint64(desc, semaphore)
	desc = append(desc, texts...)
	b := le.AppendUint32(nil, uint32(len(owner)+1))
	b = le.AppendUint32(b, uint32(len(desc)))
	b = le.AppendUint32(b, typ)
	b = pad(append(append(b, owner...), 0))
	return pad(append(b, desc...))
}

func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// withNotes returns the amd64 file with other probe notes.
func withNotes(t testing.TB, notes []byte) []byte {
	t.Helper()
	b := fixture(t, "amd64")
	return replaceNotes(b, sectionHeader(t, b, probeNoteSection), notes)
}

// replaceNotes replaces the content of the section whose header is at h in b.
func replaceNotes(b []byte, h int, notes []byte) []byte {
	le := binary.LittleEndian
	le.PutUint64(b[h+24:], uint64(len(b)))
	le.PutUint64(b[h+32:], uint64(len(notes)))
	return append(b, notes...)
}

// codeAddr returns the address of a site of the amd64 file.
func codeAddr(t testing.TB) uint64 {
	f, err := parse(fixture(t, "amd64"))
	if err != nil {
		t.Fatal(err)
	}
	return f.Sites[0].Addr
}

func TestBadNoteDoesNotHideGoodOnes(t *testing.T) {
	addr := codeAddr(t)
	good := testNote("stapsdt", 3, addr, 0, 0, "crypto_auditing\x00data\x008@%rax\x00")
	for name, c := range map[string]struct {
		bad  []byte
		want string
	}{
		"version":            {testNote("stapsdt", 4, addr, 0, 0, "a\x00b\x00\x00"), "cannot use probe note 1: version 4"},
		"short":              {testNote("stapsdt", 3, addr, 0, 0, "")[:44], "note 1: its provider has no end"},
		"no strings":         {testNote("stapsdt", 3, addr, 0, 0, ""), "its provider has no end"},
		"provider unended":   {testNote("stapsdt", 3, addr, 0, 0, "abc"), "its provider has no end"},
		"provider empty":     {testNote("stapsdt", 3, addr, 0, 0, "\x00b\x00\x00"), "its provider is empty"},
		"provider long":      {testNote("stapsdt", 3, addr, 0, 0, strings.Repeat("a", 129)+"\x00b\x00\x00"), "provider has 129 bytes"},
		"provider newline":   {testNote("stapsdt", 3, addr, 0, 0, "a\nb\x00b\x00\x00"), `not text: "a\nb"`},
		"provider not UTF-8": {testNote("stapsdt", 3, addr, 0, 0, "\xff\x00b\x00\x00"), "not text"},
		"provider blank":     {testNote("stapsdt", 3, addr, 0, 0, "a b\x00b\x00\x00"), "not text"},
		"escape sequence":    {testNote("stapsdt", 3, addr, 0, 0, "a\x00\x1b[2J\x00\x00"), "not text"},
		"name unended":       {testNote("stapsdt", 3, addr, 0, 0, "a\x00b"), "its name has no end"},
		"name empty":         {testNote("stapsdt", 3, addr, 0, 0, "a\x00\x00\x00"), "its name is empty"},
		"arguments unended":  {testNote("stapsdt", 3, addr, 0, 0, "a\x00b\x008@%rax"), "(a:b): its argument specification has no end"},
		"arguments long": {testNote("stapsdt", 3, addr, 0, 0, "a\x00b\x00"+strings.Repeat("8@%rax ", 150)+"\x00"),
			"has 1050 bytes"},
		"arguments wrong": {testNote("stapsdt", 3, addr, 0, 0, "a\x00b\x008@x0\x00"), `(a:b): argument "8@x0"`},
		"no address":      {testNote("stapsdt", 3, 0, 0, 0, "a\x00b\x00\x00"), "(a:b): its address is zero"},
		"address nowhere": {testNote("stapsdt", 3, 1<<60, 0, 0, "a\x00b\x00\x00"), "in no segment"},
		"semaphore nowhere": {testNote("stapsdt", 3, addr, 0, 1<<60, "a\x00b\x00\x00"),
			"semaphore 0x1000000000000000 is in no segment"},
		"semaphore odd": {testNote("stapsdt", 3, addr, 0, 0x2001, "a\x00b\x00\x00"), "not aligned"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := parse(withNotes(t, bytes.Join([][]byte{good, c.bad, good}, nil)))
			if err != nil {
				t.Fatal(err)
			}
			if len(f.Sites) != 2 {
				t.Errorf("%d sites, want the 2 good ones", len(f.Sites))
			}
			if len(f.Errors) != 1 {
				t.Fatalf("errors %v, want one", f.Errors)
			}
			var noteErr *NoteError
			if !errors.As(f.Errors[0], &noteErr) || noteErr.Index != 1 {
				t.Errorf("got error %v, want a NoteError for note 1", f.Errors[0])
			}
			if !strings.Contains(f.Errors[0].Error(), c.want) {
				t.Errorf("the error is %q, want one with %q", f.Errors[0], c.want)
			}
		})
	}
}

func TestACutNoteKeepsPreviousNotes(t *testing.T) {
	good := testNote("stapsdt", 3, codeAddr(t), 0, 0, "crypto_auditing\x00data\x008@%rax\x00")
	le := binary.LittleEndian
	for name, bad := range map[string][]byte{
		"header cut":      good[:11],
		"name cut":        good[:14],
		"descriptor cut":  good[:40],
		"name long":       append(le.AppendUint32(nil, 1<<32-1), good[4:]...),
		"descriptor long": append(append(bytes.Clone(good[:4]), 0xff, 0xff, 0xff, 0xff), good[8:]...),
	} {
		t.Run(name, func(t *testing.T) {
			f, err := parse(withNotes(t, append(bytes.Clone(good), bad...)))
			if err != nil {
				t.Fatal(err)
			}
			if len(f.Sites) != 1 || len(f.Errors) != 1 || !errors.Is(f.Errors[0], elffile.ErrNoteCut) {
				t.Errorf("%d sites and errors %v, want 1 site and the error of a cut note", len(f.Sites), f.Errors)
			}
		})
	}
}

func TestNotesOfOtherProvidersAreNotCounted(t *testing.T) {
	foreign := testNote("NetBSD", 3, 0, 0, 0, "")
	good := testNote("stapsdt", 3, codeAddr(t), 0, 0, "crypto_auditing\x00data\x00\x00")
	f, err := parse(withNotes(t, append(foreign, good...)))
	if err != nil || len(f.Sites) != 1 || len(f.Errors) != 0 {
		t.Errorf("got %+v and error %v, want one site and no error", f, err)
	}
}

func TestLimitsOfNotesHold(t *testing.T) {
	good := testNote("stapsdt", 3, codeAddr(t), 0, 0, "p\x00n\x00\x00")
	bad := testNote("stapsdt", 3, 0, 0, 0, "p\x00n\x00\x00")

	t.Run("number", func(t *testing.T) {
		f, err := parse(withNotes(t, bytes.Repeat(good, MaxNotes+1)))
		if err != nil {
			t.Fatal(err)
		}
		var format *FormatError
		if len(f.Sites) != MaxNotes || len(f.Errors) != 1 || !errors.As(f.Errors[0], &format) {
			t.Errorf("%d sites and errors %v, want %d and a FormatError", len(f.Sites), f.Errors, MaxNotes)
		}
	})
	t.Run("errors", func(t *testing.T) {
		f, err := parse(withNotes(t, bytes.Repeat(bad, MaxErrors+7)))
		if err != nil {
			t.Fatal(err)
		}
		if len(f.Errors) != MaxErrors || f.Dropped != 7 {
			t.Errorf("%d errors and %d dropped, want %d and 7", len(f.Errors), f.Dropped, MaxErrors)
		}
	})
	t.Run("section", func(t *testing.T) {
		f, err := parse(withNotes(t, make([]byte, MaxNoteSection+1)))
		if err != nil {
			t.Fatal(err)
		}
		var format *FormatError
		if len(f.Sites) != 0 || len(f.Errors) != 1 || !errors.As(f.Errors[0], &format) {
			t.Errorf("%d sites and errors %v, want none and a FormatError", len(f.Sites), f.Errors)
		}
	})
}

// Files whose number of sections or segments exceeds the header's 16 bits have it in their
// first section header.
func TestNumbersInTheFirstSectionHeaderAreRead(t *testing.T) {
	b := fixture(t, "amd64")
	want, err := parse(b)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	first := b[le.Uint64(b[40:]):]
	le.PutUint64(first[32:], uint64(le.Uint16(b[60:])))
	le.PutUint32(first[40:], uint32(le.Uint16(b[62:])))
	le.PutUint32(first[44:], uint32(le.Uint16(b[56:])))
	le.PutUint16(b[56:], 0xffff)
	le.PutUint16(b[60:], 0)
	le.PutUint16(b[62:], 0xffff)
	got, err := parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if describe(got) != describe(want) {
		t.Errorf("got\n%s\nwant\n%s", describe(got), describe(want))
	}
}

func TestBuildIDIsFoundWithAndWithoutSections(t *testing.T) {
	le := binary.LittleEndian
	want := "000102030405060708090a0b0c0d0e0f10111213"
	for name, c := range map[string]struct {
		change func(b []byte)
		want   string
	}{
		"segment and section": {func([]byte) {}, want},
		"only a segment":      {func(b []byte) { le.PutUint64(b[40:], 0) }, want},
		"only a section":      {func(b []byte) { le.PutUint32(b[64+3*56:], uint32(elf.PT_NULL)) }, want},
		"neither": {func(b []byte) {
			le.PutUint64(b[40:], 0)
			le.PutUint32(b[64+3*56:], uint32(elf.PT_NULL))
		}, ""},
		"segment too large":  {func(b []byte) { le.PutUint64(b[64+3*56+32:], 1<<40) }, want},
		"segment beyond end": {func(b []byte) { le.PutUint64(b[64+3*56+8:], 1<<40) }, want},
		"aligned to 8 bytes": {func(b []byte) { le.PutUint64(b[64+3*56+48:], 8) }, want},
	} {
		t.Run(name, func(t *testing.T) {
			b := fixture(t, "amd64")
			c.change(b)
			f, err := parse(b)
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%x", f.BuildID); got != c.want {
				t.Errorf("the build-id is %q, want %q", got, c.want)
			}
		})
	}
}
