// SPDX-License-Identifier: Apache-2.0

package usdt

import (
	"bytes"
	"debug/elf"
	"errors"
	"math"
	"testing"

	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/elffile"
)

// checkArgs checks invariants of accepted arguments.
func checkArgs(t *testing.T, m elf.Machine, args []capture.Arg) {
	t.Helper()
	if len(args) > MaxArgs {
		t.Errorf("%d arguments", len(args))
	}
	for i := range args {
		a := &args[i]
		switch a.Size {
		case 1, 2, 4, 8:
		default:
			t.Errorf("%s has size %d", a, a.Size)
		}
		inPtRegs := func(r capture.Register) {
			off, err := r.PtRegsOffset(m)
			if err != nil {
				t.Errorf("%s: %v", a, err)
			}
			if off%8 != 0 || off > 248 {
				t.Errorf("%s: register at %d", a, off)
			}
		}
		unused := 64 - 8*uint(a.Size)
		switch a.Kind {
		case capture.ArgConst:
			widened := int64(uint64(a.Const) << unused >> unused)
			if a.Signed {
				widened = a.Const << unused >> unused
			}
			if widened != a.Const {
				t.Errorf("%s is not a value of its type", a)
			}
		case capture.ArgReg:
			inPtRegs(a.Reg)
			if a.Shift != 0 && (a.Shift != 8 || a.Size != 1) {
				t.Errorf("%s is shifted by %d", a, a.Shift)
			}
		case capture.ArgSymbol:
			if a.Symbol == "" {
				t.Errorf("%s is a symbol without a name", a)
			}
		case capture.ArgMemIndexed:
			inPtRegs(a.Index)
			if a.Scale == 0 || a.Scale > 16 || a.Scale&(a.Scale-1) != 0 {
				t.Errorf("%s has scale %d", a, a.Scale)
			}
			if a.Reg == capture.NoRegister {
				break
			}
			fallthrough
		case capture.ArgMem:
			inPtRegs(a.Reg)
			if a.Off < math.MinInt32 || a.Off > math.MaxInt32 {
				t.Errorf("%s has offset %d", a, a.Off)
			}
		}
	}
}

func FuzzParseArgs(f *testing.F) {
	f.Add(true, "8@%rax -8@$-1 -8@-16(%rbp) 8@16(%rax,%rbx,8) 1@%ah 8@s@GOTPCREL(%rip)")
	f.Add(false, "8@x0 -4@w1 8@[sp, 16] 8@[x0, x1, lsl #3] 8@#5")
	f.Fuzz(func(t *testing.T, amd64 bool, spec string) {
		m := elf.EM_AARCH64
		if amd64 {
			m = elf.EM_X86_64
		}
		args, err := ParseArgs(m, spec)
		if err != nil {
			var specErr *SpecError
			if !errors.As(err, &specErr) {
				t.Errorf("%q: the error %v is not a SpecError", spec, err)
			}
			if len(args) != 0 {
				t.Errorf("%q: got both arguments and an error", spec)
			}
			return
		}
		checkArgs(t, m, args)
	})
}

// FuzzNotes walks a note section of any content in an otherwise valid file.
func FuzzNotes(f *testing.F) {
	whole := fixture(f, "amd64")
	e, err := elffile.New(bytes.NewReader(whole), int64(len(whole)))
	if err != nil {
		f.Fatal(err)
	}
	s := e.Section(probeNoteSection)
	f.Add(whole[s.Off : s.Off+s.Size])
	f.Add(testNote("stapsdt", 3, codeAddr(f), 0, 0, "crypto_auditing\x00data\x008@%rax\x00"))
	header := sectionHeader(f, whole, probeNoteSection)
	f.Add(testNote("stapsdt", 3, codeAddr(f), 0, 0, "crypto_auditing\x00data\x008@texts@GOTPCREL(%rip)\x00"))
	f.Fuzz(func(t *testing.T, notes []byte) {
		file, err := parse(replaceNotes(bytes.Clone(whole), header, notes))
		if err != nil {
			t.Fatalf("a note section made the file unusable: %v", err)
		}
		checkFile(t, file, int64(len(whole)+len(notes)))
		if n := len(file.Sites) + len(file.Errors) + file.Dropped; n > len(notes)/12+1 {
			t.Errorf("%d sites and errors out of %d bytes", n, len(notes))
		}
	})
}

func FuzzParse(f *testing.F) {
	// The seeds in testdata are minimal files with a probe: the fixtures are mostly
	// padding.
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := parse(b)
		if err != nil {
			if file != nil {
				t.Error("got both a file and an error")
			}
			return
		}
		checkFile(t, file, int64(len(b)))
		r := bytes.NewReader(b)
		for _, s := range file.Segments {
			for _, addr := range []uint64{s.Vaddr, s.Vaddr + s.Filesz/2, s.Vaddr + s.Filesz - 1} {
				if text, ok := file.StringAt(r, addr, 100); ok && (len(text) > 100 || bytes.IndexByte(text, 0) >= 0) {
					t.Errorf("the string at %#x is %q", addr, text)
				}
				if data, ok := file.BytesAt(r, addr, 10); ok && len(data) != 10 {
					t.Errorf("%d bytes at %#x, want 10", len(data), addr)
				}
			}
		}
	})
}

// checkFile checks invariants of a file of size bytes.
func checkFile(t *testing.T, f *File, size int64) {
	t.Helper()
	if len(f.Sites) > MaxNotes || len(f.Errors) > MaxErrors || len(f.BuildID) > elffile.MaxBuildID {
		t.Errorf("%d sites, %d errors, %d bytes of build-id", len(f.Sites), len(f.Errors), len(f.BuildID))
	}
	for _, err := range f.Errors {
		if err.Error() == "" {
			t.Errorf("an error of type %T has no text", err)
		}
	}
	for i := range f.Sites {
		s := &f.Sites[i]
		if s.Offset >= uint64(size) || s.SemaphoreOffset >= uint64(size) {
			t.Errorf("%s: offset %d or semaphore %d beyond the file's %d bytes", s.Name, s.Offset, s.SemaphoreOffset, size)
		}
		if (s.SemaphoreAddr == 0) != (s.SemaphoreOffset == 0) {
			t.Errorf("%s: semaphore at %#x, %d of the file", s.Name, s.SemaphoreAddr, s.SemaphoreOffset)
		}
		if s.Provider == "" || s.Name == "" || len(s.Provider) > MaxName || len(s.Name) > MaxName {
			t.Errorf("a site has the name %q:%q", s.Provider, s.Name)
		}
		checkArgs(t, f.Machine, s.Args)
	}
}
