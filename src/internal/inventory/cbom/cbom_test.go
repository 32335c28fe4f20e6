// SPDX-License-Identifier: Apache-2.0

package cbom

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"crypto-auditing/src/internal/inventory/coverage"
	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/schema"
)

func day(n int) time.Time { return time.Date(2026, 11, n, 10, 30, 0, 0, time.UTC) }

// use is a row of a program.
func use(program, operation string, count uint64, p row.Parameters) row.Row {
	r := row.Row{Count: count, First: day(1), Last: day(20)}
	r.Executable, r.Operation, r.Source, r.Parameters = program, operation, "wire", p
	return r
}

// by sets the library that reported the operations.
func by(r row.Row, library string) row.Row {
	r.Library, r.LibraryID, r.Source = library, "00ff"+fmt.Sprintf("%x", library), "usdt"
	return r
}

// as sets the role.
func as(r row.Row, role string) row.Row {
	r.Role = role
	return r
}

// sample returns operations of all kinds.
func sample() *observed.Observed {
	hybrid := as(by(use("curl", row.TLSHandshake, 1204, row.Parameters{
		Version: "TLS 1.3", Suite: "TLS_AES_256_GCM_SHA384", Group: "X25519MLKEM768", PeerSignature: "rsa_pss_rsae_sha256",
	}), "libssl.so.3"), "client")
	hybrid.Failures = 3
	unit := as(use("nginx", row.TLSHandshake, 7, row.Parameters{
		Version: "TLS 1.2", Suite: "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", Group: "secp256r1", Signature: "rsa_pkcs1_sha256",
		Algorithm: "RSA", Bits: 2048, ExtendedSecret: "yes",
	}), "server")
	unit.Unit = "nginx.service"
	quic := as(use("firefox", row.TLSHandshake, 9, row.Parameters{Version: "TLS 1.3", Suite: "TLS_CHACHA20_POLY1305_SHA256", Group: "x25519", Transport: "quic"}), "client")
	return &observed.Observed{
		Uses: []row.Row{
			hybrid, unit, quic,
			as(use("curl", row.TLSHandshake, 2, row.Parameters{Version: "TLS 1.2", Suite: "TLS_RSA_WITH_3DES_EDE_CBC_SHA", Resumed: "no"}), "client"),
			as(use("old", row.TLSHandshake, 1, row.Parameters{Version: "SSL 3.0", Suite: "TLS_RSA_EXPORT_WITH_RC4_40_MD5"}), "client"),
			as(use("old", row.TLSHandshake, 1, row.Parameters{Version: "DTLS 1.2", Suite: "0xfefe", Group: "0x1234"}), "client"),
			as(use("old", row.TLSHandshake, 1, row.Parameters{}), "client"),
			as(use("old", row.TLSHandshake, 1, row.Parameters{Version: "TLS 1.2", Suite: "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384", GroupBits: 2048}), "client"),
			as(use("ssh", row.SSHHandshake, 5, row.Parameters{
				Kex: "mlkem768x25519-sha256", HostKey: "ssh-ed25519", ClientKey: "rsa-sha2-512", CipherOut: "chacha20-poly1305@openssh.com", CipherIn: "aes128-ctr", MACIn: "hmac-sha2-256-etm@openssh.com",
			}), "client"),
			as(use("sshd", row.SSHHandshake, 6, row.Parameters{
				Kex: "diffie-hellman-group-exchange-sha256", HostKey: "rsa-sha2-256", Bits: 3072, GroupBits: 4096, CipherOut: "aes256-gcm@openssh.com", CipherIn: "aes256-gcm@openssh.com",
			}), "server"),
			by(use("signer", row.Sign, 40, row.Parameters{Algorithm: "RSA", Bits: 2048, Hash: "SHA-1", Padding: "PKCS1"}), "libcrypto.so.3"),
			by(use("signer", row.Sign, 1, row.Parameters{Algorithm: "ECDSA", Curve: "secp256r1", Hash: "SHA-256"}), "libcrypto.so.3"),
			by(use("signer", row.Verify, 2, row.Parameters{Algorithm: "ML-DSA-65"}), "libcrypto.so.3"),
			by(use("signer", row.Encapsulate, 2, row.Parameters{Algorithm: "ML-KEM-768"}), "libcrypto.so.3"),
			by(use("signer", row.Derive, 2, row.Parameters{Algorithm: "X25519"}), "libcrypto.so.3"),
			by(use("signer", row.Generate, 2, row.Parameters{Algorithm: "EC", Curve: "secp384r1"}), "libcrypto.so.3"),
			by(use("signer", row.Decrypt, 2, row.Parameters{Algorithm: "RSA", Bits: 4096, Padding: "OAEP"}), "libcrypto.so.3"),
			use("", row.Sign, 2, row.Parameters{Algorithm: "something \u00e9 new/1"}),
			use("none", row.Sign, 2, row.Parameters{}),
		},
		Coverage: coverage.Coverage{
			From: day(1), To: day(30),
			Down:     []coverage.Span{{From: day(3), To: day(4), Reason: "machine stopped"}, {From: day(5), To: day(6), Reason: "library-replaced", Library: "libssl.so.3"}},
			Lost:     map[string]uint64{"ring-full": 12, "agent-overload": 2},
			Missing:  4,
			Sources:  []string{"usdt", "wire"},
			Programs: []coverage.Program{{Executable: "curl", Unit: "user@1000.service", Handshakes: 1206, KeyExchange: 1204, Authentication: 1204, Socket: 3}},
			Unseen:   []string{"cryptography of the kernel: WireGuard, IPsec, LUKS"},
			First:    1, Last: 900, Chain: "abcd",
		},
	}
}

func write(t *testing.T, o *observed.Observed, spec Spec) []byte {
	t.Helper()
	registry, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Write(&out, o, Options{Spec: spec, Version: "1.2.3", Name: "web1", Registry: registry}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// compile returns the official schema of a version; testdata/README.md documents its origin.
func compile(t *testing.T, spec Spec) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	files, err := filepath.Glob("testdata/*.schema.json")
	if err != nil || len(files) < 4 {
		t.Fatalf("schemas are %v, error %v", files, err)
	}
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		document, err := jsonschema.UnmarshalJSON(file)
		file.Close()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := c.AddResource("http://cyclonedx.org/schema/"+filepath.Base(name), document); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	compiled, err := c.Compile("http://cyclonedx.org/schema/bom-" + string(spec) + ".schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func TestBillsOfMaterialsMatchTheirSchema(t *testing.T) {
	for _, spec := range Specs() {
		official := compile(t, spec)
		for name, o := range map[string]*observed.Observed{"empty": {}, "of all kinds": sample()} {
			t.Run(string(spec)+" "+name, func(t *testing.T) {
				document, err := jsonschema.UnmarshalJSON(bytes.NewReader(write(t, o, spec)))
				if err != nil {
					t.Fatal(err)
				}
				if err := official.Validate(document); err != nil {
					t.Errorf("%v", err)
				}
			})
		}
		// The validator rejects what the schema does not allow.
		broken := bytes.Replace(write(t, sample(), spec), []byte(`"primitive": "combiner"`), []byte(`"primitive": "hybrid"`), 1)
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(broken))
		if err != nil {
			t.Fatal(err)
		}
		if official.Validate(document) == nil {
			t.Errorf("%s: an unknown primitive is accepted", spec)
		}
	}
}

// bom is the part of a bill of materials that tests check.
type bom struct {
	Schema       string `json:"$schema"`
	Version      int
	SpecVersion  string
	SerialNumber string
	Metadata     struct {
		Timestamp  string
		Component  struct{ Name string }
		Properties []property
		Lifecycles []struct{ Phase string }
		Tools      struct {
			Components []struct {
				Ref string `json:"bom-ref"`
			}
		}
	}
	Components   []component
	Compositions []struct{ Aggregate string }
	Dependencies []struct {
		Ref                 string
		DependsOn, Provides []string
	}
}

type property struct{ Name, Value string }

type component struct {
	Ref              string `json:"bom-ref"`
	Type, Name       string
	Properties       []property
	CryptoProperties struct {
		AssetType           string
		OID                 string
		AlgorithmProperties struct {
			Primitive, AlgorithmFamily, ParameterSetIdentifier, Curve, EllipticCurve, Mode, Padding string
			CryptoFunctions                                                                         []string
			ClassicalSecurityLevel, NistQuantumSecurityLevel                                        *int
		}
		RelatedCryptoMaterialProperties struct {
			Type                       string
			Size                       int
			AlgorithmRef               string
			RelatedCryptographicAssets []struct{ Type, Ref string }
		}
		ProtocolProperties struct {
			Type, Version  string
			CryptoRefArray []string
			CipherSuites   []struct {
				Name                                                    string
				Identifiers, Algorithms, TLSGroups, TLSSignatureSchemes []string
			}
			RelatedCryptographicAssets []struct{ Type, Ref string }
		}
	}
	Evidence struct {
		Identity []struct {
			Field   string
			Methods []struct{ Technique string }
			Tools   []string
		}
		Occurrences []struct{ Location, AdditionalContext string }
	}
}

func read(t *testing.T, text []byte) *bom {
	t.Helper()
	var b bom
	if err := json.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	return &b
}

func (b *bom) component(t *testing.T, ref string) *component {
	t.Helper()
	for i := range b.Components {
		if b.Components[i].Ref == ref {
			return &b.Components[i]
		}
	}
	t.Fatalf("the component %s is missing", ref)
	return nil
}

// edges returns the dependencies of a component, and the components it provides.
func (b *bom) edges(ref string) (dependsOn, provides []string) {
	for _, d := range b.Dependencies {
		if d.Ref == ref {
			return d.DependsOn, d.Provides
		}
	}
	return nil, nil
}

func TestTheSameObservationsGiveTheSameBytes(t *testing.T) {
	for _, spec := range Specs() {
		want := write(t, sample(), spec)
		reversed := sample()
		slices.Reverse(reversed.Uses)
		if got := write(t, reversed, spec); !bytes.Equal(got, want) {
			t.Errorf("%s: the order of rows changes the bytes", spec)
		}
		other := sample()
		other.Uses[0].Count++
		if read(t, write(t, other, spec)).SerialNumber == read(t, want).SerialNumber {
			t.Errorf("%s: different contents have the same serial number", spec)
		}
	}
}

func TestReferencesAreUniqueAndLeadToComponents(t *testing.T) {
	for _, spec := range Specs() {
		b := read(t, write(t, sample(), spec))
		if b.Schema != "http://cyclonedx.org/schema/bom-"+string(spec)+".schema.json" || b.SpecVersion != string(spec) || b.Version != 1 {
			t.Errorf("%s: the schema is %s, the version of the specification %s, of the document %d", spec, b.Schema, b.SpecVersion, b.Version)
		}
		known := map[string]bool{}
		for _, c := range b.Components {
			kind, _, _ := strings.Cut(c.Ref, "/")
			if want := map[string]string{"crypto": "cryptographic-asset", "program": "application", "library": "library"}[kind]; c.Type != want {
				t.Errorf("%s: %s is of type %s, want %s", spec, c.Ref, c.Type, want)
			}
			if known[c.Ref] {
				t.Errorf("%s: two components are %s", spec, c.Ref)
			}
			known[c.Ref] = true
		}
		for _, tool := range b.Metadata.Tools.Components {
			known[tool.Ref] = true
		}
		var all []string
		for _, d := range b.Dependencies {
			all = append(append(append(all, d.Ref), d.DependsOn...), d.Provides...)
			if slices.Contains(d.DependsOn, d.Ref) {
				t.Errorf("%s depends on itself", d.Ref)
			}
		}
		for _, c := range b.Components {
			for _, identity := range c.Evidence.Identity {
				all = append(all, identity.Tools...)
			}
			p := &c.CryptoProperties
			all = append(all, p.ProtocolProperties.CryptoRefArray...)
			for _, suite := range p.ProtocolProperties.CipherSuites {
				all = append(all, suite.Algorithms...)
			}
			for _, r := range append(p.ProtocolProperties.RelatedCryptographicAssets, p.RelatedCryptoMaterialProperties.RelatedCryptographicAssets...) {
				all = append(all, r.Ref)
			}
			if r := p.RelatedCryptoMaterialProperties.AlgorithmRef; r != "" {
				all = append(all, r)
			}
		}
		if len(all) < 100 {
			t.Errorf("%s: there are %d references", spec, len(all))
		}
		for _, ref := range all {
			if !known[ref] {
				t.Errorf("%s: %q is not a component", spec, ref)
			}
		}
	}
}

func TestHybridsAreCombinersThatDependOnBothAlgorithms(t *testing.T) {
	b := read(t, write(t, sample(), Spec16))
	for ref, want := range map[string][]string{
		"crypto/algorithm/X25519MLKEM768":        {"crypto/algorithm/ML-KEM-768", "crypto/algorithm/x25519"},
		"crypto/algorithm/mlkem768x25519-sha256": {"crypto/algorithm/ML-KEM-768", "crypto/algorithm/SHA-256", "crypto/algorithm/x25519"},
	} {
		c := b.component(t, ref)
		if p := c.CryptoProperties.AlgorithmProperties; p.Primitive != "combiner" || p.NistQuantumSecurityLevel != nil {
			t.Errorf("%s is %+v", ref, p)
		}
		if on, _ := b.edges(ref); !slices.Equal(on, want) {
			t.Errorf("%s depends on %v, want %v", ref, on, want)
		}
	}
	kem := b.component(t, "crypto/algorithm/ML-KEM-768")
	p := kem.CryptoProperties
	if p.OID != "2.16.840.1.101.3.4.4.2" || p.AlgorithmProperties.Primitive != "kem" || *p.AlgorithmProperties.NistQuantumSecurityLevel != 3 || p.AlgorithmProperties.ClassicalSecurityLevel != nil {
		t.Errorf("ML-KEM-768 is %+v", p)
	}
	if !slices.Equal(p.AlgorithmProperties.CryptoFunctions, []string{"encapsulate"}) {
		t.Errorf("its functions are %v", p.AlgorithmProperties.CryptoFunctions)
	}
	if len(kem.Properties) != 2 || kem.Properties[0].Name != "crypto-auditing:source:oid" || !strings.Contains(kem.Properties[1].Value, "FIPS 203") {
		t.Errorf("its sources are %v", kem.Properties)
	}
}

func TestProgramsDependOnLibrariesThatProvideAlgorithms(t *testing.T) {
	b := read(t, write(t, sample(), Spec16))
	library := "library/libcrypto.so.3@00ff6c696263727970746f2e736f2e33"
	on, _ := b.edges("program/signer")
	_, provides := b.edges(library)
	for _, algorithm := range []string{"RSA-PKCS1-1.5-SHA-1-2048", "ECDSA-secp256r1-SHA-256", "ML-DSA-65", "ML-KEM-768", "x25519", "EC-secp384r1", "RSA-OAEP-4096", "SHA-1"} {
		if ref := "crypto/algorithm/" + algorithm; !slices.Contains(on, ref) || !slices.Contains(provides, ref) {
			t.Errorf("%s is not used by the program and provided by the library", ref)
		}
	}
	if !slices.Contains(on, library) {
		t.Errorf("the program depends on %v, not on its library", on)
	}
	if on, _ := b.edges("program/nginx"); slices.ContainsFunc(on, func(ref string) bool { return strings.HasPrefix(ref, "library/") }) {
		t.Errorf("a program at sockets depends on a library: %v", on)
	}
	if c := b.component(t, library); c.Name != "libcrypto.so.3" || c.Type != "library" || c.Properties[0] != (property{"crypto-auditing:build-id", "00ff6c696263727970746f2e736f2e33"}) {
		t.Errorf("the library is %+v", c)
	}
}

func TestEvidenceHasProgramCountAndTimes(t *testing.T) {
	b := read(t, write(t, sample(), Spec16))
	c := b.component(t, "crypto/protocol/TLS%201.2")
	var got []string
	for _, o := range c.Evidence.Occurrences {
		got = append(got, o.Location+": "+o.AdditionalContext)
	}
	want := []string{
		"curl: operations: 2; failed: 0; first: 2026-11-01T10:30:00Z; last: 2026-11-20T10:30:00Z",
		"nginx: operations: 7; failed: 0; first: 2026-11-01T10:30:00Z; last: 2026-11-20T10:30:00Z; unit: nginx.service",
		"old: operations: 1; failed: 0; first: 2026-11-01T10:30:00Z; last: 2026-11-20T10:30:00Z",
	}
	if !slices.Equal(got, want) {
		t.Errorf("occurrences are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// A hash function in several parts of a handshake counts once.
	for _, o := range b.component(t, "crypto/algorithm/SHA-256").Evidence.Occurrences {
		if o.Location == "nginx" && !strings.HasPrefix(o.AdditionalContext, "operations: 7;") {
			t.Errorf("SHA-256 of nginx: %s", o.AdditionalContext)
		}
	}
	identity := c.Evidence.Identity
	if len(identity) != 1 || identity[0].Field != "name" || identity[0].Methods[0].Technique != "instrumentation" || !slices.Equal(identity[0].Tools, []string{"tool/crypto-auditing"}) {
		t.Errorf("identity is %+v", identity)
	}
	if o := b.component(t, "crypto/algorithm/X25519MLKEM768").Evidence.Occurrences; len(o) != 1 || !strings.HasPrefix(o[0].AdditionalContext, "operations: 1204; failed: 3;") {
		t.Errorf("occurrences of the hybrid are %v", o)
	}
}

func TestSuitesHaveTheirNumbersAndAlgorithms(t *testing.T) {
	for spec, want := range map[Spec]string{
		Spec16: "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA [0xC0 0x13] [AES-128-CBC ECDHE-secp256r1 HMAC-SHA-1 RSA-PKCS1-1.5-SHA-256 SHA-1 SHA-256] [] []",
		Spec17: "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA [0xC0 0x13] [AES-128-CBC ECDHE-secp256r1 HMAC-SHA-1 RSA-PKCS1-1.5-SHA-256 SHA-1 SHA-256] [secp256r1] [rsa_pkcs1_sha256]",
	} {
		b := read(t, write(t, sample(), spec))
		p := b.component(t, "crypto/protocol/TLS%201.2").CryptoProperties.ProtocolProperties
		var got []string
		for _, s := range p.CipherSuites {
			for i, a := range s.Algorithms {
				s.Algorithms[i] = strings.TrimPrefix(a, "crypto/algorithm/")
			}
			got = append(got, fmt.Sprint(s.Name, " ", s.Identifiers, " ", s.Algorithms, " ", s.TLSGroups, " ", s.TLSSignatureSchemes))
		}
		if !slices.Contains(got, want) {
			t.Errorf("%s: suites are\n%s\nwant\n%s", spec, strings.Join(got, "\n"), want)
		}
		if p.Type != "tls" || p.Version != "1.2" || (len(p.CryptoRefArray) > 0) == (spec == Spec17) || (len(p.RelatedCryptographicAssets) > 0) == (spec == Spec16) {
			t.Errorf("%s: TLS 1.2 is %+v", spec, p)
		}
		for ref, kind := range map[string][2]string{"DTLS%201.2": {"other", "dtls"}, "QUIC": {"other", "quic"}, "SSL%203.0": {"tls", "tls"}, "SSH%202.0": {"ssh", "ssh"}} {
			if got := b.component(t, "crypto/protocol/"+ref).CryptoProperties.ProtocolProperties.Type; got != kind[slices.Index(Specs(), spec)] {
				t.Errorf("%s: %s is of type %s", spec, ref, got)
			}
		}
	}
}

func TestServerKeysHaveTheirSize(t *testing.T) {
	for _, spec := range Specs() {
		b := read(t, write(t, sample(), spec))
		for ref, size := range map[string]int{"crypto/key/RSA%202048": 2048, "crypto/key/RSA%203072": 3072} {
			p := b.component(t, ref).CryptoProperties.RelatedCryptoMaterialProperties
			if p.Type != "public-key" || p.Size != size || (p.AlgorithmRef == "") == (spec == Spec16) || (p.RelatedCryptographicAssets == nil) == (spec == Spec17) {
				t.Errorf("%s: %s is %+v", spec, ref, p)
			}
		}
	}
}

func TestPropertiesHaveTheCoverage(t *testing.T) {
	b := read(t, write(t, sample(), Spec16))
	var got []string
	for _, p := range b.Metadata.Properties {
		got = append(got, strings.TrimPrefix(p.Name, "crypto-auditing:")+"="+p.Value)
	}
	want := []string{
		"coverage=what was observed while it ran: what is not listed may be in use nevertheless",
		"coverage:from=2026-11-01T10:30:00Z", "coverage:to=2026-11-30T10:30:00Z",
		"coverage:down=2026-11-03T10:30:00Z/2026-11-04T10:30:00Z machine stopped",
		"coverage:down=2026-11-05T10:30:00Z/2026-11-06T10:30:00Z library-replaced libssl.so.3",
		"coverage:lost:agent-overload=2", "coverage:lost:ring-full=12", "coverage:missing=4", "coverage:sources=usdt wire",
		"coverage:unseen=cryptography of the kernel: WireGuard, IPsec, LUKS",
		"log:first=1", "log:last=900", "log:chain=abcd",
		"coverage:program=curl (user@1000.service): 1206 handshakes, key exchange known of 1204, authentication of 1204, 3 seen at sockets only",
	}
	if !slices.Equal(got, want) {
		t.Errorf("properties are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if b.Compositions[0].Aggregate != "incomplete" || b.Metadata.Timestamp != "2026-11-30T10:30:00Z" || b.Metadata.Component.Name != "web1" || b.Metadata.Lifecycles[0].Phase != "operations" {
		t.Errorf("metadata is %+v, compositions %v", b.Metadata, b.Compositions)
	}
	none := read(t, write(t, &observed.Observed{}, Spec16))
	if p := none.Metadata.Properties; len(p) != 1 || !strings.Contains(p[0].Value, "nothing was recorded") || none.Compositions[0].Aggregate != "unknown" {
		t.Errorf("without observations, properties are %v, compositions %v", p, none.Compositions)
	}
}

func TestAnUnknownVersionIsAnError(t *testing.T) {
	if err := Write(new(bytes.Buffer), sample(), Options{Spec: "1.5"}); err == nil || !strings.Contains(err.Error(), `"1.5"`) {
		t.Errorf("error is %v", err)
	}
}

func TestEveryNameOfTheTableIsAnAlgorithmAndEveryClaimHasASource(t *testing.T) {
	table, err := loadTable()
	if err != nil {
		t.Fatal(err)
	}
	check := func(of, name string) {
		if _, ok := table.Algorithms[name]; !ok {
			t.Errorf("%s names %q, which the table lacks", of, name)
		}
	}
	for _, names := range []map[string][]string{table.TLS.Group, table.TLS.Signature, table.TLS.Exchange, table.SSH.Kex, table.SSH.Key, table.SSH.Cipher, table.SSH.MAC} {
		for name, list := range names {
			for _, algorithm := range list {
				check(name, algorithm)
			}
		}
	}
	for _, names := range []map[string]string{table.TLS.Cipher, table.TLS.Hash} {
		for name, algorithm := range names {
			check(name, algorithm)
		}
	}
	used := map[string]bool{sp800: true}
	for name, a := range table.Algorithms {
		for _, part := range a.Parts {
			check(name, part)
		}
		if a.Curve != "" && table.Curves[a.Curve] == "" {
			t.Errorf("%s is on the curve %s, which the table lacks", name, a.Curve)
		}
		for source, claimed := range map[string]bool{a.OIDSource: a.OID != "", a.ClassicalSource: a.Classical != nil, a.QuantumSource: a.Quantum != nil} {
			if source != "" {
				used[source] = true
			}
			if table.Sources[source] == "" && claimed {
				t.Errorf("%s has a claim without a source", name)
			}
			if source != "" && !claimed {
				t.Errorf("%s has the source %s without a claim", name, source)
			}
		}
	}
	if all := slices.Sorted(maps.Keys(table.Sources)); len(all) != len(used) {
		t.Errorf("the sources are %v, but only %v are used", all, used)
	}
}

func TestGroupsAndSchemesOfTheTableAreRegistered(t *testing.T) {
	table, err := loadTable()
	if err != nil {
		t.Fatal(err)
	}
	registry, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for key, names := range map[string]map[string][]string{"tls::group": table.TLS.Group, "tls::signature_algorithm": table.TLS.Signature} {
		registered := registry.Key(key).Names()
		for name := range names {
			if !slices.Contains(registered, name) {
				t.Errorf("%s is not a name of %s", name, key)
			}
		}
	}
	// The table has the parts of nearly all current suites.
	for _, suite := range registry.Key("tls::ciphersuite").Names() {
		exchange, records := table.suite(suite)
		old := strings.HasPrefix(suite, "TLS_") && !strings.Contains(suite, "_WITH_")
		if strings.Contains(suite, "_WITH_AES_") && (len(records) == 0 || len(exchange) == 0 && !strings.Contains(suite, "_PSK_") && !strings.Contains(suite, "SRP") && !strings.Contains(suite, "KRB5") && !strings.Contains(suite, "ECCPWD") && !strings.HasPrefix(suite, "TLS_PSK")) {
			t.Errorf("%s has the parts %v and %v", suite, exchange, records)
		}
		if old && len(exchange) > 0 {
			t.Errorf("%s of TLS 1.3 has the key exchange %v", suite, exchange)
		}
	}
}
