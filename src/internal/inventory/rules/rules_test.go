// SPDX-License-Identifier: Apache-2.0

package rules_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/inventory/fact"
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/inventory/rules"
)

func tls(version, suite string, p row.Parameters) row.Use {
	p.Version, p.Suite = version, suite
	return row.Use{Operation: row.TLSHandshake, Role: "client", Parameters: p}
}

func operation(kind string, p row.Parameters) row.Use { return row.Use{Operation: kind, Parameters: p} }

// Suites of the cases.
const (
	suite13   = "TLS_AES_128_GCM_SHA256"
	suite1384 = "TLS_AES_256_GCM_SHA384"
	suite12   = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
)

// cases returns, for each rule, uses that break it, keep it, leave it undecidable, and to which it does not apply.
func cases() map[string]struct{ breaks, keeps, undecidable, other []row.Use } {
	type uses = []row.Use
	hybrid, classical := tls("TLS 1.3", suite13, row.Parameters{Group: "X25519MLKEM768"}), tls("TLS 1.3", suite13, row.Parameters{Group: "x25519"})
	noGroup := tls("TLS 1.3", suite13, row.Parameters{})
	mldsa, rsa := operation(row.Sign, row.Parameters{Algorithm: "ML-DSA-87"}), operation(row.Sign, row.Parameters{Algorithm: "RSA", Bits: 3072, Hash: "SHA-256"})
	small := operation(row.Sign, row.Parameters{Algorithm: "RSA", Bits: 2048, Hash: "SHA-256"})
	noVersion, noKey := tls("", suite12, row.Parameters{}), operation(row.Sign, row.Parameters{})
	version := func(v string) row.Use { return tls(v, suite12, row.Parameters{}) }
	key := func(algorithm string) row.Use { return operation(row.Verify, row.Parameters{Algorithm: algorithm}) }
	wire := tls("TLS 1.3", suite13, row.Parameters{Group: "x25519"})
	return map[string]struct{ breaks, keeps, undecidable, other []row.Use }{
		"ietf.rfc6176": {uses{version("SSL 2.0")}, uses{version("TLS 1.2")}, uses{noVersion}, uses{rsa}},
		"ietf.rfc7568": {uses{version("SSL 3.0")}, uses{version("TLS 1.3")}, uses{noVersion}, uses{rsa}},
		"ietf.rfc8996": {
			uses{version("TLS 1.0"), version("TLS 1.1"), version("DTLS 1.0")}, uses{version("TLS 1.2"), version("DTLS 1.2"), version("TLS 1.3")}, uses{noVersion}, uses{rsa},
		},
		"ietf.rfc9155": {
			uses{tls("TLS 1.2", suite12, row.Parameters{PeerSignature: "rsa_pkcs1_sha1"})},
			uses{tls("TLS 1.2", suite12, row.Parameters{PeerSignature: "rsa_pkcs1_sha256"})}, uses{version("TLS 1.2")}, uses{classical, version("TLS 1.0"), rsa},
		},
		"ietf.rfc7465": {uses{tls("TLS 1.2", "TLS_RSA_WITH_RC4_128_SHA", row.Parameters{})}, uses{classical, tls("TLS 1.3", "", row.Parameters{})}, uses{tls("TLS 1.2", "0x1234", row.Parameters{})}, nil},
		"ietf.rfc5469": {
			uses{tls("TLS 1.1", "TLS_RSA_WITH_DES_CBC_SHA", row.Parameters{}), tls("TLS 1.1", "TLS_RSA_WITH_IDEA_CBC_SHA", row.Parameters{})},
			uses{tls("TLS 1.1", "TLS_RSA_WITH_3DES_EDE_CBC_SHA", row.Parameters{})}, uses{tls("TLS 1.1", "", row.Parameters{})}, nil,
		},
		"ietf.rfc10015.rsa": {
			uses{tls("TLS 1.2", "TLS_RSA_WITH_AES_128_CBC_SHA", row.Parameters{})}, uses{version("TLS 1.2")}, uses{tls("TLS 1.2", "", row.Parameters{})}, uses{classical},
		},
		"ietf.rfc10015.ffdh": {
			uses{tls("TLS 1.2", "TLS_DHE_RSA_WITH_AES_128_CBC_SHA", row.Parameters{}), tls("DTLS 1.2", "TLS_DH_anon_WITH_AES_128_CBC_SHA", row.Parameters{})},
			uses{version("TLS 1.2")}, uses{tls("TLS 1.2", "", row.Parameters{})}, uses{tls("TLS 1.3", suite13, row.Parameters{Group: "ffdhe2048"})},
		},
		"ietf.rfc10015.ecdh": {
			uses{tls("TLS 1.2", "TLS_ECDH_RSA_WITH_AES_128_CBC_SHA", row.Parameters{})}, uses{version("TLS 1.2")}, uses{tls("TLS 1.2", "", row.Parameters{})}, uses{classical},
		},
		"iana.tls.recommended": {
			uses{tls("TLS 1.3", suite13, row.Parameters{Group: "X25519Kyber768Draft00"})}, uses{hybrid, tls("TLS 1.3", suite13, row.Parameters{Group: "SecP256r1MLKEM768"})}, uses{noGroup}, nil,
		},
		"nist.ir8547.ke": {
			uses{classical, version("TLS 1.2"), operation(row.SSHHandshake, row.Parameters{Kex: "curve25519-sha256"}), operation(row.Decrypt, row.Parameters{Algorithm: "RSA", Bits: 2048})},
			uses{hybrid, operation(row.SSHHandshake, row.Parameters{Kex: "sntrup761x25519-sha512"})}, uses{noGroup, operation(row.Derive, row.Parameters{Algorithm: "X25519"})}, uses{rsa},
		},
		"nist.ir8547.ke.112bit": {
			uses{
				tls("TLS 1.3", suite13, row.Parameters{Group: "ffdhe2048"}), tls("TLS 1.2", suite12, row.Parameters{Group: "secp224r1"}),
				tls("TLS 1.2", "TLS_RSA_WITH_AES_128_CBC_SHA", row.Parameters{Algorithm: "RSA", Bits: 2048}),
			},
			uses{classical, tls("TLS 1.3", suite13, row.Parameters{Group: "ffdhe3072"})}, uses{version("TLS 1.2"), noGroup}, uses{hybrid, rsa},
		},
		"nist.ir8547.sig":        {uses{rsa, key("Ed25519")}, uses{mldsa}, uses{noKey, wire}, uses{operation(row.Generate, row.Parameters{Algorithm: "RSA"})}},
		"nist.ir8547.sig.112bit": {uses{small}, uses{rsa, key("Ed25519")}, uses{key("RSA"), wire}, uses{mldsa}},
		"nist.sp800-131ar2.rsa": {
			uses{operation(row.Sign, row.Parameters{Algorithm: "RSA", Bits: 1024}), operation(row.SSHHandshake, row.Parameters{HostKey: "rsa-sha2-256", Bits: 1024})},
			uses{small, mldsa}, uses{noKey, wire}, uses{operation(row.Verify, row.Parameters{Algorithm: "RSA", Bits: 1024})},
		},
		"nist.sp800-131ar2.dh": {
			uses{operation(row.SSHHandshake, row.Parameters{Kex: "diffie-hellman-group1-sha1"}), operation(row.Derive, row.Parameters{Algorithm: "DH", Bits: 1024})},
			uses{classical, tls("TLS 1.3", suite13, row.Parameters{Group: "ffdhe2048"})},
			uses{operation(row.SSHHandshake, row.Parameters{Kex: "diffie-hellman-group-exchange-sha256"}), noGroup}, uses{rsa},
		},
		"nist.sp800-131ar2.sha1": {
			uses{
				operation(row.Sign, row.Parameters{Algorithm: "RSA", Hash: "SHA-1"}), operation(row.SSHHandshake, row.Parameters{HostKey: "ssh-rsa"}),
				tls("TLS 1.2", suite12, row.Parameters{PeerSignature: "ecdsa_sha1"}),
			},
			uses{rsa, mldsa, operation(row.SSHHandshake, row.Parameters{HostKey: "ssh-ed25519"})}, uses{noKey, wire}, uses{operation(row.Verify, row.Parameters{Algorithm: "RSA", Hash: "SHA-1"})},
		},
		"nsa.cnsa2.ke": {
			uses{hybrid, classical, operation(row.Encapsulate, row.Parameters{Algorithm: "ML-KEM-768"})},
			uses{tls("TLS 1.3", suite1384, row.Parameters{Group: "SecP384r1MLKEM1024"}), operation(row.Encapsulate, row.Parameters{Algorithm: "ML-KEM-1024"})}, uses{noGroup}, uses{rsa},
		},
		"nsa.cnsa2.sig": {uses{rsa, operation(row.Sign, row.Parameters{Algorithm: "ML-DSA-65"})}, uses{mldsa, key("XMSS-SHA2_10_256")}, uses{noKey, wire}, nil},
		"nsa.cnsa2.cipher": {
			uses{classical, tls("TLS 1.3", "TLS_CHACHA20_POLY1305_SHA256", row.Parameters{}), operation(row.SSHHandshake, row.Parameters{CipherOut: "aes128-ctr", CipherIn: "aes128-ctr"})},
			uses{tls("TLS 1.3", suite1384, row.Parameters{}), operation(row.SSHHandshake, row.Parameters{CipherOut: "aes256-ctr", CipherIn: "aes256-gcm@openssh.com"})},
			uses{tls("TLS 1.3", "", row.Parameters{}), operation(row.SSHHandshake, row.Parameters{CipherOut: "aes256-ctr"})}, uses{rsa},
		},
		"nsa.cnsa2.hash": {
			uses{classical, rsa}, uses{operation(row.Sign, row.Parameters{Algorithm: "EC", Hash: "SHA-384"}), mldsa}, uses{noKey, tls("TLS 1.3", "", row.Parameters{})}, nil,
		},
		"bsi.tr02102-1.ke":  {uses{classical}, uses{hybrid}, uses{noGroup}, uses{rsa}},
		"bsi.tr02102-1.sig": {uses{rsa}, uses{mldsa}, uses{noKey, wire}, nil},
		"bsi.tr02102-2.tls12": {
			uses{version("TLS 1.2"), version("DTLS 1.2")}, uses{classical}, uses{noVersion}, uses{rsa},
		},
		"bsi.tr02102-2.versions": {uses{version("SSL 3.0"), version("TLS 1.1")}, uses{version("TLS 1.2")}, uses{noVersion}, uses{rsa}},
		"bsi.tr02102-2.dhe":      {uses{tls("TLS 1.2", "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256", row.Parameters{})}, uses{version("TLS 1.2")}, uses{tls("TLS 1.2", "", row.Parameters{})}, uses{classical}},
		"bsi.tr02102-2.dsa":      {uses{key("DSA")}, uses{rsa}, uses{noKey, wire}, nil},
		"bsi.tr02102-2.pkcs1": {
			uses{tls("TLS 1.2", suite12, row.Parameters{PeerSignature: "rsa_pkcs1_sha256"})}, uses{tls("TLS 1.2", suite12, row.Parameters{PeerSignature: "rsa_pss_rsae_sha256"})}, uses{wire}, uses{rsa},
		},
		"us.eo14412.ke":        {uses{classical}, uses{hybrid}, uses{noGroup}, uses{rsa}},
		"us.eo14412.sig":       {uses{rsa}, uses{mldsa}, uses{noKey, wire}, nil},
		"eu.nis-cg.roadmap.ke": {uses{classical}, uses{hybrid}, uses{noGroup}, uses{rsa}},
		"redhat.rhel10.fips-groups": {
			uses{hybrid}, uses{tls("TLS 1.3", suite13, row.Parameters{Group: "SecP256r1MLKEM768"})}, nil, uses{classical, rsa},
		},
	}
}

func TestEveryRuleHasAViolationAndACompliantCase(t *testing.T) {
	set, err := rules.Load()
	if err != nil {
		t.Fatal(err)
	}
	all := cases()
	for _, r := range set.Rules {
		t.Run(r.ID, func(t *testing.T) {
			if r.ID == "pci.dss.4.0.1.12.3.3" {
				return // rules about purposes have a separate test
			}
			c, ok := all[r.ID]
			if !ok || len(c.breaks) == 0 || len(c.keeps) == 0 {
				t.Fatal("a use that breaks the rule or one that keeps it is missing")
			}
			for want, uses := range map[rules.Outcome][]row.Use{
				rules.Breaks: c.breaks, rules.Keeps: c.keeps, rules.Undecidable: c.undecidable, rules.NotApplicable: c.other,
			} {
				for i := range uses {
					if got := r.Evaluate(uses[i].Operation, fact.Of(&uses[i])); got != want {
						t.Errorf("%+v: %v, want %v", uses[i], got, want)
					}
				}
			}
		})
		delete(all, r.ID)
	}
	for id := range all {
		t.Errorf("the rule %s does not exist", id)
	}
}

func TestARuleAboutPurposesDependsOnlyOnThem(t *testing.T) {
	set, err := rules.Load()
	if err != nil {
		t.Fatal(err)
	}
	set, err = set.Pick("pci")
	if err != nil {
		t.Fatal(err)
	}
	r := set.Rules[len(set.Rules)-1]
	for purpose, want := range map[string]rules.Outcome{"missing": rules.Breaks, "stated": rules.Keeps} {
		if got := r.Evaluate(row.Sign, fact.Facts{fact.Purpose: {Values: []string{purpose}, Complete: true}}); got != want {
			t.Errorf("%s: rule %s: %v, want %v", purpose, r.ID, got, want)
		}
	}
}

func TestEveryRuleHasItsSourceAndAProfile(t *testing.T) {
	set, err := rules.Load()
	if err != nil {
		t.Fatal(err)
	}
	picked := make(map[string]bool)
	for _, p := range set.Profiles {
		s, err := set.Pick(p.Name)
		if err != nil {
			t.Fatal(err)
		}
		if p.Text == "" || len(s.Rules) == 0 {
			t.Errorf("profile %s has no text, or no rules", p.Name)
		}
		for _, r := range s.Rules {
			picked[r.ID] = true
		}
	}
	for _, r := range set.Rules {
		if !picked[r.ID] {
			t.Errorf("rule %s is in no profile", r.ID)
		}
		if !strings.HasPrefix(r.Source, "https://") || r.Mark == "" {
			t.Errorf("rule %s has no source, or no mark", r.ID)
		}
		if r.Quote != "" && r.Mark == "K" {
			t.Errorf("rule %s quotes a document that was not read", r.ID)
		}
	}
	for _, name := range append(rules.DefaultProfiles(), "cnsa2", "bsi", "eo14412", "pci", rules.AllProfiles) {
		if _, err := set.Pick(name); err != nil {
			t.Error(err)
		}
	}
	if _, err := set.Pick("nits"); !errors.As(err, new(*rules.UnknownProfileError)) {
		t.Errorf("error is %v, want one about the profile", err)
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "site.toml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAdministratorsAddRulesExceptionsAndPurposes(t *testing.T) {
	set, err := rules.Load(write(t, `
[[rules]]
id = "site.no-p256"
text = "We use X25519."
axis = "key establishment"
level = "deprecated"
applies_to = ["tls::*"]
breaks = [{ group = ["secp*", "!secp384r1"] }]
status = "final"

[profiles.site]
rules = ["site.*", "ietf.rfc8996"]

[[exceptions]]
rule = "site.*"
executable = "erp*"
accepted_by = "the board"
until = 2026-12-31
why = "replaced in spring"

[[purposes]]
unit = "nginx.service"
purpose = "web site"
`))
	if err != nil {
		t.Fatal(err)
	}
	set, err = set.Pick("site")
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Rules) != 2 || set.Rules[1].ID != "site.no-p256" {
		t.Fatalf("the profile has %d rules, want 2", len(set.Rules))
	}
	for group, want := range map[string]rules.Outcome{"secp256r1": rules.Breaks, "secp384r1": rules.Keeps, "x25519": rules.Keeps, "": rules.Undecidable} {
		use := tls("TLS 1.3", suite13, row.Parameters{Group: group})
		if got := set.Rules[1].Evaluate(use.Operation, fact.Of(&use)); got != want {
			t.Errorf("group %q: %v, want %v", group, got, want)
		}
	}
	lastDay := time.Date(2026, 12, 31, 23, 0, 0, 0, time.UTC)
	if e := set.Exception("site.no-p256", "erp-server", "", lastDay); e == nil || e.AcceptedBy != "the board" {
		t.Errorf("exception on its last day is %v", e)
	}
	for name, e := range map[string]*rules.Exception{
		"a day later":     set.Exception("site.no-p256", "erp-server", "", lastDay.Add(time.Hour)),
		"another program": set.Exception("site.no-p256", "curl", "", lastDay),
		"another rule":    set.Exception("ietf.rfc8996", "erp-server", "", lastDay),
	} {
		if e != nil {
			t.Errorf("%s: the exception holds", name)
		}
	}
	if got := set.Purpose("nginx", "nginx.service"); got != "web site" {
		t.Errorf("purpose is %q", got)
	}
	if got := set.Purpose("nginx", ""); got != "" {
		t.Errorf("purpose without the unit is %q", got)
	}
}

func TestAMistakeInRulesIsDescribed(t *testing.T) {
	const rule = "[[rules]]\nid = \"a\"\ntext = \"b\"\naxis = \"classical\"\nlevel = \"prohibited\"\nstatus = \"final\"\napplies_to = [\"*\"]\n"
	for text, want := range map[string]string{
		"rules = 1":           "site.toml:1: ",
		"[[rules]]\nname = 1": `site.toml:2: unknown key "rules.name"`,
		rule:                  "breaks is empty",
		rule + "breaks = [{ colour = [\"red\"] }]":                                               `unknown attribute "colour"`,
		rule + "breaks = [{}]":                                                                   "has no condition",
		rule + "breaks = [{ rsa_bits = [\"<many\"] }]":                                           `"<many" is not a comparison`,
		rule + "breaks = [{ rsa_bits = [] }]":                                                    "has no pattern",
		strings.Replace(rule, "classical", "beauty", 1) + "breaks = [{ group = [\"x\"] }]":       `unknown axis "beauty"`,
		strings.Replace(rule, "final", "maybe", 1) + "breaks = [{ group = [\"x\"] }]":            `unknown status "maybe"`,
		"[[exceptions]]\nrule = \"*\"\naccepted_by = \"me\"\nwhy = \"so\"":                       "until which",
		"[[exceptions]]\nrule = \"*\"\nuntil = 2026-01-01":                                       "accepted_by and why",
		"[[purposes]]\npurpose = \"all\"":                                                        "executable or a unit",
		"[profiles.all]\nrules = [\"*\"]":                                                        `cannot be named "all"`,
		rule + "quote = \"c\"\nbreaks = [{ group = [\"x\"] }]":                                   "retrieved",
		"[[exceptions]]\nrule = \"*\"\naccepted_by = \"me\"\nwhy = \"so\"\nuntil = \"tomorrow\"": "site.toml",
	} {
		var mistake *rules.Error
		if _, err := rules.Load(write(t, text)); !errors.As(err, &mistake) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error is %v, want one with %q", text, err, want)
		}
	}
}

func TestDaysLeftAreCounted(t *testing.T) {
	r := rules.Rule{Date: time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)}
	for now, want := range map[string]int{"2030-12-31T12:00:00Z": 1, "2030-12-31T00:00:00Z": 1, "2030-12-01T00:00:00Z": 31, "2031-01-01T00:00:00Z": 0} {
		at, err := time.Parse(time.RFC3339, now)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.DaysLeft(at); got != want || r.InForce(at) != (want == 0) {
			t.Errorf("%s: %d days left, in force %v, want %d", now, got, r.InForce(at), want)
		}
	}
	r.Draft = true
	if r.InForce(r.Date) {
		t.Error("a draft is in force")
	}
}
