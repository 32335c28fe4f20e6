// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"testing"

	"crypto-auditing/src/internal/elffile"
	"crypto-auditing/src/internal/layout"
	"crypto-auditing/src/internal/layout/symbolic"
)

// original returns the bytes of a library of this machine.
func original(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(library(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// parseChanged decodes a changed library, and checks invariants of the result.
func parseChanged(t *testing.T, b []byte) *layout.Library {
	t.Helper()
	lib, err := Parse(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		var format *elffile.FormatError
		var unsupported *elffile.UnsupportedError
		if lib != nil || !errors.Is(err, ErrNoLibrary) && !errors.Is(err, elffile.ErrNotELF) && !errors.As(err, &format) && !errors.As(err, &unsupported) {
			t.Errorf("library %v and error %v", lib, err)
		}
		return nil
	}
	if len(lib.Sites) > 200 || len(lib.Values) > 64 || len(lib.Refusals) > 400 {
		t.Errorf("%d sites, %d values, %d refusals", len(lib.Sites), len(lib.Values), len(lib.Refusals))
	}
	for _, s := range lib.Sites {
		if s.Offset >= uint64(len(b)) || s.Role == 0 || s.Function == "" || s.Instruction == "" {
			t.Errorf("invalid site %+v", s)
		}
	}
	for _, v := range lib.Values {
		if n := len(v.Chain.Offsets); n == 0 || n > layout.MaxLoads || v.Evidence < layout.Checked || v.Chain.Width == 0 || v.Chain.Width > 8 {
			t.Errorf("invalid value %+v", v)
		}
	}
	return lib
}

// A changed library, or single values of it, may be refused. If only one function was
// changed, no wrong value may be found with the evidence of two.
func TestAChangedAccessorYieldsNoWrongValue(t *testing.T) {
	whole := original(t, "libssl.so.3")
	good := parseChanged(t, whole)
	image := openImage(t, whole)
	accessors := []string{
		"SSL_version", "SSL_is_server", "SSL_get_session", "SSL_get_current_cipher", "SSL_session_reused",
		"SSL_get_state", "SSL_in_before", "SSL_get_verify_result", "SSL_get_peer_signature_type_nid",
	}
	random := rand.New(rand.NewPCG(1, 2))
	wrong := 0
	for i := range 300 {
		b := bytes.Clone(whole)
		name := accessors[i%len(accessors)]
		addr, ok := image.Function(name)
		if !ok {
			continue
		}
		at, _ := image.Offset(addr)
		b[at+random.Uint64N(24)] = byte(random.Uint32())
		lib := parseChanged(t, b)
		if lib == nil {
			continue
		}
		for _, v := range lib.Values {
			was := good.Value(v.ID)
			if was == nil || was.Chain.String() == v.Chain.String() {
				continue
			}
			// A validator detects a wrong value with the weakest evidence.
			if v.Evidence > layout.Checked {
				wrong++
				t.Errorf("with %s changed, %s is %s (%s, %v), not %s", name, v.ID, v.Chain, v.Evidence, v.Sources, was.Chain)
			}
		}
	}
}

func TestDecodingIsBoundedForAnyHeadersAndTables(t *testing.T) {
	for _, name := range []string{"libssl.so.3", "libgnutls.so.30"} {
		whole := original(t, name)
		random := rand.New(rand.NewPCG(3, 4))
		for range 100 {
			b := bytes.Clone(whole)
			for range 20 {
				b[random.IntN(min(len(b), 1<<17))] = byte(random.Uint32())
			}
			// Section headers are at the end.
			if random.IntN(2) == 0 {
				b[len(b)-1-random.IntN(64*30)] = byte(random.Uint32())
			}
			parseChanged(t, b)
		}
	}
}

// FuzzLibrary changes libraries of this machine: each change is an offset and a
// byte.
func FuzzLibrary(f *testing.F) {
	whole := original(f, "libssl.so.3")
	f.Add([]byte{})
	f.Add([]byte{0x28, 0, 0, 0, 0xff})
	f.Fuzz(func(t *testing.T, changes []byte) {
		b := bytes.Clone(whole)
		for ; len(changes) >= 5; changes = changes[5:] {
			b[binary.LittleEndian.Uint32(changes)%uint32(len(b))] = changes[4]
		}
		parseChanged(t, b)
	})
}

// FuzzAccessors replaces the code of an accessor.
func FuzzAccessors(f *testing.F) {
	whole := original(f, "libssl.so.3")
	image := openImage(f, whole)
	addr, _ := image.Function("SSL_ctrl")
	at, _ := image.Offset(addr)
	f.Add([]byte("\xeb\xfe"))
	f.Add([]byte("\x48\x8b\x3f\xeb\xfb"))
	f.Add([]byte("\xe8\xfb\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, code []byte) {
		b := bytes.Clone(whole)
		copy(b[at:at+256], code)
		m := openImage(t, b)
		for depth := range 3 {
			if n := len(symbolic.New(m).Execute(addr, symbolic.Options{Depth: depth, Assume: connection})); n == 0 || n > 100 {
				t.Errorf("%d paths", n)
			}
		}
	})
}
