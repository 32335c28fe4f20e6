// SPDX-License-Identifier: Apache-2.0

package schema_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
)

func TestNumbersHaveTheirRegisteredNames(t *testing.T) {
	r := registry(t)
	for name, c := range map[string]struct {
		key    string
		number int64
		want   string // empty: no name
	}{
		"TLS 1.3":                            {"tls::protocol_version", 0x304, "TLS 1.3"},
		"DTLS 1.2":                           {"tls::protocol_version", 0xfefd, "DTLS 1.2"},
		"an unassigned version":              {"tls::protocol_version", 0x399, ""},
		"a suite of TLS 1.3":                 {"tls::ciphersuite", 0x1301, "TLS_AES_128_GCM_SHA256"},
		"a suite with OpenSSL's upper bits":  {"tls::ciphersuite", 0x03001302, "TLS_AES_256_GCM_SHA384"},
		"a suite of TLS 1.2":                 {"tls::ciphersuite", 0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"},
		"a suite of ChaCha20":                {"tls::ciphersuite", 0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"},
		"a suite of SM4":                     {"tls::ciphersuite", 0xc6, "TLS_SM4_GCM_SM3"},
		"a suite of GOST":                    {"tls::ciphersuite", 0xc100, "TLS_GOSTR341112_256_WITH_KUZNYECHIK_CTR_OMAC"},
		"a renamed suite":                    {"tls::ciphersuite", 0x1306, "TLS_AEGIS_256_SHA512"},
		"the null suite":                     {"tls::ciphersuite", 0, "TLS_NULL_WITH_NULL_NULL"},
		"GREASE is not a suite":              {"tls::ciphersuite", 0x0a0a, ""},
		"an elliptic curve":                  {"tls::group", 23, "secp256r1"},
		"X25519":                             {"tls::group", 29, "x25519"},
		"a finite field":                     {"tls::group", 256, "ffdhe2048"},
		"ML-KEM-512":                         {"tls::group", 0x200, "MLKEM512"},
		"ML-KEM-768":                         {"tls::group", 0x201, "MLKEM768"},
		"ML-KEM-1024":                        {"tls::group", 0x202, "MLKEM1024"},
		"a hybrid with P-256":                {"tls::group", 4587, "SecP256r1MLKEM768"},
		"a hybrid with X25519":               {"tls::group", 4588, "X25519MLKEM768"},
		"a hybrid with P-384":                {"tls::group", 4589, "SecP384r1MLKEM1024"},
		"an obsolete hybrid":                 {"tls::group", 0x6399, "X25519Kyber768Draft00"},
		"GREASE is not a group":              {"tls::group", 0x1a1a, ""},
		"ECDSA":                              {"tls::signature_algorithm", 0x403, "ecdsa_secp256r1_sha256"},
		"RSA-PSS":                            {"tls::signature_algorithm", 0x804, "rsa_pss_rsae_sha256"},
		"Ed25519":                            {"tls::signature_algorithm", 0x807, "ed25519"},
		"ML-DSA-44":                          {"tls::signature_algorithm", 0x904, "mldsa44"},
		"ML-DSA-65":                          {"tls::signature_algorithm", 0x905, "mldsa65"},
		"ML-DSA-87":                          {"tls::signature_algorithm", 0x906, "mldsa87"},
		"SLH-DSA":                            {"tls::signature_algorithm", 0x911, "slhdsa_sha2_128s"},
		"a pair of hash and signature":       {"tls::signature_algorithm", 0x202, "dsa_sha1"},
		"a set flag":                         {"tls::extended_master_secret", 1, "yes"},
		"an unset flag":                      {"pk::static", 0, "no"},
		"a flag with another value":          {"pk::static", 7, ""},
		"a plain number":                     {"pk::bits", 2048, ""},
		"an unregistered key":                {"tls::future", 1, ""},
		"a negative number":                  {"tls::group", -1, ""},
		"a number with bits above the key's": {"tls::group", 0x1001d, "x25519"},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := r.Key(c.key).Text(c.number)
			if got != c.want || ok != (c.want != "") {
				t.Errorf("%s %#x is %q (%v), want %q", c.key, c.number, got, ok, c.want)
			}
			if c.want == "" {
				return
			}
			if back, ok := r.Key(c.key).Parse(strings.ToUpper(got)); !ok || back != r.Key(c.key).Number(c.number) {
				t.Errorf("the name %q has the number %#x (%v), want %#x", got, back, ok, c.number)
			}
		})
	}
}

func TestTheRegistriesAreComplete(t *testing.T) {
	r := registry(t)
	for key, least := range map[string]int{
		"tls::ciphersuite": 352, "tls::group": 57, "tls::signature_algorithm": 59, "tls::protocol_version": 11,
	} {
		if n := len(r.Key(key).Names()); n < least {
			t.Errorf("%s has %d names, want at least %d", key, n, least)
		}
	}
}

func TestContextsNestAsRegistered(t *testing.T) {
	r := registry(t)
	for name, c := range map[string]struct {
		parent, child string
		want          bool
	}{
		"a key exchange in a handshake":         {"tls::handshake", "tls::key_exchange", true},
		"a certificate chain in a handshake":    {"tls::handshake", "tls::verify_cert_chain", true},
		"any pk in a handshake":                 {"tls::handshake", "pk::encrypt", true},
		"the same under the old name":           {"tls::handshake_server", "tls::sign", true},
		"no handshake in a handshake":           {"tls::handshake", "tls::handshake", false},
		"no handshake under the old name":       {"tls::handshake", "tls::handshake_client", false},
		"a derivation in a key exchange":        {"tls::key_exchange", "pk::derive", true},
		"a decapsulation in a key exchange":     {"tls::key_exchange", "pk::decapsulate", true},
		"no signature in a key exchange":        {"tls::key_exchange", "pk::sign", false},
		"a signature in tls::sign":              {"tls::sign", "pk::sign", true},
		"no derivation in tls::verify":          {"tls::verify", "pk::derive", false},
		"a check in a certificate chain":        {"tls::verify_cert_chain", "pk::verify", true},
		"no key exchange in a key exchange":     {"tls::key_exchange", "tls::key_exchange", false},
		"nothing in a pk operation":             {"pk::sign", "pk::verify", false},
		"an SSH key in an SSH handshake":        {"ssh::handshake", "ssh::client_key", true},
		"no TLS in SSH":                         {"ssh::handshake", "tls::sign", false},
		"nothing in an unknown context":         {"x::y", "pk::sign", false},
		"no unknown context of any scope":       {"tls::handshake", "pk::unheard_of", false},
		"nothing in a context without its name": {"", "pk::sign", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := r.MayHold(c.parent, c.child); got != c.want {
				t.Errorf("%q may hold %q: %v, want %v", c.parent, c.child, got, c.want)
			}
		})
	}
}

// load loads the registry with a file of the given text.
func load(t *testing.T, text string) (*schema.Registry, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "site.toml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return schema.Load(file)
}

func TestMistakesInRegistryFilesAreReportedWithTheirLine(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"an unknown table":             {"\n[context.\"x::y\"]\nkeys = []\n", `site.toml:2: unknown entry context`},
		"an unknown field":             {"[keys.\"x::y\"]\ntype = \"string\"\nkind = \"x\"\n", `site.toml:3: unknown entry keys.x::y.kind`},
		"invalid TOML":                 {"[keys]\n= 5\n", "site.toml:2: "},
		"a wrong type of value":        {"[keys.\"x::y\"]\ntype = 5\n", "site.toml:2: "},
		"a bad key":                    {"# a comment\n[keys.\"x::1y\"]\n", `site.toml:2: "x::1y" is not a valid key`},
		"a bad type of key":            {"[keys.\"x::y\"]\n\ntype = \"int\"\n", `site.toml:3: unknown type "int"`},
		"a bad context":                {"[contexts.\"x::y::z\"]\n", `site.toml:1: "x::y::z" is not a valid context name`},
		"missing names":                {"[keys.\"x::y\"]\ntype = \"uint16\"\nnames = \"tls-group\"\n", `site.toml:3: key x::y: no table of names is called "tls-group"`},
		"a missing key":                {"[contexts.\"x::y\"]\nkeys = [\"x::z\"]\n", `site.toml:2: context x::y: no key is called "x::z"`},
		"a missing context":            {"[contexts.\"x::y\"]\n\n\nholds = [\"x::z\"]\n", `site.toml:4: context x::y: holds names "x::z"`},
		"a summary of a missing key":   {"[contexts.\"x::y\"]\nsummary = [\"x::z\"]\n", `site.toml:2: context x::y: no key is called "x::z"`},
		"like a missing context":       {"[contexts.\"x::y\"]\nlike = \"x::z\"\n", `site.toml:2: context x::y: like names "x::z"`},
		"like a like context":          {"[contexts.\"x::y\"]\nlike = \"pk::verify\"\n", `site.toml:2: context x::y: like names pk::verify, which itself is like pk::sign`},
		"implied, but unknown":         {"[contexts.\"x::y\"]\nimplies = { \"x::z\" = \"a\" }\n", `site.toml:2: context x::y: implies names "x::z"`},
		"settled by a missing context": {"[contexts.\"x::y\"]\nsettled_by = [\"x::z\"]\n", `site.toml:2: context x::y: settled_by names "x::z"`},
		"settled with a missing key":   {"[contexts.\"x::y\"]\nsettled_with = [\"x::z\"]\n", `site.toml:2: context x::y: no key is called "x::z"`},
		"an invalid number":            {"[names.tls-groups]\n0x100 = \"a\"\n\"0xzz\" = \"b\"\n", `site.toml:3: "0xzz" is not a number`},
		"missing spellings":            {"[keys.\"x::y\"]\ntype = \"string\"\nspellings = \"hash\"\n", `site.toml:3: key x::y: no table of spellings is called "hash"`},
		"a spelling of two names":      {"[spellings.hashes]\n\"X\" = [\"sha-1\"]\n", `site.toml:2: "sha-1" is a spelling of SHA1 already`},
		"an empty name":                {"[names.tls-groups]\n0x100 = \"\"\n", `site.toml:2: the name of 0x100 is empty`},
		"a number given twice":         {"[names.tls-groups]\n0x100 = \"a\"\n0x100 = \"b\"\n", "site.toml:3: "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, c.text)
			var bad *schema.Error
			if !errors.As(err, &bad) {
				t.Fatalf("error is %v, want a *schema.Error", err)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %q, want %q in it", err, c.want)
			}
		})
	}
}

func TestAFileExtendsTheRegistry(t *testing.T) {
	r, err := load(t, `
[contexts."ike::exchange"]
description = "IKE exchange"
keys = ["ike::version"]
holds = ["tls::*", "pk::sign"]
summary = ["ike::version"]

[contexts."tls::handshake"]
keys = ["tls::server_name"]
holds = ["ike::exchange"]

[keys."ike::version"]
type = "uint8"
names = "ike-versions"

[keys."tls::server_name"]
type = "string"

[names.ike-versions]
0x20 = "IKEv2"

[names.tls-groups]
0xfe30 = "my_group"
`)
	if err != nil {
		t.Fatal(err)
	}
	if name, _ := r.Key("ike::version").Text(0x20); name != "IKEv2" {
		t.Errorf("ike::version 0x20 is %q, want IKEv2", name)
	}
	if name, _ := r.Key("tls::group").Text(0xfe30); name != "my_group" {
		t.Errorf("tls::group 0xfe30 is %q, want my_group", name)
	}
	if name, _ := r.Key("tls::group").Text(29); name != "x25519" {
		t.Errorf("tls::group 29 is %q, want x25519 as before", name)
	}
	if c := r.Context("tls::handshake"); !c.Has("tls::server_name") || !c.Has("tls::role") {
		t.Error("tls::handshake lacks its new key or an old one")
	}
	if !r.Context("tls::handshake_client").Has("tls::server_name") {
		t.Error("tls::handshake_client lacks the new key of tls::handshake")
	}
	for _, pair := range [][2]string{{"tls::handshake", "ike::exchange"}, {"tls::handshake", "pk::sign"}, {"ike::exchange", "tls::verify"}} {
		if !r.MayHold(pair[0], pair[1]) {
			t.Errorf("%s may not hold %s", pair[0], pair[1])
		}
	}
}

func TestLaterDirectoriesReplaceFilesOfEarlierOnes(t *testing.T) {
	vendor, site := t.TempDir(), t.TempDir()
	for _, file := range []string{vendor + "/10-a.toml", vendor + "/20-b.toml", site + "/20-b.toml", site + "/15-c.toml", site + "/notes.txt"} {
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := schema.Files(vendor, site, site+"/not-there")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{vendor + "/10-a.toml", site + "/15-c.toml", site + "/20-b.toml"}, " ")
	if strings.Join(got, " ") != want {
		t.Errorf("files are %v, want %s", got, want)
	}
}

func TestMatchesTakeNumbersAndNames(t *testing.T) {
	word := func(n int64) event.Value { return event.Value{Word: n} }
	text := func(s string) event.Value { return event.Value{Kind: event.String, Bytes: []byte(s)} }
	for name, c := range map[string]struct {
		match string
		value event.Value
		want  bool
	}{
		"a decimal number":                 {"tls::protocol_version=771", word(771), true},
		"a hexadecimal number":             {"tls::protocol_version=0x303", word(771), true},
		"another number":                   {"tls::protocol_version=772", word(771), false},
		"a name":                           {"tls::protocol_version=TLS 1.2", word(771), true},
		"a name without its space":         {"tls::protocol_version=tls1.2", word(771), true},
		"a group by name":                  {"tls::group=x25519mlkem768", word(4588), true},
		"a suite with OpenSSL's bits":      {"tls::ciphersuite=TLS_AES_256_GCM_SHA384", word(0x03001302), true},
		"such a suite by its whole number": {"tls::ciphersuite=0x03001302", word(0x1302), true},
		"a string":                         {"tls::role=client", text("client"), true},
		"another string":                   {"tls::role=client", text("server"), false},
		"a string where a number belongs":  {"pk::bits=2048", text("2048"), true},
		"an empty string":                  {"pk::hash=", text(""), true},
		"a flag":                           {"tls::extended_master_secret=yes", word(1), true},
		"an unregistered key, a number":    {"x::y=5", word(5), true},
		"an unregistered key, text":        {"x::y=5", text("5"), true},
		"a value with an equals sign":      {"x::y=a=b", text("a=b"), true},
		"bytes in escaped form":            {`x::y=\xff\x00`, event.Value{Kind: event.Blob, Bytes: []byte{0xff, 0}}, true},
		"a negative number":                {"x::y=-1", word(-1), true},
		"a spelling of the registry":       {"pk::hash=SHA1", text("SHA1"), true},
		"another spelling":                 {"pk::hash=SHA-1", text("SHA1"), true},
		"another spelling in the log":      {"pk::hash=SHA1", text("SHA-1"), true},
		"a spelling in another case":       {"pk::hash=sha1", text("SHA1"), true},
		"another case in the log":          {"pk::hash=SHA2-256", text("sha256"), true},
		"a spelling of something else":     {"pk::hash=SHA1", text("SHA256"), false},
		"a curve by its other name":        {"pk::curve=P-256", text("SECP256R1"), true},
		"an algorithm by its short name":   {"pk::algorithm=ecdsa", text("EC/ECDSA"), true},
		"an unknown spelling":              {"pk::hash=sha-0", text("SHA0"), false},
		"an unknown spelling's own text":   {"pk::hash=sha-0", text("sha-0"), true},
		"a spelling as bytes":              {"pk::hash=SHA-1", event.Value{Kind: event.Blob, Bytes: []byte("SHA1")}, true},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := registry(t).ParseMatch(c.match)
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Matches(&c.value); got != c.want {
				t.Errorf("%s on %+v: %v, want %v", c.match, c.value, got, c.want)
			}
		})
	}
}

// A search looks for the values that a match returns in the index of the log.
func TestAMatchMatchesItsValues(t *testing.T) {
	m, err := registry(t).ParseMatch("pk::hash=sha-256")
	if err != nil {
		t.Fatal(err)
	}
	values, all := m.Values()
	seen := map[string]bool{}
	for i := range values {
		if !m.Matches(&values[i]) {
			t.Errorf("%s does not match its value %q", "pk::hash=sha-256", values[i].Bytes)
		}
		seen[string(values[i].Bytes)] = true
	}
	if !all || !seen["sha-256"] || !seen["SHA256"] || !seen["sha2-256"] || !seen["SHA-256"] {
		t.Errorf("the values are %v, all: %v", seen, all)
	}
}

func TestNamesOfStringsHaveTheirFirstSpelling(t *testing.T) {
	if names := registry(t).Key("pk::curve").Names(); !slices.Contains(names, "SECP256R1") || slices.Contains(names, "P-256") {
		t.Errorf("the names of pk::curve are %q", names)
	}
}

func TestInvalidMatchesAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ match, want string }{
		"no equals sign":       {"tls::role", "KEY=VALUE"},
		"no key":               {"=5", "is not a valid key"},
		"a bad key":            {"a::b::c=5", "is not a valid key"},
		"a misspelt group":     {"tls::group=x25518", `did you mean "x25519"?`},
		"a misspelt version":   {"tls::protocol_version=TLS 1.9", "no name that is known"},
		"a number for letters": {"pk::bits=many", "is not a number"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := registry(t).ParseMatch(c.match)
			var bad *schema.MatchError
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want a *schema.MatchError with %q", err, c.want)
			}
		})
	}
}

func TestValuesImpliedByANameAreMatched(t *testing.T) {
	r := registry(t)
	m, err := r.ParseMatch("tls::role=client")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"tls::handshake_client": true, "tls::handshake_server": false, "tls::handshake": false} {
		if got := m.In(r, &schema.Span{Name: name}); got != want {
			t.Errorf("%s has %v: %v, want %v", name, "tls::role=client", got, want)
		}
	}
}

func TestContextPatterns(t *testing.T) {
	r := registry(t)
	for name, c := range map[string]struct {
		pattern, context string
		want             bool
	}{
		"the name":                {"tls::sign", "tls::sign", true},
		"another name":            {"tls::sign", "tls::verify", false},
		"a name of the same kind": {"tls::handshake", "tls::handshake_client", true},
		"but not its sibling":     {"tls::handshake_server", "tls::handshake_client", false},
		"a scope":                 {"pk::*", "pk::derive", true},
		"another scope":           {"pk::*", "pkx::derive", false},
		"an unregistered name":    {"x::y", "x::y", true},
		"no name fits a scope":    {"pk::*", "", false},
		"a scope without a name":  {"pk::*", "pk", false},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := schema.ParseContextPattern(c.pattern)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Matches(r, c.context); got != c.want {
				t.Errorf("%s on %q: %v, want %v", c.pattern, c.context, got, c.want)
			}
		})
	}
	for _, bad := range []string{"", "*", "::*", "tls::", "tls::*x", "a::b::*"} {
		if _, err := schema.ParseContextPattern(bad); err == nil {
			t.Errorf("%q is accepted as a pattern", bad)
		}
	}
}

func FuzzParseMatch(f *testing.F) {
	for _, s := range []string{"tls::group=29", "tls::protocol_version=TLS 1.2", "x=", "=", "a::b::c=5"} {
		f.Add(s)
	}
	r := registry(f)
	f.Fuzz(func(t *testing.T, s string) {
		m, err := r.ParseMatch(s)
		if err != nil {
			return
		}
		if !schema.ValidName(m.Key) {
			t.Errorf("%q has the key %q", s, m.Key)
		}
		_, value, _ := strings.Cut(s, "=")
		if !m.Matches(&event.Value{Kind: event.String, Bytes: []byte(value)}) {
			t.Errorf("%q does not match its own text", s)
		}
	})
}

func FuzzLoad(f *testing.F) {
	f.Add("[contexts.\"x::y\"]\nkeys = [\"tls::role\"]\n")
	f.Add("[names.t]\n0x1 = \"a\"\n[keys.k]\nnames = \"t\"\n")
	directory := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		file, err := os.CreateTemp(directory, "*.toml")
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(file.Name())
		if _, err := file.WriteString(text); err != nil {
			t.Fatal(err)
		}
		file.Close()
		_, err = schema.Load(file.Name())
		var bad *schema.Error
		if err != nil && !errors.As(err, &bad) {
			t.Errorf("error %v is not a *schema.Error", err)
		}
	})
}

func BenchmarkLoad(b *testing.B) {
	file := filepath.Join(b.TempDir(), "site.toml")
	if err := os.WriteFile(file, []byte("[names.tls-groups]\n0xfe30 = \"my_group\"\n"), 0o644); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := schema.Load(file); err != nil {
			b.Fatal(err)
		}
	}
}
