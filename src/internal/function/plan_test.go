// SPDX-License-Identifier: Apache-2.0

package function

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/layout"
)

// library is a layout with one site of each layer.
func library() *layout.Library {
	return &layout.Library{
		Family: layout.OpenSSL, Machine: elf.EM_X86_64, BuildID: sslID, Text: layout.Range{Start: 0x1000, End: 0x5000}, Handshakes: true, PublicKey: true,
		Sites: []layout.Site{
			{Role: layout.HandshakeEnd, Function: "state_machine", Addr: 0x2000, Offset: 0x1000},
			{
				Role: layout.ContextOperation, Operation: layout.Sign, Function: "EVP_PKEY_sign", Addr: 0x3000, StackDelta: 8,
				Params: []layout.Param{{Kind: layout.Object, Register: capture.RDI}, {Kind: layout.Output, Register: capture.RSI}, {Kind: layout.InputLength, Register: capture.R8}},
			},
			{
				Role: layout.KeyOperation, Operation: layout.Verify, Function: "ECDSA_verify", Addr: 0x4000, External: true,
				Params: []layout.Param{{Kind: layout.KeyEC, Register: capture.R9}},
			},
		},
		Values: []layout.Value{
			{ID: layout.ServerRandom, Chain: layout.Chain{Offsets: []uint16{0x140}, Width: 32}},
			{ID: layout.CipherSuite, Chain: layout.Chain{Offsets: []uint16{0x918, 0x2f8, 0x18}, Width: 2}},
		},
	}
}

func TestAPlanHasTheSitesOfCompleteLayers(t *testing.T) {
	p, err := planOf(library())
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Sites) != 3 || p.Sites[0].Call.Reach != layout.MaxFrame || p.Calls.Text != 0x1000 || p.Calls.TextSize != 0x4000 {
		t.Errorf("the plan is %+v", p)
	}
	if c := p.Sites[1].Call; c.Object != capture.RDI || c.Output != capture.RSI || c.Length != capture.R8 || c.StackDelta != 8 || c.External {
		t.Errorf("EVP_PKEY_sign is %+v", c)
	}
	if c := p.Sites[2].Call; c.Object != capture.R9 || c.Value != uint8(layout.Curve) || !c.External {
		t.Errorf("ECDSA_verify is %+v", c)
	}
	if c := p.Calls.Chains[uint8(layout.ServerRandom)]; c.Width != randomBytes {
		t.Errorf("the server random has the chain %+v", c)
	}
	half := library()
	half.PublicKey = false
	if p, err := planOf(half); err != nil || len(p.Sites) != 1 {
		t.Errorf("without the public-key layer the plan is %+v, %v", p, err)
	}
}

func TestALibraryWithoutLayersIsRefusedWithTheReason(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*layout.Library)
		want   string
	}{
		"no layer": {func(l *layout.Library) {
			l.Handshakes, l.PublicKey = false, false
			l.Refusals = []layout.Refusal{{Subject: "version", Reason: "two places"}}
		}, "version: two places"},
	} {
		t.Run(name, func(t *testing.T) {
			l := library()
			c.change(l)
			_, err := planOf(l)
			var none *capture.NoSitesError
			if !errors.As(err, &none) || !strings.Contains(err.Error(), c.want) || !none.Limited() {
				t.Errorf("the error is %v, want a limited NoSitesError with %q", err, c.want)
			}
		})
	}
}

// stock returns a library of the distribution, which a machine with Debian's directory of
// libraries must have.
func stock(t *testing.T, name string) []byte {
	t.Helper()
	directory := map[string]string{"amd64": "/lib/x86_64-linux-gnu", "arm64": "/lib/aarch64-linux-gnu"}[runtime.GOARCH]
	if _, err := os.Stat(directory); err != nil {
		t.Skip(err)
	}
	b, err := os.ReadFile(filepath.Join(directory, name))
	if err != nil {
		t.Fatalf("run tests/setup.sh: %v", err)
	}
	return b
}

func TestThePlanOfStockGnuTLSHasKeysAndHandshakeResults(t *testing.T) {
	b := stock(t, "libgnutls.so.30")
	p, err := New().Capture().Plan(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	ends, results, operations := 0, 0, 0
	for _, s := range p.Sites {
		if c := s.Call; c.Role == uint8(layout.SessionOperation) && c.Layer == publicKeys && c.Algorithm != capture.NoRegister {
			operations++
		}
		if s.Call.Role == uint8(layout.HandshakeEnd) {
			ends++
			if s.Call.Result != capture.NoRegister {
				results++
			}
		}
	}
	if operations < 7 {
		t.Errorf("%d sites of operations with keys: %+v", operations, p.Sites)
	}
	if ends == 0 || results == 0 {
		t.Errorf("%d of %d ends of the handshake have a result: %+v", results, ends, p.Sites)
	}
	// All refused sites are known limits.
	for _, err := range p.Errors {
		var limit *capture.LimitError
		if !errors.As(err, &limit) {
			t.Errorf("the error %v", err)
		}
	}
}

func TestAFileThatIsNotASupportedLibraryHasNoPlan(t *testing.T) {
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	var none *capture.NoSitesError
	if _, err := New().Capture().Plan(bytes.NewReader(b), int64(len(b))); !errors.As(err, &none) || len(none.Errors) > 0 {
		t.Errorf("the error is %v, want a NoSitesError without errors of sites", err)
	}
}

func TestALibraryInQuarantineHasNoPlan(t *testing.T) {
	b := stock(t, "libssl.so.3")
	s := New()
	p, err := s.Capture().Plan(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Refuse(p.BuildID, "a value cannot be"); err == nil {
		t.Fatal("the library is not in quarantine")
	}
	var q *QuarantineError
	if _, err := s.Capture().Plan(bytes.NewReader(b), int64(len(b))); !errors.As(err, &q) {
		t.Errorf("the error is %v, want a QuarantineError", err)
	}
}
