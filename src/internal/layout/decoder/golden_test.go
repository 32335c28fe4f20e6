// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/arch/arm64/arm64asm"

	"crypto-auditing/src/internal/layout"
)

// describe returns the parts of a result that do not depend on the addresses chosen by the
// linker.
func describe(lib *layout.Library) string {
	var b strings.Builder
	for _, v := range lib.Values {
		fmt.Fprintf(&b, "value %s: %s, %s\n", v.ID, v.Chain, v.Evidence)
	}
	for _, s := range lib.Sites {
		fmt.Fprintf(&b, "site %s %s: %s\n", s.Role, s.Function, s.Operation)
	}
	for _, r := range lib.Refusals {
		fmt.Fprintf(&b, "refused %s\n", r)
	}
	return b.String()
}

// checkSites checks invariants of the sites of every library.
func checkSites(t *testing.T, path string, lib *layout.Library) {
	t.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range lib.Sites {
		if !lib.Text.Contains(s.Addr) || s.Offset >= uint64(len(file)) || s.Addr < s.Entry {
			t.Errorf("%s: site %#x, offset %#x, entry %#x are out of place", s.Function, s.Addr, s.Offset, s.Entry)
		}
		if s.StackDelta > 1<<16 {
			t.Errorf("%s: the stack pointer is %d lower", s.Function, s.StackDelta)
		}
		if lib.Machine == elf.EM_AARCH64 && s.Offset < uint64(len(file)) {
			checkARM64(t, &s, file)
		}
	}
}

// checkARM64 checks invariants of every arm64 site with another decoder: the kernel can execute
// the instruction, the site is not in a sequence of exclusive accesses, and the pushes before
// it have lowered the stack pointer by StackDelta.
func checkARM64(t *testing.T, s *layout.Site, file []byte) {
	t.Helper()
	decode := func(offset uint64) arm64asm.Inst {
		in, err := arm64asm.Decode(file[offset:])
		if err != nil && offset == s.Offset {
			t.Errorf("%s: the instruction at %#x: %v", s.Function, s.Addr, err)
		}
		return in
	}
	switch in := decode(s.Offset); in.Op {
	case arm64asm.ADR, arm64asm.ADRP, arm64asm.B, arm64asm.BL, arm64asm.CBZ, arm64asm.CBNZ, arm64asm.TBZ, arm64asm.TBNZ, arm64asm.RET,
		arm64asm.STP, arm64asm.SUB, arm64asm.MOV, arm64asm.HINT, arm64asm.CMP:
	case arm64asm.LDR:
		if _, literal := in.Args[1].(arm64asm.PCRel); literal {
			t.Errorf("%s: the instruction at %#x is %v", s.Function, s.Addr, in)
		}
	default:
		t.Errorf("%s: the instruction at %#x is %v", s.Function, s.Addr, in)
	}
	for back := uint64(4); back <= 128 && back <= s.Offset; back += 4 {
		switch decode(s.Offset - back).Op {
		case arm64asm.STXR, arm64asm.STLXR, arm64asm.STXP, arm64asm.STLXP, arm64asm.CLREX:
			back = 128
		case arm64asm.LDXR, arm64asm.LDAXR, arm64asm.LDXP, arm64asm.LDAXP:
			t.Errorf("%s: the site %#x is in a sequence of exclusive accesses", s.Function, s.Addr)
		}
	}
	lower := 0
	for at := s.Offset - (s.Addr - s.Entry); at < s.Offset; at += 4 {
		for _, a := range decode(at).Args {
			var n int
			if m, ok := a.(arm64asm.MemImmediate); ok {
				if _, err := fmt.Sscanf(m.String(), "[SP,#-%d]!", &n); err == nil {
					lower += n
				}
			}
		}
		if in := decode(at); in.Op == arm64asm.SUB && in.Args[0] == arm64asm.RegSP(arm64asm.SP) {
			var n int
			if _, err := fmt.Sscanf(in.Args[2].String(), "#0x%x", &n); err != nil {
				t.Errorf("%s: %v", s.Function, in)
			}
			lower += n
		}
	}
	if int(s.StackDelta) != lower {
		t.Errorf("%s: the stack pointer is %d lower at %#x, not %d", s.Function, lower, s.Addr, s.StackDelta)
	}
}

// library returns a library of this machine.
func library(t testing.TB, name string) string {
	t.Helper()
	files, _ := filepath.Glob("/usr/lib*/*/" + name)
	if more, _ := filepath.Glob("/usr/lib*/" + name); len(files) == 0 {
		files = more
	}
	if len(files) == 0 {
		t.Skipf("this machine has no %s", name)
	}
	return files[0]
}

// openssl returns the version of OpenSSL of this machine, such as "3.0".
func openssl(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(library(t, "libcrypto.so.3"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`OpenSSL (3\.\d+)\.\d+ `).FindSubmatch(b)
	if m == nil {
		t.Fatal("libcrypto.so.3 does not contain its version")
	}
	return string(m[1])
}

// The expected values are the offsets in the compiler's structures.
func TestLibsslOfThisMachineHasTheKnownLayout(t *testing.T) {
	path, version := library(t, "libssl.so.3"), openssl(t)
	want := map[string]map[layout.ValueID]string{
		"3.0": {
			layout.Version: "arg0 > 0x0 : 4", layout.Server: "arg0 > 0x38 : 4", layout.CipherSuite: "arg0 > 0x918 > 0x2f8 > 0x18 : 2",
			layout.Resumed: "arg0 > 0x4d0 : 4", layout.PeerScheme: "arg0 > 0x3b0 > 0x8 : 2", layout.KeyExchanged: "arg0 > 0x4ad : 1",
			layout.Group: "arg0 > 0x4ae : 2", layout.SessionGroup: "arg0 > 0x918 > 0x308 : 2",
		},
		"3.5": {
			layout.Version: "arg0 > 0x48 : 4", layout.Server: "arg0 > 0x78 : 4", layout.CipherSuite: "arg0 > 0x900 > 0x2f8 > 0x18 : 2",
			layout.Resumed: "arg0 > 0x508 : 4", layout.PeerScheme: "arg0 > 0x400 > 0x10 : 2", layout.KeyExchanged: "arg0 > 0x4dd : 1",
			layout.Group: "arg0 > 0x4de : 2", layout.SessionGroup: "arg0 > 0x900 > 0x308 : 2",
		},
	}[version]
	if want == nil {
		t.Skipf("the layout of version %s is not known", version)
	}
	lib, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + describe(lib))
	if !lib.Handshakes || lib.Static || lib.Family != layout.OpenSSL {
		t.Errorf("handshakes %v, static %v, family %s", lib.Handshakes, lib.Static, lib.Family)
	}
	for id, chain := range want {
		if v := lib.Value(id); v == nil || v.Chain.String() != chain {
			t.Errorf("%s is %v, want %s", id, v, chain)
		}
	}
	checkSites(t, path, lib)
	for _, role := range []layout.Role{layout.HandshakeServer, layout.HandshakeClient, layout.HandshakeEnd, layout.ConnectionFree} {
		n := 0
		for _, s := range lib.Sites {
			if s.Role == role {
				n++
				if !s.Emulated {
					t.Errorf("%s is at an instruction that is single-stepped", s.Function)
				}
			}
		}
		if n != 1 {
			t.Errorf("%d sites of the role %s, want 1", n, role)
		}
	}
}

func TestDecodingIsDeterministic(t *testing.T) {
	path := library(t, "libssl.so.3")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for range 5 {
		lib, err := Parse(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, fmt.Sprintf("%+v", *lib))
	}
	for _, text := range texts[1:] {
		if text != texts[0] {
			t.Errorf("got\n%s\nand\n%s", texts[0], text)
		}
	}
}

func TestLibcryptoOfThisMachineHasTheKnownLayout(t *testing.T) {
	path, version := library(t, "libcrypto.so.3"), openssl(t)
	want := map[string]map[layout.ValueID]string{
		"3.0": {
			layout.KeyType: "arg0 > 0x60 > 0x8 : 8", layout.KeyID: "arg0 > 0x0 : 4", layout.KeyBits: "arg0 > 0x88 : 4",
			layout.KeyCurve: "arg0 > 0x68 > 0x18 > 0x20 : 4", layout.ContextKey: "arg0 > 0x88 : 8",
			layout.ContextKeyType: "arg0 > 0x20 > 0x8 : 8", layout.DigestContextKey: "arg0 > 0x28 > 0x88 : 8",
			layout.DigestContextName: "arg0 > 0x0 > 0x60 : 8", layout.ModulusWords: "arg0 > 0x28 > 0x8 : 4",
		},
		"3.5": {
			layout.KeyType: "arg0 > 0x60 > 0x10 : 8", layout.KeyID: "arg0 > 0x0 : 4", layout.KeyBits: "arg0 > 0x88 : 4",
			layout.KeyCurve: "arg0 > 0x68 > 0x18 > 0x20 : 4", layout.ContextKey: "arg0 > 0x88 : 8",
			layout.ContextKeyType: "arg0 > 0x20 > 0x10 : 8", layout.DigestContextKey: "arg0 > 0x28 > 0x88 : 8",
			layout.DigestContextName: "arg0 > 0x0 > 0x60 : 8", layout.ModulusWords: "arg0 > 0x28 > 0x8 : 4",
		},
	}[version]
	if want == nil {
		t.Skipf("the layout of version %s is not known", version)
	}
	lib, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + describe(lib))
	if !lib.PublicKey || lib.Handshakes || lib.Static {
		t.Errorf("public-key layer %v, handshakes %v, static %v", lib.PublicKey, lib.Handshakes, lib.Static)
	}
	for id, chain := range want {
		if v := lib.Value(id); v == nil || v.Chain.String() != chain {
			t.Errorf("%s is %v, want %s", id, v, chain)
		}
	}
	checkSites(t, path, lib)
	for _, s := range lib.Sites {
		if s.External != (s.Role == layout.KeyOperation) {
			t.Errorf("%s records only external calls: %v", s.Function, s.External)
		}
	}
}
