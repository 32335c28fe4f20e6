// SPDX-License-Identifier: Apache-2.0

package selfcheck

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// site is one entry of .note.stapsdt.
type site struct {
	provider, probe, args string
	address, semaphore    uint64 // virtual addresses; 0 in objects that are not linked
	offset, semaphoreAt   uint64 // in the file
	code                  []byte // the bytes at the address
}

// align4 rounds up to the alignment of notes.
func align4(n uint32) uint32 { return (n + 3) &^ 3 }

// readSites reads the notes of a file by SystemTap's description of the format. It does
// not use the project's parser, to be an independent check.
func readSites(t *testing.T, path string) []site {
	t.Helper()
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	section := file.Section(".note.stapsdt")
	if section == nil {
		return nil
	}
	data, err := section.Data()
	if err != nil {
		t.Fatal(err)
	}
	var sites []site
	for len(data) > 0 {
		nameSize := binary.LittleEndian.Uint32(data)
		descSize := binary.LittleEndian.Uint32(data[4:])
		if kind := binary.LittleEndian.Uint32(data[8:]); kind != 3 {
			t.Fatalf("%s: note of type %d, want 3", path, kind)
		}
		if name := string(data[12 : 12+nameSize]); name != "stapsdt\x00" {
			t.Fatalf("%s: note of %q", path, name)
		}
		desc := data[12+align4(nameSize):][:descSize]
		texts := bytes.SplitN(desc[24:], []byte{0}, 4)
		s := site{
			address:   binary.LittleEndian.Uint64(desc),
			semaphore: binary.LittleEndian.Uint64(desc[16:]),
			provider:  string(texts[0]),
			probe:     string(texts[1]),
			args:      string(texts[2]),
		}
		base := binary.LittleEndian.Uint64(desc[8:])
		if file.Type != elf.ET_REL {
			if at := file.Section(".stapsdt.base"); at == nil || at.Addr != base {
				t.Errorf("%s: the base of %s is %#x, want the address of .stapsdt.base", path, s.probe, base)
			}
			s.offset = fileOffset(t, file, s.address)
			if s.semaphore != 0 {
				s.semaphoreAt = fileOffset(t, file, s.semaphore)
			}
			for _, text := range file.Sections {
				if text.Flags&elf.SHF_EXECINSTR != 0 && text.Addr <= s.address && s.address < text.Addr+text.Size {
					s.code = make([]byte, 24)
					n, _ := text.ReadAt(s.code, int64(s.address-text.Addr))
					s.code = s.code[:n]
				}
			}
		}
		sites = append(sites, s)
		data = data[12+align4(nameSize)+align4(descSize):]
	}
	return sites
}

func fileOffset(t *testing.T, file *elf.File, address uint64) uint64 {
	t.Helper()
	for _, p := range file.Progs {
		if p.Type == elf.PT_LOAD && p.Vaddr <= address && address < p.Vaddr+p.Filesz {
			return address - p.Vaddr + p.Off
		}
	}
	t.Fatalf("address %#x is not in a segment", address)
	return 0
}

// loadedSections returns the sections of an object file that are loaded into memory.
func loadedSections(t *testing.T, path string) map[string][]byte {
	t.Helper()
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	sections := map[string][]byte{}
	for _, s := range file.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 || s.Size == 0 {
			continue
		}
		if s.Type == elf.SHT_NOBITS {
			sections[s.Name] = make([]byte, s.Size)
			continue
		}
		data, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		sections[s.Name] = data
	}
	return sections
}

// headerCode is the code of a site by macros.h, up to the number of the probe.
const headerCode = "90" + "662e0f1f840000000000" + "c3" + "0f1f40"

var headerArgs = map[string]string{
	"new_context":           "8@%rdi 8@%rsi",
	"word_data":             "8@%rdi 8@%rsi 8@%rdx",
	"string_data":           "8@%rdi 8@%rsi 8@%rdx",
	"blob_data":             "8@%rdi 8@%rsi 8@%rdx 8@%rcx",
	"data":                  "8@%rdi 8@%rsi 8@%rdx",
	"new_context_with_data": "8@%rdi 8@%rsi 8@%rdx 8@%rcx",
}

// linked are ways to build a program or a library from one source file.
var linked = []build{
	{"gcc", []string{"-O0"}},
	{"gcc", []string{"-O2"}},
	{"gcc", []string{"-O3", "-flto"}},
	{"gcc", []string{"-O2", "-static"}},
	{"gcc", []string{"-O2", "-no-pie", "-Wl,--gc-sections", "-ffunction-sections", "-fdata-sections"}},
	{"gcc", []string{"-Os", "-fuse-ld=gold", "-Wl,--icf=all", "-ffunction-sections"}},
	{"g++", []string{"-x", "c++", "-O2"}},
	{"clang", []string{"-O0"}},
	{"clang", []string{"-O3"}},
	{"clang", []string{"-O2", "-flto", "-fuse-ld=gold"}},
	{"clang++", []string{"-x", "c++", "-O3"}},
}

func TestSitesHaveTheFormOfTheHeader(t *testing.T) {
	for _, b := range linked {
		for name, flags := range map[string][]string{
			"program": nil,
			"library": {"-fPIC", "-shared"},
		} {
			if name == "library" && strings.Contains(b.String(), "-static") {
				continue
			}
			t.Run(b.String()+", "+name, func(t *testing.T) {
				file := b.with("-DCRAU_ENABLE").with(flags...).compile(t, "testdata/arguments.c")
				sites := readSites(t, file)
				addresses := map[uint64]string{}
				for _, s := range sites {
					if s.provider != "crypto_auditing" || s.args != headerArgs[s.probe] {
						t.Errorf("%s:%s has arguments %q", s.provider, s.probe, s.args)
					}
					if !strings.HasPrefix(hex.EncodeToString(s.code), headerCode) {
						t.Errorf("code of %s is %x, want %s", s.probe, s.code, headerCode)
					}
					if s.address%16 != 0 {
						t.Errorf("%s at %#x may cross a page", s.probe, s.address)
					}
					if s.semaphore == 0 || s.semaphore != sites[0].semaphore {
						t.Errorf("%s has semaphore %#x, want %#x like the other sites", s.probe, s.semaphore, sites[0].semaphore)
					}
					if other, taken := addresses[s.address]; taken {
						t.Errorf("%s has the same address as %s", s.probe, other)
					}
					addresses[s.address] = s.probe
				}
				if len(sites) != len(headerArgs) {
					t.Errorf("%d sites, want one for each of %d probes", len(sites), len(headerArgs))
				}
			})
		}
	}
}

func TestFilesOfALibraryShareASemaphore(t *testing.T) {
	directory := t.TempDir()
	for _, name := range []string{"every", "arguments"} {
		run(t, exec.Command("gcc", "-O2", "-fPIC", "-DCRAU_ENABLE", "-I"+includeDir, "-c",
			"-o", directory+"/"+name+".o", "testdata/"+name+".c"))
	}
	run(t, exec.Command("gcc", "-shared", "-o", directory+"/lib.so", directory+"/every.o", directory+"/arguments.o"))
	sites := readSites(t, directory+"/lib.so")
	if len(sites) != 2*len(headerArgs) {
		t.Errorf("%d sites, want %d from each of two files", len(sites), len(headerArgs))
	}
	for _, s := range sites {
		if s.semaphore == 0 || s.semaphore != sites[0].semaphore {
			t.Errorf("%s has semaphore %#x, want %#x", s.probe, s.semaphore, sites[0].semaphore)
		}
	}
}

func TestDisabledSemaphoreIsNotInNotes(t *testing.T) {
	b := build{"gcc", []string{"-O2", "-DCRAU_ENABLE", "-DCRAU_NO_SEMAPHORE"}}
	for _, s := range readSites(t, b.compile(t, "testdata/arguments.c")) {
		if s.semaphore != 0 {
			t.Errorf("%s has semaphore %#x", s.probe, s.semaphore)
		}
	}
}

func TestReadelfShowsNotes(t *testing.T) {
	needCompiler(t, "readelf")
	file := build{"gcc", []string{"-O2", "-DCRAU_ENABLE"}}.compile(t, "testdata/arguments.c")
	out := run(t, exec.Command("readelf", "-n", file))
	for probe, args := range headerArgs {
		entry := regexp.MustCompile(`Provider: crypto_auditing\s+Name: ` + probe +
			`\s+Location: 0x[0-9a-f]+, Base: 0x[0-9a-f]+, Semaphore: 0x[0-9a-f]+\s+Arguments: ` +
			regexp.QuoteMeta(args) + `\s`)
		if !entry.MatchString(out) {
			t.Errorf("readelf shows no %s with %q in\n%s", probe, args, out)
		}
	}
}
