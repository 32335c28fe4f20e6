// SPDX-License-Identifier: Apache-2.0

package usdt

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// symbolFile links testdata/symbols.S with flags, and returns the file as read by Open and
// by debug/elf.
func symbolFile(t *testing.T, flags ...string) (string, *File, *elf.File) {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("gcc is not installed")
	}
	path := filepath.Join(t.TempDir(), "symbols")
	run(t, "gcc", append([]string{"-nostdlib", "-o", path, "testdata/symbols.S"}, flags...)...)
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	e, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return path, f, e
}

// outcomes returns the resolved first argument of each site: the address of the slot or of
// the symbol, or the error.
func outcomes(f *File) map[string]string {
	all := map[string]string{}
	for _, s := range f.Sites {
		all[s.Name] = s.Args[0].String()
	}
	for _, err := range f.Errors {
		all[err.(*NoteError).Name] = err.Error()
	}
	return all
}

// slotOf returns the slot of a symbol and addressOf its address, read by
// debug/elf.
func slotOf(t *testing.T, f *elf.File, name string) string {
	t.Helper()
	dynamic, err := f.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	b, err := f.Section(".rela.dyn").Data()
	if err != nil {
		t.Fatal(err)
	}
	for le := binary.LittleEndian; len(b) > 0; b = b[24:] {
		info := le.Uint64(b[8:])
		if elf.R_X86_64(uint32(info)) == elf.R_X86_64_GLOB_DAT && dynamic[info>>32-1].Name == name {
			return fmt.Sprintf("u64 [image+%d]", le.Uint64(b))
		}
	}
	t.Fatalf("%s has no slot", name)
	return ""
}

func addressOf(t *testing.T, f *elf.File, name string) string {
	t.Helper()
	all, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Name == name {
			return fmt.Sprintf("u64 image+%d", s.Value)
		}
	}
	t.Fatalf("%s is not in the symbol table", name)
	return ""
}

func TestASymbolIsResolvedOrRefused(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("{ global: elsewhere; local: *; };\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const slot, address = "slot", "address"
	const stripped, others, place = "the file has neither", "another library's", "not the address of"
	for name, c := range map[string]struct {
		flags                                                   []string
		variable, elsewhere, code, missing, number, threadLocal string
	}{
		"a library": {[]string{"-shared"},
			slot, slot, others, stripped, place, place},
		"a stripped library": {[]string{"-shared", "-s"},
			slot, slot, others, stripped, place, place},
		"a library that binds its own symbols": {[]string{"-shared", "-Wl,-Bsymbolic"},
			address, slot, address, stripped, place, place},
		"a stripped library that binds its own symbols": {[]string{"-shared", "-s", "-Wl,-Bsymbolic"},
			address, slot, address, stripped, place, place},
		"a library with a version script": {[]string{"-shared", "-Wl,--version-script=" + script},
			address, slot, address, stripped, place, place},
		"a stripped library with a version script": {[]string{"-shared", "-s", "-Wl,--version-script=" + script},
			stripped, slot, stripped, stripped, stripped, stripped},
		"a program": {[]string{"-pie", "-Wl,-e,code", "-Wl,--unresolved-symbols=ignore-all"},
			address, "", address, stripped, place, place},
		"a program at a fixed address": {[]string{"-no-pie", "-Wl,-e,code", "-Wl,--unresolved-symbols=ignore-all"},
			address, "", address, stripped, place, place},
	} {
		t.Run(name, func(t *testing.T) {
			_, f, e := symbolFile(t, c.flags...)
			got := outcomes(f)
			// Symbols of a stripped file are those of the same file unstripped.
			_, _, whole := symbolFile(t, slices.DeleteFunc(slices.Clone(c.flags), func(f string) bool { return f == "-s" })...)
			for site, want := range map[string]string{
				"variable": c.variable, "elsewhere": c.elsewhere, "code": c.code,
				"missing": c.missing, "number": c.number, "threads": c.threadLocal,
			} {
				switch want {
				case "":
					continue
				case slot:
					want = slotOf(t, e, site)
				case address:
					want = addressOf(t, whole, site)
				default:
					if !strings.Contains(got[site], want) || !strings.Contains(got[site], site) {
						t.Errorf("%s: %q, want an error with %q", site, got[site], want)
					}
					continue
				}
				if got[site] != want {
					t.Errorf("%s: %q, want %q", site, got[site], want)
				}
			}
		})
	}
}

func TestASymbolWithSeveralVersionsIsRefused(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("V1 { variable; }; V2 { variable; } V1;\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(t.TempDir(), "versions.S")
	if err := os.WriteFile(source, []byte(`
	.section .note.GNU-stack, "", %progbits
	.data
	.globl old, new
	.symver old, variable@V1
	.symver new, variable@@V2
old:	.8byte 0
new:	.8byte 0
	.text
9:	nop
	.section .note.stapsdt, "", "note"
	.4byte 8, 3f-2f, 3
	.asciz "stapsdt"
2:	.8byte 9b, 0, 0
	.asciz "crypto_auditing"
	.asciz "word_data"
	.asciz "8@variable@GOTPCREL(%rip)"
3:	.balign 4
`), 0o644); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "versions")
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("gcc is not installed")
	}
	run(t, "gcc", "-nostdlib", "-shared", "-Wl,-Bsymbolic", "-o", path, source, "-Wl,--version-script="+script)
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var spec *SpecError
	if len(f.Sites) != 0 || len(f.Errors) != 1 || !errors.As(f.Errors[0], &spec) || !strings.Contains(spec.Reason, "several symbols") {
		t.Errorf("%d sites and errors %v, want a refusal because of several symbols", len(f.Sites), f.Errors)
	}
}

func TestHostileSymbolTablesAreRefusedAndBounded(t *testing.T) {
	le := binary.LittleEndian
	for name, c := range map[string]struct {
		section string
		change  func(header []byte)
		want    string
	}{
		"a huge table":           {".dynsym", func(h []byte) { le.PutUint64(h[32:], 1<<40) }, "more than"},
		"a missing table":        {".dynsym", func(h []byte) { le.PutUint64(h[24:], 1<<40) }, "beyond the end"},
		"odd entries":            {".dynsym", func(h []byte) { le.PutUint64(h[56:], 25) }, "entries have 25"},
		"entries without a size": {".dynsym", func(h []byte) { le.PutUint64(h[56:], 0) }, "entries have 0"},
		"no names":               {".dynsym", func(h []byte) { le.PutUint32(h[40:], 1<<31) }, "no names"},
		"huge names":             {".dynstr", func(h []byte) { le.PutUint64(h[32:], 1<<40) }, "more than"},
		"missing names":          {".dynstr", func(h []byte) { le.PutUint64(h[24:], 1<<63) }, "beyond the end"},
		"huge relocations":       {".rela.dyn", func(h []byte) { le.PutUint64(h[32:], 1<<40) }, "more than"},
		"foreign relocations":    {".rela.dyn", func(h []byte) { le.PutUint32(h[40:], 1<<31) }, "another library's"},
	} {
		t.Run(name, func(t *testing.T) {
			b := fixture(t, "symbols")
			c.change(b[sectionHeader(t, b, c.section):])
			f, err := parse(b)
			if err != nil {
				t.Fatal(err)
			}
			if got := outcomes(f)["variable"]; !strings.Contains(got, c.want) {
				t.Errorf("got %q, want an error with %q", got, c.want)
			}
		})
	}
	t.Run("many symbols", func(t *testing.T) {
		var notes []byte
		for i := range MaxSymbols + 1 {
			notes = append(notes, testNote("stapsdt", 3, codeAddr(t), 0, 0, fmt.Sprintf("p\x00n\x008@s%d@GOTPCREL(%%rip)\x00", i))...)
		}
		f, err := parse(withNotes(t, notes))
		if err != nil {
			t.Fatal(err)
		}
		if last := f.Errors[len(f.Errors)-1].Error(); len(f.Errors) != MaxSymbols+1 || !strings.Contains(last, "more than 16 symbols") {
			t.Errorf("%d errors, the last %q", len(f.Errors), last)
		}
	})
}

func TestASlotOnARM64IsRefused(t *testing.T) {
	if args, err := ParseArgs(elf.EM_AARCH64, "8@variable@GOTPCREL(%rip)"); err == nil {
		t.Errorf("got %v", args)
	}
}
