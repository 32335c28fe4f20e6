// SPDX-License-Identifier: Apache-2.0

package policycheck

import (
	"strconv"
	"strings"
)

// Names of policies for registered names; empty if policies have no name for them.

// protocolName returns the name of a version such as "TLS 1.2".
func protocolName(version string) string {
	switch version {
	case "TLS 1.3", "TLS 1.2", "TLS 1.1", "TLS 1.0", "SSL 3.0", "SSL 2.0", "DTLS 1.2", "DTLS 1.0", "DTLS 0.9":
		return strings.ReplaceAll(version, " ", "")
	}
	return ""
}

// groupName returns the name of a group of TLS.
func groupName(group string) string {
	names := map[string]string{
		"X25519MLKEM768": "MLKEM768-X25519", "SecP256r1MLKEM768": "P256-MLKEM768", "SecP384r1MLKEM1024": "P384-MLKEM1024",
		"MLKEM512": "MLKEM512", "MLKEM768": "MLKEM768", "MLKEM1024": "MLKEM1024",
		"x25519": "X25519", "x448": "X448", "secp256r1": "SECP256R1", "secp384r1": "SECP384R1", "secp521r1": "SECP521R1",
		"brainpoolP256r1": "BRAINPOOL-P256R1", "brainpoolP384r1": "BRAINPOOL-P384R1", "brainpoolP512r1": "BRAINPOOL-P512R1",
		"GC256A": "GOST-GC256A", "GC256B": "GOST-GC256B", "GC256C": "GOST-GC256C", "GC256D": "GOST-GC256D",
		"GC512A": "GOST-GC512A", "GC512B": "GOST-GC512B", "GC512C": "GOST-GC512C",
	}
	if bits := ffdheBits(group); bits != 0 {
		return "FFDHE-" + strconv.Itoa(bits)
	}
	return names[strings.TrimSuffix(group, "tls13")]
}

// ffdheBits returns the size of a group such as ffdhe2048, 0 for others.
func ffdheBits(group string) int {
	digits, ok := strings.CutPrefix(group, "ffdhe")
	bits, err := strconv.Atoi(digits)
	if !ok || err != nil {
		return 0
	}
	return bits
}

// hybrid reports whether a group name is of a hybrid with key encapsulation.
func hybrid(name string) bool { return strings.Contains(name, "MLKEM") }

// schemeName returns the name of a signature scheme of TLS.
func schemeName(scheme string) string {
	names := map[string]string{
		"rsa_md5": "RSA-MD5", "rsa_pkcs1_sha1": "RSA-SHA1", "dsa_sha1": "DSA-SHA1", "ecdsa_sha1": "ECDSA-SHA1",
		"ecdsa_secp256r1_sha256": "ECDSA-SHA2-256", "ecdsa_secp384r1_sha384": "ECDSA-SHA2-384", "ecdsa_secp521r1_sha512": "ECDSA-SHA2-512",
		"ecdsa_brainpoolP256r1tls13_sha256": "ECDSA-BRAINPOOLP256-SHA2-256",
		"ecdsa_brainpoolP384r1tls13_sha384": "ECDSA-BRAINPOOLP384-SHA2-384",
		"ecdsa_brainpoolP512r1tls13_sha512": "ECDSA-BRAINPOOLP512-SHA2-512",
		"ed25519":                           "EDDSA-ED25519", "ed448": "EDDSA-ED448",
		"mldsa44": "MLDSA44", "mldsa65": "MLDSA65", "mldsa87": "MLDSA87",
	}
	if name := names[scheme]; name != "" {
		return name
	}
	key, hash, ok := cutLast(scheme, "_sha")
	keys := map[string]string{
		"rsa": "RSA", "rsa_pkcs1": "RSA", "dsa": "DSA", "ecdsa": "ECDSA", "rsa_pss_rsae": "RSA-PSS-RSAE", "rsa_pss_pss": "RSA-PSS",
	}
	switch hash {
	case "224", "256", "384", "512":
		if name := keys[key]; ok && name != "" {
			return name + "-SHA2-" + hash
		}
	}
	switch {
	case strings.HasPrefix(scheme, "gostr34102012_256"):
		return "GOSTR341012-256"
	case strings.HasPrefix(scheme, "gostr34102012_512"):
		return "GOSTR341012-512"
	}
	return ""
}

func cutLast(text, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(text, separator); i >= 0 {
		return text[:i], text[i+len(separator):], true
	}
	return text, "", false
}

// hashName returns the name of a hash such as SHA-256.
func hashName(hash string) string {
	switch hash {
	case "SHA-224", "SHA-256", "SHA-384", "SHA-512":
		return "SHA2-" + strings.TrimPrefix(hash, "SHA-")
	case "SHA-1":
		return "SHA1"
	case "MD5", "SHA3-224", "SHA3-256", "SHA3-384", "SHA3-512":
		return hash
	}
	return ""
}

// suite is a cipher suite of TLS with the names of policies.
type suite struct {
	keyExchange string // empty also for TLS 1.3, where the suite does not have it
	cipher, mac string
	hash        string // of TLS 1.3
	signed      bool   // the server signs the key exchange
	rsa         bool   // the server's key is one for RSA; false for TLS 1.3
}

// parseSuite parses the IANA name of a suite; ok is false for other names.
func parseSuite(name string) (s suite, ok bool) {
	rest, ok := strings.CutPrefix(name, "TLS_")
	if !ok {
		return s, false
	}
	exchange, algorithms, old := strings.Cut(rest, "_WITH_")
	if !old {
		algorithms = rest
	}
	cipher, mac := cutCipher(algorithms)
	s.cipher = cipher
	gost := map[string][2]string{
		"KUZNYECHIK_CTR_OMAC": {"KUZNYECHIK-CTR-ACPKM", "KUZNYECHIK-OMAC"},
		"MAGMA_CTR_OMAC":      {"MAGMA-CTR-ACPKM", "MAGMA-OMAC"},
		"28147_CNT_IMIT":      {"GOST28147-TC26Z-CNT", "GOST28147-TC26Z-IMIT"},
	}
	switch names, ok := gost[algorithms]; {
	case ok:
		s.cipher, s.mac = names[0], names[1]
	case !old:
		s.hash = hashName(strings.Replace(mac, "SHA", "SHA-", 1))
		s.mac, s.signed = "AEAD", true
		if cipher == "NULL" {
			s.mac = "HMAC-" + s.hash
		}
		return s, true
	case strings.HasSuffix(cipher, "-GCM"), strings.Contains(cipher, "-CCM"), strings.HasSuffix(cipher, "-POLY1305"):
		s.mac = "AEAD"
	default:
		s.mac = map[string]string{"MD5": "HMAC-MD5", "SHA": "HMAC-SHA1", "SHA256": "HMAC-SHA2-256", "SHA384": "HMAC-SHA2-384"}[mac]
	}
	s.keyExchange, s.signed = exchangeName(exchange)
	s.rsa = exchange == "RSA" || strings.HasSuffix(exchange, "E_RSA")
	return s, true
}

// exchangeName returns the name of a key exchange of TLS 1.2 or older, and whether the server signs it.
func exchangeName(exchange string) (name string, signed bool) {
	switch exchange {
	case "DHE_RSA", "DHE_DSS":
		return strings.ReplaceAll(exchange, "_", "-"), true
	case "ECDHE_RSA", "ECDHE_ECDSA":
		return "ECDHE", true
	case "RSA", "PSK":
		return exchange, false
	case "DHE_PSK", "RSA_PSK", "ECDHE_PSK":
		return strings.ReplaceAll(exchange, "_", "-"), false
	case "PSK_DHE": // as two suites are registered
		return "DHE-PSK", false
	case "DH_RSA", "DH_DSS":
		return "DH", false
	case "ECDH_RSA", "ECDH_ECDSA":
		return "ECDH", false
	case "DH_anon", "ECDH_anon":
		return "ANON", false
	case "GOSTR341112_256":
		return "VKO-GOST-2012", false
	}
	if strings.HasSuffix(exchange, "_EXPORT") {
		return "EXPORT", false
	}
	return "", false
}

// cutCipher splits the cipher, in the name of policies, from the hash of a suite.
func cutCipher(algorithms string) (cipher, hash string) {
	for _, special := range []struct{ text, cipher string }{
		{"3DES_EDE_CBC_", "3DES-CBC"}, {"DES_CBC_40_", "DES40-CBC"}, {"RC2_CBC_40_", "RC2-CBC"},
		{"CHACHA20_POLY1305_", "CHACHA20-POLY1305"}, {"NULL_", "NULL"},
	} {
		if rest, ok := strings.CutPrefix(algorithms, special.text); ok {
			return special.cipher, rest
		}
	}
	if algorithms == "SHA256_SHA256" || algorithms == "SHA384_SHA384" { // TLS 1.3 without encryption
		return "NULL", algorithms[:len("SHA256")]
	}
	cipher, hash, ok := cutLast(algorithms, "_")
	if !ok || !strings.HasPrefix(hash, "SHA") && hash != "MD5" { // such as RSA_WITH_AES_128_CCM_8
		cipher, hash = algorithms, ""
	}
	return strings.ReplaceAll(cipher, "_", "-"), hash
}
