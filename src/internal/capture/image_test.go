// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"debug/elf"
	"strings"
	"testing"
)

// mapped returns a file of 8 KiB and its image: two constant segments with a writable one
// between them, each of 0x1000 bytes in memory.
func mapped() (*Image, []byte) {
	b := bytes.Repeat([]byte{'.'}, 8192)
	copy(b[0x100:], "tls::handshake\x00")
	copy(b[0x200:], "\x00")
	copy(b[0x300:], strings.Repeat("long ", 100)+"\x00")
	copy(b[0x1100:], "changes\x00")
	copy(b[0x1ff8:], "12345678")
	return &Image{Segments: []Segment{
		{Vaddr: 0x10000, Off: 0, Filesz: 0x800, Memsz: 0x1000, Flags: elf.PF_R | elf.PF_X},
		{Vaddr: 0x11000, Off: 0x1000, Filesz: 0x800, Memsz: 0x1000, Flags: elf.PF_R | elf.PF_W},
		{Vaddr: 0x12000, Off: 0x1800, Filesz: 0x800, Memsz: 0x1000, Flags: elf.PF_R},
	}}, b
}

func TestStringsAreReadFromConstantSegments(t *testing.T) {
	f, b := mapped()
	for name, c := range map[string]struct {
		addr  uint64
		limit int
		want  string
		ok    bool
	}{
		"a string":                {0x10100, 64, "tls::handshake", true},
		"its end":                 {0x10105, 64, "handshake", true},
		"its NUL":                 {0x1010e, 64, "", true},
		"empty":                   {0x10200, 64, "", true},
		"long":                    {0x10300, 4096, strings.Repeat("long ", 100), true},
		"cut at the limit":        {0x10300, 7, "long lo", true},
		"cut where the NUL is":    {0x10100, 14, "tls::handshake", true},
		"no limit":                {0x10100, 0, "", false},
		"negative limit":          {0x10100, -1, "", false},
		"writable":                {0x11100, 64, "", false},
		"no end in the segment":   {0x12000, 4096, "", false},
		"at the end, limited":     {0x127f8, 8, "12345678", true},
		"at the end, not limited": {0x127f8, 9, "", false},
		"beyond the file's bytes": {0x10800, 64, "", false},
		"beyond the last segment": {0x13000, 64, "", false},
		"at the last address":     {^uint64(0), 64, "", false},
		"at zero":                 {0, 64, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := f.StringAt(bytes.NewReader(b), c.addr, c.limit)
			if string(got) != c.want || ok != c.ok {
				t.Errorf("got %q, %v, want %q, %v", got, ok, c.want, c.ok)
			}
		})
	}
}

func TestBytesAreReadFromConstantSegments(t *testing.T) {
	f, b := mapped()
	for name, c := range map[string]struct {
		addr uint64
		n    int
		want string
		ok   bool
	}{
		"bytes":                   {0x10100, 3, "tls", true},
		"none":                    {0x10100, 0, "", true},
		"the last":                {0x127f8, 8, "12345678", true},
		"more than the segment":   {0x127f8, 9, "", false},
		"negative":                {0x10100, -1, "", false},
		"writable":                {0x11100, 3, "", false},
		"reaching into writable":  {0x107ff, 0x900, "", false},
		"wrapping around":         {0x10100, 1<<63 - 1, "", false},
		"beyond the last segment": {0x13000, 1, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := f.BytesAt(bytes.NewReader(b), c.addr, c.n)
			if string(got) != c.want || ok != c.ok {
				t.Errorf("got %q, %v, want %q, %v", got, ok, c.want, c.ok)
			}
		})
	}
}

func TestContentOfATruncatedFileIsNotReturned(t *testing.T) {
	f, b := mapped()
	short := bytes.NewReader(b[:0x104])
	if got, ok := f.StringAt(short, 0x10100, 64); ok {
		t.Errorf("StringAt returned %q", got)
	}
	if got, ok := f.BytesAt(short, 0x10100, 8); ok {
		t.Errorf("BytesAt returned %q", got)
	}
}

// A writable segment that overlaps a constant one may change its content.
func TestOverlappingContentIsNotReturned(t *testing.T) {
	f, b := mapped()
	f.Segments[1].Vaddr = 0x10080
	if got, ok := f.StringAt(bytes.NewReader(b), 0x10100, 64); ok {
		t.Errorf("StringAt returned %q", got)
	}
}

func TestConstantsAreTheLongestRangeWithoutWritableSegments(t *testing.T) {
	const r, w = elf.PF_R, elf.PF_R | elf.PF_W
	for name, c := range map[string]struct {
		segments   []Segment
		addr, size uint64
	}{
		"no segment":        {nil, 0, 0},
		"only writable":     {[]Segment{{Vaddr: 0x1000, Memsz: 0x1000, Flags: w}}, 0, 0},
		"one":               {[]Segment{{Vaddr: 0, Memsz: 0x1000, Flags: r}}, 0, 0x1000},
		"with a hole":       {[]Segment{{Vaddr: 0x1000, Memsz: 0x10, Flags: r}, {Vaddr: 0x3000, Memsz: 0x20, Flags: r}}, 0x1000, 0x2020},
		"in any order":      {[]Segment{{Vaddr: 0x3000, Memsz: 0x20, Flags: r}, {Vaddr: 0x1000, Memsz: 0x10, Flags: r}}, 0x1000, 0x2020},
		"ended by writable": {[]Segment{{Vaddr: 0x1000, Memsz: 0x1000, Flags: r}, {Vaddr: 0x2000, Memsz: 0x9000, Flags: w}}, 0x1000, 0x1000},
		"the second is longer": {[]Segment{
			{Vaddr: 0x1000, Memsz: 0x1000, Flags: r}, {Vaddr: 0x2000, Memsz: 0x1000, Flags: w}, {Vaddr: 0x3000, Memsz: 0x2000, Flags: r},
		}, 0x3000, 0x2000},
		"one inside another": {[]Segment{{Vaddr: 0x1000, Memsz: 0x5000, Flags: r}, {Vaddr: 0x2000, Memsz: 0x10, Flags: r}}, 0x1000, 0x5000},
	} {
		t.Run(name, func(t *testing.T) {
			f := &Image{Segments: c.segments}
			if addr, size := f.Constants(); addr != c.addr || size != c.size {
				t.Errorf("got %#x bytes at %#x, want %#x at %#x", size, addr, c.size, c.addr)
			}
		})
	}
}

func TestAddedStringsAreReadLikeStringsOfTheFile(t *testing.T) {
	i, b := mapped()
	first, second := i.AddString("tls::group"), i.AddString("name")
	if again := i.AddString("tls::group"); again != first {
		t.Errorf("a string has the addresses %#x and %#x", first, again)
	}
	addr, size := i.Added()
	for at, want := range map[uint64]string{first: "tls::group", first + 5: "group", second: "name"} {
		if at < addr || at-addr >= size {
			t.Errorf("%#x is not in the range of added strings, %#x bytes at %#x", at, size, addr)
		}
		if got, ok := i.StringAt(bytes.NewReader(b), at, 64); !ok || string(got) != want {
			t.Errorf("the string at %#x is %q, %v, want %q", at, got, ok, want)
		}
	}
	if got, ok := i.StringAt(bytes.NewReader(b), first, 3); !ok || string(got) != "tls" {
		t.Errorf("the string cut at a limit is %q, %v", got, ok)
	}
	if got, ok := i.StringAt(bytes.NewReader(b), addr+size, 64); ok {
		t.Errorf("got %q after the last added string", got)
	}
	if got, ok := i.StringAt(bytes.NewReader(b), 0x10100, 64); !ok || string(got) != "tls::handshake" {
		t.Errorf("a string of the file is %q, %v", got, ok)
	}
}
