// SPDX-License-Identifier: Apache-2.0

package policycheck

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"crypto-auditing/src/internal/inventory/cryptopolicy"
	"crypto-auditing/src/internal/inventory/row"
)

// load reads a test policy by name, or parses the text of a policy.
func load(t testing.TB, policy string) *cryptopolicy.Policy {
	t.Helper()
	if strings.Contains(policy, "=") {
		file := filepath.Join(t.TempDir(), "TEST.pol")
		if err := os.WriteFile(file, []byte(policy), 0o644); err != nil {
			t.Fatal(err)
		}
		policy = file
	}
	p, err := cryptopolicy.Load(policy, []cryptopolicy.Directory{{Path: "../cryptopolicy/testdata/policies"}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A TLS handshake that FUTURE allows, changed by the cases.
func handshake(change func(u *row.Use)) row.Use {
	u := row.Use{
		Executable: "curl", Library: "libssl.so.3", Operation: row.TLSHandshake, Role: "client",
		Parameters: row.Parameters{
			Version: "TLS 1.3", Suite: "TLS_AES_256_GCM_SHA384", Group: "x25519", PeerSignature: "ecdsa_secp256r1_sha256",
			Resumed: "no", Algorithm: "EC", Curve: "secp256r1",
		},
	}
	change(&u)
	return u
}

// A TLS 1.2 handshake that FUTURE allows.
func older(change func(u *row.Use)) row.Use {
	return handshake(func(u *row.Use) {
		u.Version, u.Suite = "TLS 1.2", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
		change(u)
	})
}

// An SSH handshake that FUTURE allows.
func secureShell(change func(u *row.Use)) row.Use {
	u := row.Use{
		Executable: "sshd", Operation: row.SSHHandshake, Role: "server",
		Parameters: row.Parameters{
			Kex: "curve25519-sha256", HostKey: "ssh-ed25519",
			CipherOut: "aes256-ctr", CipherIn: "aes256-ctr", MACOut: "hmac-sha2-256", MACIn: "hmac-sha2-256",
		},
	}
	change(&u)
	return u
}

func signature(change func(u *row.Use)) row.Use {
	u := row.Use{
		Executable: "openssl", Library: "libcrypto.so.3", Operation: row.Sign,
		Parameters: row.Parameters{Algorithm: "RSA", Bits: 3072, Hash: "SHA-256", Padding: "PKCS1"},
	}
	change(&u)
	return u
}

func TestAVerdictNamesPropertyAndScope(t *testing.T) {
	const fips = "cipher = AES-128-GCM AES-256-GCM\nmac = AEAD\nprotocol = TLS1.3 TLS1.2\ngroup = SECP256R1 MLKEM768-X25519\n" +
		"key_exchange = ECDHE\nsign = ECDSA-SHA2-256\nhash = SHA2-256 SHA2-384\n__ems = ENFORCE"
	for name, c := range map[string]struct {
		policy string
		use    row.Use
		want   string
	}{
		"TLS 1.3":          {"FUTURE", handshake(func(*row.Use) {}), "allowed"},
		"TLS 1.2":          {"FUTURE", older(func(*row.Use) {}), "allowed"},
		"TLS 1.1":          {"FUTURE", older(func(u *row.Use) { u.Version = "TLS 1.1" }), "denied: protocol TLS1.1 (openssl)"},
		"SSL 3.0 and RC4":  {"FUTURE", older(func(u *row.Use) { u.Version, u.Suite = "SSL 3.0", "TLS_RSA_WITH_RC4_128_MD5" }), "denied: protocol SSL3.0 (openssl), cipher RC4-128 (openssl), mac HMAC-MD5 (openssl), key_exchange RSA (openssl)"},
		"DTLS 1.2":         {"FUTURE", older(func(u *row.Use) { u.Version = "DTLS 1.2" }), "allowed"},
		"DTLS 1.3":         {"FUTURE", handshake(func(u *row.Use) { u.Version = "DTLS 1.3" }), "denied: protocol DTLS 1.3 (openssl)"},
		"no version":       {"FUTURE", older(func(u *row.Use) { u.Version = "" }), "undecidable: protocol (openssl)"},
		"a cipher":         {"FUTURE", handshake(func(u *row.Use) { u.Suite = "TLS_AES_128_GCM_SHA256" }), "denied: cipher AES-128-GCM (openssl)"},
		"a short tag":      {"FUTURE", handshake(func(u *row.Use) { u.Suite = "TLS_AES_128_CCM_8_SHA256" }), "denied: cipher AES-128-CCM-8 (openssl)"},
		"CBC":              {"FUTURE", older(func(u *row.Use) { u.Suite = "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA" }), "denied: cipher AES-256-CBC (openssl), mac HMAC-SHA1 (openssl)"},
		"ChaCha20":         {"FUTURE", older(func(u *row.Use) { u.Suite = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" }), "allowed"},
		"an unknown suite": {"FUTURE", handshake(func(u *row.Use) { u.Suite = "0x1234" }), "undecidable: cipher 0x1234 (openssl)"},
		"no suite":         {"FUTURE", handshake(func(u *row.Use) { u.Suite = "" }), "undecidable: cipher (openssl)"},
		"key exchange RSA": {"FUTURE", older(func(u *row.Use) { u.Suite, u.Algorithm, u.Bits = "TLS_RSA_WITH_AES_256_GCM_SHA384", "RSA", 4096 }), "denied: key_exchange RSA (openssl)"},
		"anonymous":        {"FUTURE", older(func(u *row.Use) { u.Suite, u.Algorithm = "TLS_DH_anon_WITH_AES_256_GCM_SHA384", "" }), "denied: key_exchange ANON (openssl)"},
		"a shared key": {"FUTURE", older(func(u *row.Use) {
			u.Suite, u.Algorithm, u.PeerSignature, u.Group = "TLS_PSK_WITH_AES_256_GCM_SHA384", "", "", ""
		}), "allowed"},
		"a group":               {"FUTURE", handshake(func(u *row.Use) { u.Group = "brainpoolP256r1tls13" }), "denied: group BRAINPOOL-P256R1 (openssl)"},
		"an unnamed group":      {"FUTURE", handshake(func(u *row.Use) { u.Group = "X25519Kyber768Draft00" }), "denied: group X25519Kyber768Draft00 (openssl)"},
		"no group":              {"FUTURE", handshake(func(u *row.Use) { u.Group = "" }), "undecidable: group (openssl)"},
		"no group, resumed":     {"FUTURE", handshake(func(u *row.Use) { u.Group, u.PeerSignature, u.Algorithm, u.Resumed = "", "", "", "yes" }), "allowed"},
		"a hybrid":              {"FUTURE", handshake(func(u *row.Use) { u.Group = "X25519MLKEM768" }), "allowed"},
		"a hybrid, NO-PQ":       {"FUTURE:NO-PQ", handshake(func(u *row.Use) { u.Group = "SecP384r1MLKEM1024" }), "denied: group P384-MLKEM1024 (openssl)"},
		"a hybrid's exchange":   {fips, handshake(func(u *row.Use) { u.Group = "X25519MLKEM768" }), "undecidable: key_exchange KEM-ECDH (openssl)"},
		"a finite field":        {"FUTURE", handshake(func(u *row.Use) { u.Group = "ffdhe2048" }), "denied: group FFDHE-2048 (openssl), min_dh_size 2048 (openssl)"},
		"DHE, small":            {"FUTURE", older(func(u *row.Use) { u.Suite, u.Group = "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384", "ffdhe2048" }), "denied: min_dh_size 2048 (openssl)"},
		"DHE, large":            {"FUTURE", older(func(u *row.Use) { u.Suite, u.Group = "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384", "ffdhe4096" }), "allowed"},
		"DHE, own group":        {"FUTURE", older(func(u *row.Use) { u.Suite, u.Group = "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384", "" }), "undecidable: min_dh_size (openssl)"},
		"DHE, own group, small": {"FUTURE", older(func(u *row.Use) { u.Suite, u.Group, u.GroupBits = "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384", "", 2048 }), "denied: min_dh_size 2048 (openssl)"},
		"DHE, group not listed": {"key_exchange = DHE-RSA\ncipher = AES-256-GCM\nmac = AEAD\nprotocol = TLS1.2\nsign = ECDSA-SHA2-256", older(func(u *row.Use) { u.Suite, u.Group, u.GroupBits = "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384", "", 2048 }), "denied: arbitrary_dh_groups 0 (openssl)"},
		"a signature":           {"FUTURE", older(func(u *row.Use) { u.PeerSignature = "rsa_pkcs1_sha1" }), "denied: sign RSA-SHA1 (openssl)"},
		"PSS":                   {"FUTURE", handshake(func(u *row.Use) { u.PeerSignature, u.Algorithm, u.Bits = "rsa_pss_rsae_sha256", "RSA", 3072 }), "allowed"},
		"PSS, old policy": {"EVERYTHING", handshake(func(u *row.Use) {
			u.PeerSignature, u.Algorithm, u.Bits, u.Group = "rsa_pss_pss_sha256", "RSA", 3072, "secp256r1"
		}), "allowed"},
		"the client's signature": {"FUTURE", handshake(func(u *row.Use) { u.Signature = "ecdsa_sha1" }), "denied: sign ECDSA-SHA1 (openssl)"},
		"a server's signature":   {"FUTURE", handshake(func(u *row.Use) { u.Role, u.Signature, u.PeerSignature = "server", "mldsa65", "" }), "allowed"},
		"a stateless signature":  {"FUTURE", handshake(func(u *row.Use) { u.PeerSignature = "slhdsa_sha2_128s" }), "denied: sign slhdsa_sha2_128s (openssl)"},
		"no signature":           {"FUTURE", handshake(func(u *row.Use) { u.PeerSignature = "" }), "undecidable: sign (openssl)"},
		"no signature, no key":   {"FUTURE", handshake(func(u *row.Use) { u.PeerSignature, u.Algorithm = "", "" }), "undecidable: sign (openssl), min_rsa_size (openssl)"},
		"a small key":            {"FUTURE", handshake(func(u *row.Use) { u.PeerSignature, u.Algorithm, u.Bits = "rsa_pss_rsae_sha256", "RSA", 2048 }), "denied: min_rsa_size 2048 (openssl)"},
		"denied and missing":     {"FUTURE", handshake(func(u *row.Use) { u.Suite, u.PeerSignature = "TLS_AES_128_GCM_SHA256", "" }), "denied: cipher AES-128-GCM (openssl)"},
		"extended secret":        {fips, older(func(u *row.Use) { u.Group, u.ExtendedSecret = "secp256r1", "yes" }), "allowed"},
		"no extended secret":     {fips, older(func(u *row.Use) { u.Group, u.ExtendedSecret = "secp256r1", "no" }), "denied: __ems no (openssl)"},
		"maybe extended":         {fips, older(func(u *row.Use) { u.Group = "secp256r1" }), "undecidable: __ems (openssl)"},

		"GnuTLS":              {"FUTURE", handshake(func(u *row.Use) { u.Library, u.Suite = "libgnutls.so.30", "TLS_AES_128_GCM_SHA256" }), "denied: cipher AES-128-GCM (gnutls)"},
		"NSS":                 {"EVERYTHING", handshake(func(u *row.Use) { u.Library, u.Suite, u.Group = "libssl3.so", "TLS_AES_256_GCM_SHA384", "secp256r1" }), "denied: cipher AES-256-GCM (nss)"},
		"Java":                {"FUTURE\n", handshake(func(u *row.Use) { u.Library, u.Executable, u.Curve = "", "java", "secp224r1" }), "denied: min_ec_size 224 (java-tls)"},
		"unknown library":     {"FUTURE", handshake(func(u *row.Use) { u.Library, u.Suite = "libwolfssl.so.35", "TLS_AES_128_GCM_SHA256" }), "denied: cipher AES-128-GCM (tls)"},
		"unknown, allowed":    {"FUTURE", handshake(func(u *row.Use) { u.Library = "" }), "allowed"},
		"back ends differ":    {"EVERYTHING", handshake(func(u *row.Use) { u.Library, u.Group = "", "secp256r1" }), "undecidable: cipher AES-256-GCM (tls)"},
		"left out of OpenSSL": {"FUTURE", older(func(u *row.Use) { u.Suite = "TLS_ECDHE_ECDSA_WITH_CAMELLIA_256_GCM_SHA384" }), "denied: cipher CAMELLIA-256-GCM (openssl)"},
		"left out with DHE": {"cipher = AES-256-GCM\nmac = AEAD\nkey_exchange = ECDHE\ngroup = X25519\nprotocol = TLS1.2\nsign = RSA-SHA2-256", older(func(u *row.Use) {
			u.Suite, u.PeerSignature, u.Algorithm, u.Bits = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "rsa_pkcs1_sha256", "RSA", 2048
		}), "undecidable: key_exchange ECDHE (openssl)"},
		"left out of GnuTLS":   {"cipher = AES-256-CBC\nmac = HMAC-SHA2-256\nkey_exchange = ECDHE\ngroup = X25519\nprotocol = TLS1.2\nsign = ECDSA-SHA2-256", older(func(u *row.Use) { u.Library, u.Suite = "libgnutls.so.30", "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA256" }), "undecidable: mac HMAC-SHA2-256 (gnutls)"},
		"between two versions": {strings.Replace(fips, "TLS1.3 TLS1.2", "TLS1.3 TLS1.1", 1) + "\n__ems = RELAX", older(func(u *row.Use) { u.Group = "secp256r1" }), "undecidable: protocol TLS1.2 (openssl)"},
		"above, with NSS":      {strings.Replace(fips, "TLS1.3 TLS1.2", "TLS1.2", 1), handshake(func(u *row.Use) { u.Library, u.Group = "libssl3.so", "secp256r1" }), "undecidable: protocol TLS1.3 (nss)"},
		"above, with OpenSSL":  {strings.Replace(fips, "TLS1.3 TLS1.2", "TLS1.2", 1), handshake(func(u *row.Use) { u.Group = "secp256r1" }), "denied: protocol TLS1.3 (openssl)"},

		"SSH":                {"FUTURE", secureShell(func(*row.Use) {}), "allowed"},
		"SSH, hybrid":        {"FUTURE", secureShell(func(u *row.Use) { u.Kex = "mlkem768x25519-sha256" }), "allowed"},
		"SSH, NTRU":          {"FUTURE", secureShell(func(u *row.Use) { u.Kex = "sntrup761x25519-sha512@openssh.com" }), "denied: key_exchange SNTRUP (openssh-server)"},
		"SSH, SHA-1":         {"FUTURE", secureShell(func(u *row.Use) { u.Kex = "diffie-hellman-group14-sha1" }), "denied: hash SHA1 (openssh-server), group FFDHE-2048 (openssh-server)"},
		"SSH, group 18":      {"FUTURE", secureShell(func(u *row.Use) { u.Kex = "diffie-hellman-group18-sha512" }), "allowed"},
		"SSH, any group":     {"OLD", secureShell(func(u *row.Use) { u.Kex = "diffie-hellman-group-exchange-sha256" }), "denied"},
		"SSH, listed groups": {"hash = SHA2-256\nkey_exchange = DHE\ncipher = AES-256-CTR\nmac = HMAC-SHA2-256\nsign = EDDSA-ED25519", secureShell(func(u *row.Use) { u.Kex = "diffie-hellman-group-exchange-sha256" }), "denied: arbitrary_dh_groups diffie-hellman-group-exchange-sha256 (openssh-server)"},
		"SSH, Kerberos":      {"FUTURE", secureShell(func(u *row.Use) { u.Kex = "gss-curve25519-sha256-toWM5Slw5Ew8Mqkay+al2g==" }), "allowed"},
		"SSH, unknown":       {"FUTURE", secureShell(func(u *row.Use) { u.Kex = "diffie-hellman-group15-sha512" }), "denied: key_exchange diffie-hellman-group15-sha512 (openssh-server)"},
		"SSH, CBC":           {"FUTURE", secureShell(func(u *row.Use) { u.CipherIn = "aes256-cbc" }), "denied: cipher AES-256-CBC (openssh-server)"},
		"SSH, no MAC":        {"FUTURE", secureShell(func(u *row.Use) { u.MACIn = "" }), "undecidable: mac (openssh-server)"},
		"SSH, AEAD": {"FUTURE", secureShell(func(u *row.Use) {
			u.CipherIn, u.CipherOut, u.MACIn, u.MACOut = "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "", ""
		}), "allowed"},
		"SSH, MAC":    {"FUTURE", secureShell(func(u *row.Use) { u.MACIn, u.MACOut = "umac-64@openssh.com", "umac-64@openssh.com" }), "denied: mac UMAC-64 (openssh-server)"},
		"SSH, EtM":    {"OLD", secureShell(func(u *row.Use) { u.Kex, u.MACOut = "ecdh-sha2-nistp256", "hmac-sha1-etm@openssh.com" }), "denied"},
		"SSH, no EtM": {"EVERYTHING", secureShell(func(u *row.Use) { u.HostKey = "ecdsa-sha2-nistp256" }), "denied: etm hmac-sha2-256 (openssh-server)"},
		"SSH, libssh without UMAC": {"EVERYTHING", secureShell(func(u *row.Use) {
			u.Library, u.HostKey, u.MACIn, u.MACOut = "libssh.so.4", "ecdsa-sha2-nistp256", "umac-128@openssh.com", "umac-128@openssh.com"
		}), "undecidable: mac UMAC-128 (libssh)"},
		"SSH, FIDO":        {"sign = ECDSA-SHA2-256\nhash = SHA2-256\nkey_exchange = ECDHE\ngroup = X25519\ncipher = AES-256-CTR\nmac = HMAC-SHA2-256", secureShell(func(u *row.Use) { u.HostKey, u.ClientKey = "ecdsa-sha2-nistp256", "sk-ecdsa-sha2-nistp256@openssh.com" }), "denied: sign ECDSA-SHA2-256-FIDO (openssh-server)"},
		"SSH, small key":   {"FUTURE", secureShell(func(u *row.Use) { u.HostKey, u.Bits = "rsa-sha2-512", 2048 }), "denied: min_rsa_size 2048 (openssh-server)"},
		"SSH, certificate": {"FUTURE", secureShell(func(u *row.Use) { u.HostKey = "ssh-ed25519-cert-v01@openssh.com" }), "allowed"},
		"SSH, certificates": {"EVERYTHING", secureShell(func(u *row.Use) {
			u.HostKey, u.MACIn, u.MACOut = "ecdsa-sha2-nistp256-cert-v01@openssh.com", "hmac-sha2-256-etm@openssh.com", "hmac-sha2-256-etm@openssh.com"
		}), "denied: ssh_certs ecdsa-sha2-nistp256-cert-v01@openssh.com (openssh-server)"},
		"SSH, client":       {"FUTURE", secureShell(func(u *row.Use) { u.Executable, u.Role, u.HostKey = "ssh", "client", "ssh-rsa"; u.Bits = 4096 }), "undecidable: sign ssh-rsa (openssh-client)"},
		"SSH, client's key": {"FUTURE", secureShell(func(u *row.Use) { u.ClientKey = "ssh-rsa" }), "denied: sign RSA-SHA1 (openssh-server)"},
		"SSH, libssh":       {"EVERYTHING", secureShell(func(u *row.Use) { u.Library, u.HostKey = "libssh.so.4", "ecdsa-sha2-nistp256" }), "allowed"},
		"SSH, dropbear":     {"FUTURE", secureShell(func(u *row.Use) { u.Executable, u.CipherOut = "dropbear", "aes128-ctr" }), "denied: cipher AES-128-CTR (ssh)"},

		"signature":          {"FUTURE", signature(func(*row.Use) {}), "not_covered"},
		"SHA-1 with OpenSSL": {"FUTURE", signature(func(u *row.Use) { u.Hash = "SHA-1" }), "denied: hash SHA1 (openssl)"},
		"SHA-1 allowed":      {"FUTURE:SHA1", signature(func(u *row.Use) { u.Hash = "SHA-1" }), "allowed"},
		"SHA-1 blocked":      {"hash = SHA1\n__openssl_block_sha1_signatures = 1", signature(func(u *row.Use) { u.Hash = "SHA-1" }), "denied: __openssl_block_sha1_signatures SHA1 (openssl)"},
		"SHA-1 with GnuTLS":  {"FUTURE", signature(func(u *row.Use) { u.Library, u.Hash = "libgnutls.so.30", "SHA-1" }), "denied: sign RSA-SHA1 (gnutls)"},
		"in a handshake":     {"FUTURE", signature(func(u *row.Use) { u.Within, u.Operation, u.Bits = row.TLSHandshake, row.Verify, 2048 }), "denied: min_rsa_size 2048 (openssl)"},
		"SHA-1 in certificates": {"sha1_in_certs = 1\nmin_rsa_size = 2048", signature(func(u *row.Use) {
			u.Library, u.Within, u.Operation, u.Hash = "libgnutls.so.30", row.TLSHandshake, row.Verify, "SHA-1"
		}), "allowed"},
		"SHA-1 not in certificates": {"sha1_in_certs = 0", signature(func(u *row.Use) {
			u.Library, u.Within, u.Operation, u.Hash = "libgnutls.so.30", row.TLSHandshake, row.Verify, "SHA-1"
		}), "denied: sign RSA-SHA1 (gnutls)"},
		"unknown padding": {"sign = RSA-SHA2-256 RSA-PSS-RSAE-SHA2-512", signature(func(u *row.Use) { u.Library, u.Padding = "libgnutls.so.30", "" }), "undecidable: sign RSA-SHA2-256 (gnutls)"},
		"unknown hash":    {"FUTURE", signature(func(u *row.Use) { u.Library, u.Hash = "libgnutls.so.30", "" }), "undecidable: sign (gnutls)"},
		"ML-DSA":          {"FUTURE", signature(func(u *row.Use) { u.Library, u.Algorithm, u.Hash = "libgnutls.so.30", "ML-DSA-65", "" }), "allowed"},
		"a key":           {"FUTURE", signature(func(u *row.Use) { u.Operation = row.Generate }), "not_covered"},
		"an exchange":     {"FUTURE", signature(func(u *row.Use) { u.Operation, u.Within = row.Derive, row.TLSHandshake }), "not_covered"},
	} {
		t.Run(name, func(t *testing.T) {
			checker := checker{load(t, strings.TrimSpace(c.policy)), map[string]*cryptopolicy.Scoped{}}
			result := checker.judge(&c.use)
			got := string(result.Verdict)
			for i, f := range result.Findings {
				got += map[bool]string{true: ": ", false: ", "}[i == 0] + strings.TrimSpace(f.Property+" "+f.Value) + fmt.Sprintf(" (%s)", f.Scope)
			}
			if got != c.want && !(c.want == "denied" && result.Verdict == Denied) {
				t.Errorf("got  %s\nwant %s\n%+v", got, c.want, result.Findings)
			}
			if (len(result.Findings) > 0) != (result.Verdict == Denied || result.Verdict == Undecidable) {
				t.Errorf("%s has %d findings", result.Verdict, len(result.Findings))
			}
			for _, f := range result.Findings {
				if f.Reason == "" {
					t.Errorf("%s has no reason", f.Property)
				}
			}
		})
	}
}
