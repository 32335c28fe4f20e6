// SPDX-License-Identifier: Apache-2.0

package symbolic

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"regexp"
	"slices"
	"strings"
	"testing"

	"crypto-auditing/src/internal/layout/image"
)

// base is the address of the code in the files of the tests.
const base = 0x1000

// file returns an ELF file with one segment of code.
func file(machine elf.Machine, code []byte) []byte {
	le := binary.LittleEndian
	const header, segment = 64, 56
	b := append([]byte(elf.ELFMAG), byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1)
	b = append(b, make([]byte, header+segment-len(b))...)
	le.PutUint16(b[16:], uint16(elf.ET_DYN))
	le.PutUint16(b[18:], uint16(machine))
	le.PutUint64(b[32:], header)
	le.PutUint16(b[54:], segment)
	le.PutUint16(b[56:], 1)
	p := b[header:]
	le.PutUint32(p, uint32(elf.PT_LOAD))
	le.PutUint32(p[4:], uint32(elf.PF_R|elf.PF_X))
	le.PutUint64(p[8:], header+segment)
	le.PutUint64(p[16:], base)
	le.PutUint64(p[32:], uint64(len(code)))
	le.PutUint64(p[40:], uint64(len(code)))
	return append(b, code...)
}

// interpreter returns an interpreter for code.
func interpreter(t *testing.T, machine elf.Machine, code []byte) *Interpreter {
	t.Helper()
	b := file(machine, code)
	m, err := image.Open(bytes.NewReader(b), int64(len(b)), nil)
	if err != nil {
		t.Fatal(err)
	}
	return New(m)
}

// texts returns paths as text, without the arbitrary numbers of unknown values.
func texts(paths []Path) []string {
	var out []string
	for i := range paths {
		out = append(out, regexp.MustCompile(`unknown\d+`).ReplaceAllString(paths[i].String(), "unknown"))
	}
	return out
}

// execute runs code, and returns its paths as text.
func execute(t *testing.T, machine elf.Machine, code []byte, options Options) []string {
	t.Helper()
	return texts(interpreter(t, machine, code).Execute(base, options))
}

func words(w ...uint32) []byte {
	var b []byte
	for _, x := range w {
		b = binary.LittleEndian.AppendUint32(b, x)
	}
	return b
}

func TestFunctionsAreExecuted(t *testing.T) {
	const x86, arm = elf.EM_X86_64, elf.EM_AARCH64
	for name, c := range map[string]struct {
		machine elf.Machine
		code    []byte
		want    string
	}{
		"a load":                 {x86, []byte("\x8b\x47\x48\xc3"), "returns [arg0+0x48]:4"},
		"two loads":              {x86, []byte("\x48\x8b\x87\x18\x09\x00\x00\x48\x8b\x80\xf8\x02\x00\x00\xc3"), "returns [[arg0+0x918]:8+0x2f8]:8"},
		"a test for NULL":        {x86, []byte("\x31\xc0\x48\x85\xff\x74\x03\x8b\x47\x38\xc3"), "returns 0x0, if arg0 == 0x0; returns [arg0+0x38]:4, if arg0 != 0x0"},
		"a store":                {x86, []byte("\xc7\x47\x38\x01\x00\x00\x00\xc3"), "stores 0x1 to arg0+0x38:4"},
		"a saved register":       {x86, []byte("\x53\x48\x89\xfb\x8b\x43\x10\x5b\xc3"), "returns [arg0+0x10]:4"},
		"endbr64":                {x86, []byte("\xf3\x0f\x1e\xfa\x0f\xb6\x07\xc3"), "returns [arg0]:1"},
		"setne":                  {x86, []byte("\x31\xc0\x83\x7f\x04\x00\x0f\x95\xc0\xc3"), "returns 0x1, if [arg0+0x4]:4 != 0x0; returns 0x0, if [arg0+0x4]:4 == 0x0"},
		"cmov":                   {x86, []byte("\x8b\x07\x85\xc0\x0f\x44\x47\x08\xc3"), "returns [arg0+0x8]:4, if [arg0]:4 == 0x0; returns [arg0]:4, if [arg0]:4 != 0x0"},
		"a low byte":             {x86, []byte("\x8a\x47\x07\x0f\xb6\xc0\xc3"), "returns [arg0+0x7]:1"},
		"a stored value":         {x86, []byte("\x48\x89\x3c\x24\x48\x8b\x04\x24\x8b\x40\x08\xc3"), "returns [arg0+0x8]:4"},
		"a call by a pointer":    {x86, []byte("\x48\x8b\x07\xff\x60\x10"), "calls 0x0  [[arg0]:8+0x10]:8[arg0"},
		"an endless loop":        {x86, []byte("\xeb\xfe"), "ends: it has too many instructions"},
		"an endless decision":    {x86, []byte("\x48\x8b\x3f\x48\x85\xff\x75\xf8\xc3"), "ends: it is in a loop"},
		"no code":                {x86, []byte("\xe9\x00\x10\x00\x00"), "ends: there is no code at 0x2005"},
		"a load of arm64":        {arm, words(0xb9404800, 0xd65f03c0), "returns [arg0+0x48]:4"},
		"a frame of arm64":       {arm, words(0xa9bf7bfd, 0x910003fd, 0xf9400c00, 0xa8c17bfd, 0xd65f03c0), "returns [arg0+0x18]:8"},
		"cbz":                    {arm, words(0xb4000040, 0xb9403800, 0xd65f03c0), "returns arg0, if arg0 == 0x0; returns [arg0+0x38]:4, if arg0 != 0x0"},
		"a compare of arm64":     {arm, words(0xb9400001, 0x7100043f, 0x1a9f17e0, 0xd65f03c0), "returns 0x1, if [arg0]:4 == 0x1; returns 0x0, if [arg0]:4 != 0x1"},
		"a constant of arm64":    {arm, words(0x52802460, 0x72a00020, 0xd65f03c0), "returns 0x10123"},
		"a bit field of arm64":   {arm, words(0x39401c00, 0x12001c00, 0xd65f03c0), "returns [arg0+0x7]:1"},
		"a store of arm64":       {arm, words(0x52800021, 0xb9003801, 0xd65f03c0), "stores 0x1 to arg0+0x38:4"},
		"a tail call of arm64":   {arm, words(0xf9400010, 0xf9400a10, 0xd61f0200), "calls 0x0  [[arg0]:8+0x10]:8[arg0"},
		"an unknown instruction": {arm, words(0), "ends: the instruction at 0x1000 is not known: 00000000"},
	} {
		t.Run(name, func(t *testing.T) {
			got := execute(t, c.machine, c.code, Options{})
			for want := range strings.SplitSeq(c.want, "; ") {
				found := false
				for _, text := range got {
					found = found || strings.Contains(text, want)
				}
				if !found {
					t.Errorf("got\n%s\nwant a path with %q", strings.Join(got, "\n"), want)
				}
			}
		})
	}
}

func TestConditionsCanBeDecidedInAdvance(t *testing.T) {
	code := []byte("\x31\xc0\x48\x85\xff\x74\x03\x8b\x47\x38\xc3")
	got := execute(t, elf.EM_X86_64, code, Options{Assume: func(c Condition) (bool, bool) {
		_, zero, ok := c.Zero()
		return !zero, ok
	}})
	if len(got) != 1 || !strings.HasPrefix(got[0], "returns [arg0+0x38]:4") {
		t.Errorf("got %q", got)
	}
	got = execute(t, elf.EM_X86_64, code, Options{Fixed: map[int]int64{0: 0}})
	if len(got) != 1 || got[0] != "returns 0x0" {
		t.Errorf("with NULL as argument, got %q", got)
	}
}

// FuzzExecute runs random code of both machines.
func FuzzExecute(f *testing.F) {
	f.Add(true, []byte("\x48\x8b\x3f\x48\x85\xff\x75\xf8\xc3"))
	f.Add(true, []byte("\xe8\xfb\xff\xff\xff\x74\xf9\xc3"))
	f.Add(false, words(0xb4000040, 0xb9403800, 0xd65f03c0))
	// A call by a pointer between two decisions.
	f.Add(true, []byte("\x48\x85\xff\x74\x05\xff\x17\x48\x89\xc7\x48\x85\xf6\x74\x02\xff\x16\xc3"))
	f.Fuzz(func(t *testing.T, x86 bool, code []byte) {
		machine := elf.EM_AARCH64
		if x86 {
			machine = elf.EM_X86_64
		}
		if len(code) == 0 || len(code) > 4096 {
			return
		}
		// The executions of an interpreter share memory, but must not affect each other.
		shared := interpreter(t, machine, code)
		first := shared.Execute(base, Options{})
		before := texts(first)
		for depth := range 3 {
			got := texts(shared.Execute(base, Options{Depth: depth}))
			if len(got) == 0 || len(got) > maxPaths {
				t.Errorf("%d paths", len(got))
			}
			if want := execute(t, machine, code, Options{Depth: depth}); !slices.Equal(got, want) {
				t.Errorf("depth %d: got\n%s\nwant\n%s", depth, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		if !slices.Equal(texts(first), before) {
			t.Errorf("the first execution's paths changed to\n%s\nfrom\n%s", strings.Join(texts(first), "\n"), strings.Join(before, "\n"))
		}
	})
}
