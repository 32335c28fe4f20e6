// SPDX-License-Identifier: Apache-2.0

package fact_test

import (
	"slices"
	"strings"
	"testing"

	"crypto-auditing/src/internal/inventory/fact"
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/schema"
)

func client(p row.Parameters) row.Use {
	return row.Use{Operation: row.TLSHandshake, Role: "client", Parameters: p}
}

func ssh(p row.Parameters) row.Use {
	return row.Use{Operation: row.SSHHandshake, Role: "client", Parameters: p}
}

func operation(kind string, p row.Parameters) row.Use {
	return row.Use{Operation: kind, Parameters: p}
}

// text returns a fact as text: values, with ? if there may be more; - if there are none, and "" if the use cannot have
// the fact.
func text(facts fact.Facts, a fact.Attribute) string {
	f, ok := facts[a]
	if !ok {
		return ""
	}
	text := strings.Join(f.Values, " ")
	if !f.Complete {
		return text + "?"
	}
	if text == "" {
		return "-"
	}
	return text
}

func TestFactsAreDerivedFromUses(t *testing.T) {
	for name, c := range map[string]struct {
		use  row.Use
		want map[fact.Attribute]string
	}{
		"TLS 1.3 at a socket": {
			client(row.Parameters{Version: "TLS 1.3", Suite: "TLS_AES_128_GCM_SHA256", Group: "X25519MLKEM768"}),
			map[fact.Attribute]string{
				fact.Establishment: "hybrid", fact.Quantum: "safe", fact.KEM: "ML-KEM-768", fact.ECDHBits: "256", fact.DHBits: "-",
				fact.Authentication: "?", fact.AuthenticationQuantum: "?", fact.SignatureHash: "?", fact.RSABits: "?",
				fact.Cipher: "AES-128-GCM", fact.CipherBits: "128", fact.MAC: "-", fact.SuiteHash: "SHA-256",
			},
		},
		"TLS 1.3 without a group": {
			client(row.Parameters{Version: "TLS 1.3", Suite: "TLS_AES_256_GCM_SHA384", Resumed: "yes"}),
			map[fact.Attribute]string{fact.Establishment: "?", fact.Quantum: "?", fact.Authentication: "-", fact.AuthenticationQuantum: "-", fact.RSABits: "-"},
		},
		"TLS 1.3 with ML-DSA": {
			client(row.Parameters{Version: "TLS 1.3", Suite: "TLS_AES_256_GCM_SHA384", Group: "MLKEM1024", PeerSignature: "mldsa87"}),
			map[fact.Attribute]string{
				fact.Establishment: "KEM", fact.KEM: "ML-KEM-1024", fact.Authentication: "ML-DSA-87", fact.AuthenticationQuantum: "safe",
				fact.SignatureHash: "-", fact.RSABits: "-",
			},
		},
		"a classical client's signature beside a post-quantum one": {
			client(row.Parameters{Version: "TLS 1.3", PeerSignature: "mldsa65", Signature: "ed25519"}),
			map[fact.Attribute]string{fact.Authentication: "ML-DSA-65 Ed25519", fact.AuthenticationQuantum: "vulnerable"},
		},
		"TLS 1.2 with RSA": {
			client(row.Parameters{Version: "TLS 1.2", Suite: "TLS_RSA_WITH_3DES_EDE_CBC_SHA", Algorithm: "RSA", Bits: 2048}),
			map[fact.Attribute]string{
				fact.Establishment: "RSA", fact.Quantum: "vulnerable", fact.KEM: "-", fact.Authentication: "RSA", fact.AuthenticationQuantum: "vulnerable",
				fact.SignatureHash: "-", fact.RSABits: "2048", fact.ECBits: "-", fact.CipherAlgorithm: "3DES", fact.MAC: "SHA-1",
			},
		},
		"TLS 1.2 with only a suite": {
			client(row.Parameters{Version: "TLS 1.2", Suite: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"}),
			map[fact.Attribute]string{
				fact.Establishment: "ECDHE", fact.Quantum: "vulnerable", fact.ECDHBits: "?", fact.AuthenticationQuantum: "vulnerable",
				fact.SignatureHash: "?", fact.RSABits: "-", fact.ECBits: "?",
			},
		},
		"TLS 1.2 with DHE and an unknown group": {
			client(row.Parameters{Version: "TLS 1.2", Suite: "TLS_DHE_RSA_WITH_AES_128_CBC_SHA256", PeerSignature: "rsa_pkcs1_sha1"}),
			map[fact.Attribute]string{fact.Establishment: "DHE", fact.DHBits: "?", fact.SignatureHash: "SHA-1", fact.SignaturePadding: "PKCS1", fact.MAC: "SHA-256"},
		},
		"a server's signature": {
			row.Use{Operation: row.TLSHandshake, Role: "server", Parameters: row.Parameters{Version: "TLS 1.3", Signature: "rsa_pss_rsae_sha256"}},
			map[fact.Attribute]string{fact.Authentication: "RSA", fact.SignatureHash: "SHA-256", fact.SignaturePadding: "PSS", fact.RSABits: "?"},
		},
		"a client's signature, without the server's": {
			client(row.Parameters{Version: "TLS 1.3", Signature: "ecdsa_secp256r1_sha256"}),
			map[fact.Attribute]string{fact.SignatureHash: "SHA-256?", fact.AuthenticationQuantum: "vulnerable"},
		},
		"only a pre-shared key": {
			client(row.Parameters{Version: "TLS 1.2", Suite: "TLS_PSK_WITH_AES_128_CCM_8"}),
			map[fact.Attribute]string{fact.Establishment: "PSK", fact.Quantum: "-", fact.AuthenticationQuantum: "?", fact.SuiteHash: "SHA-256"},
		},
		"a pre-shared key with ECDHE": {
			client(row.Parameters{Version: "TLS 1.2", Suite: "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA"}),
			map[fact.Attribute]string{fact.Establishment: "ECDHE-PSK", fact.Quantum: "?"},
		},
		"numbers without names": {
			client(row.Parameters{Version: "TLS 1.3", Suite: "0x1399", Group: "0x9999", PeerSignature: "0x0999"}),
			map[fact.Attribute]string{fact.Establishment: "?", fact.Quantum: "?", fact.Cipher: "?", fact.Authentication: "?", fact.AuthenticationQuantum: "?", fact.SignatureHash: "?"},
		},
		"a draft of a hybrid": {
			client(row.Parameters{Version: "TLS 1.3", Group: "X25519Kyber768Draft00"}),
			map[fact.Attribute]string{fact.Quantum: "safe", fact.KEM: "Kyber768"},
		},
		"SSH with a hybrid": {
			ssh(row.Parameters{Kex: "mlkem768x25519-sha256", HostKey: "ssh-ed25519", CipherOut: "chacha20-poly1305@openssh.com", CipherIn: "chacha20-poly1305@openssh.com"}),
			map[fact.Attribute]string{
				fact.Establishment: "hybrid", fact.KEM: "ML-KEM-768", fact.Quantum: "safe", fact.ECDHBits: "256", fact.KexHash: "SHA-256",
				fact.Authentication: "Ed25519", fact.AuthenticationQuantum: "vulnerable", fact.SignatureHash: "-", fact.RSABits: "-", fact.ECBits: "256",
				fact.Cipher: "ChaCha20-Poly1305 ChaCha20-Poly1305", fact.MAC: "-",
			},
		},
		"SSH with sntrup": {
			ssh(row.Parameters{Kex: "sntrup761x25519-sha512@openssh.com"}),
			map[fact.Attribute]string{fact.KEM: "sntrup761", fact.Quantum: "safe", fact.KexHash: "SHA-512", fact.Authentication: "?"},
		},
		"old SSH": {
			ssh(row.Parameters{Kex: "diffie-hellman-group1-sha1", HostKey: "ssh-rsa", Bits: 1024, CipherOut: "3des-cbc", CipherIn: "aes128-ctr", MACOut: "hmac-md5-96", MACIn: "hmac-sha2-256-etm@openssh.com"}),
			map[fact.Attribute]string{
				fact.DHBits: "1024", fact.KexHash: "SHA-1", fact.SignatureHash: "SHA-1", fact.RSABits: "1024",
				fact.CipherAlgorithm: "3DES AES", fact.MAC: "MD5 SHA-256",
			},
		},
		"SSH with a group that the server chose": {
			ssh(row.Parameters{Kex: "diffie-hellman-group-exchange-sha256", HostKey: "rsa-sha2-512-cert-v01@openssh.com", ClientKey: "sk-ecdsa-sha2-nistp256@openssh.com"}),
			map[fact.Attribute]string{fact.Establishment: "DHE", fact.DHBits: "?", fact.Authentication: "RSA ECDSA", fact.SignatureHash: "SHA-512 SHA-256", fact.RSABits: "?"},
		},
		"SSH with Kerberos": {
			ssh(row.Parameters{Kex: "gss-nistp256-sha256-toWM5Slw5Ew8Mqkay+al2g=="}),
			map[fact.Attribute]string{fact.Establishment: "ECDHE", fact.ECDHBits: "256", fact.KexHash: "SHA-256"},
		},
		"a signature": {
			operation(row.Sign, row.Parameters{Algorithm: "RSA", Bits: 2048, Hash: "SHA-1", Padding: "PKCS1"}),
			map[fact.Attribute]string{fact.Authentication: "RSA", fact.AuthenticationQuantum: "vulnerable", fact.SignatureHash: "SHA-1", fact.RSABits: "2048", fact.Quantum: ""},
		},
		"a signature with a hash that was not recorded": {
			operation(row.Sign, row.Parameters{Algorithm: "EC", Curve: "secp384r1"}),
			map[fact.Attribute]string{fact.Authentication: "ECDSA", fact.SignatureHash: "?", fact.SignaturePadding: "-", fact.ECBits: "384"},
		},
		"a signature without values": {
			operation(row.Verify, row.Parameters{}),
			map[fact.Attribute]string{fact.AuthenticationQuantum: "?", fact.SignatureHash: "?", fact.RSABits: "?"},
		},
		"a post-quantum signature": {
			operation(row.Sign, row.Parameters{Algorithm: "SLH-DSA-SHA2-128s"}),
			map[fact.Attribute]string{fact.AuthenticationQuantum: "safe", fact.SignatureHash: "-", fact.RSABits: "-"},
		},
		"an encapsulation": {
			operation(row.Encapsulate, row.Parameters{Algorithm: "ML-KEM-768"}),
			map[fact.Attribute]string{fact.Quantum: "safe", fact.KEM: "ML-KEM-768"},
		},
		"a decryption": {
			operation(row.Decrypt, row.Parameters{Algorithm: "RSA", Bits: 4096}),
			map[fact.Attribute]string{fact.Quantum: "vulnerable", fact.RSABits: "4096"},
		},
		"a derivation that may be part of a hybrid": {
			operation(row.Derive, row.Parameters{Algorithm: "X25519"}),
			map[fact.Attribute]string{fact.Establishment: "ECDHE", fact.Quantum: "?"},
		},
		"a derivation by finite fields": {
			operation(row.Derive, row.Parameters{Algorithm: "DH", Group: "ffdhe3072"}),
			map[fact.Attribute]string{fact.Establishment: "DHE", fact.DHBits: "3072"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			facts := fact.Of(&c.use)
			for attribute, want := range c.want {
				if got := text(facts, attribute); got != want {
					t.Errorf("%s is %q, want %q", attribute, got, want)
				}
			}
		})
	}
}

func TestEveryRegisteredGroupSuiteAndSchemeIsUnderstood(t *testing.T) {
	registry, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	names := func(key string) (list []string) {
		for n := range int64(0x10000) {
			if name, ok := registry.Key(key).Text(n); ok {
				list = append(list, name)
			}
		}
		if len(list) < 20 {
			t.Fatalf("got only %d names of %s", len(list), key)
		}
		return list
	}
	for _, name := range names("tls::group") {
		if strings.HasPrefix(name, "arbitrary_") || strings.HasPrefix(name, "GREASE") || strings.HasPrefix(name, "0x") {
			continue
		}
		use := client(row.Parameters{Version: "TLS 1.3", Suite: "TLS_AES_128_GCM_SHA256", Group: name})
		if got := text(fact.Of(&use), fact.Quantum); got != "safe" && got != "vulnerable" {
			t.Errorf("quantum of group %s is %q", name, got)
		}
	}
	for _, name := range names("tls::ciphersuite") {
		use := client(row.Parameters{Suite: name})
		facts := fact.Of(&use)
		if strings.HasSuffix(name, "_SCSV") { // these are signals
			continue
		}
		if got := text(facts, fact.CipherAlgorithm); strings.HasSuffix(got, "?") {
			t.Errorf("cipher of suite %s is %q", name, got)
		}
		if got := text(facts, fact.Establishment); strings.Contains(name, "_WITH_") == strings.HasSuffix(got, "?") {
			t.Errorf("establishment of suite %s is %q", name, got)
		}
	}
	for _, name := range names("tls::signature_algorithm") {
		use := client(row.Parameters{Version: "TLS 1.3", PeerSignature: name})
		if strings.HasPrefix(name, "iso_") || strings.HasPrefix(name, "eccsi") { // based on identities
			continue
		}
		if got := text(fact.Of(&use), fact.AuthenticationQuantum); got != "safe" && got != "vulnerable" {
			t.Errorf("quantum of scheme %s is %q", name, got)
		}
	}
}

func TestFactsUseKnownAttributesOnly(t *testing.T) {
	for _, use := range []row.Use{
		client(row.Parameters{Suite: "TLS_RSA_WITH_RC4_128_MD5"}), ssh(row.Parameters{Kex: "curve25519-sha256"}),
		operation(row.Generate, row.Parameters{Algorithm: "DSA", Bits: 1024}),
	} {
		for attribute := range fact.Of(&use) {
			if !slices.Contains(fact.Attributes(), attribute) {
				t.Errorf("attribute %q is not listed", attribute)
			}
		}
	}
}

func FuzzFacts(f *testing.F) {
	f.Add("TLS_RSA_WITH_AES_128_CBC_SHA", "x25519", "rsa_pss_rsae_sha256", "mlkem768nistp256-sha256", "ssh-ed25519", "aes128-ctr", "hmac-sha2-256")
	f.Add("TLS_", "mlkem", "rsa", "mlkem", "sk-", "aes", "hmac")
	f.Add("TLS__WITH_", "MLKEM", "slhdsa_", "sntrup", "ecdsa-sha2-", "twofish", "umac-")
	f.Fuzz(func(t *testing.T, suite, group, scheme, kex, key, cipher, mac string) {
		tls := client(row.Parameters{Suite: suite, Group: group, PeerSignature: scheme, Algorithm: key, Curve: group})
		fact.Of(&tls)
		other := ssh(row.Parameters{Kex: kex, HostKey: key, ClientKey: key, CipherIn: cipher, CipherOut: cipher, MACIn: mac, MACOut: mac})
		fact.Of(&other)
		derive := operation(row.Derive, row.Parameters{Algorithm: key, Group: group})
		fact.Of(&derive)
	})
}
