// SPDX-License-Identifier: Apache-2.0

package fact

import (
	"strconv"
	"strings"

	"crypto-auditing/src/internal/inventory/row"
)

// tls adds the facts of a TLS handshake.
func tls(f Facts, u *row.Use) {
	f.set(Version, u.Version)
	f.set(Suite, u.Suite)
	s := suiteOf(u.Suite)
	tlsEstablishment(f, u, s)
	tlsAuthentication(f, u, s)
	if s.cipher == "" {
		f.unknown(Cipher, CipherAlgorithm, CipherBits, MAC, SuiteHash)
		return
	}
	f.set(Cipher, s.cipher)
	f.set(CipherAlgorithm, s.algorithm)
	f[CipherBits] = Fact{[]string{strconv.Itoa(s.bits)}, true}
	if s.bits < 0 {
		f.unknown(CipherBits)
	}
	f.set(SuiteHash, s.hash)
	if s.aead {
		f.none(MAC)
	} else {
		f.set(MAC, s.hash)
	}
}

// tlsEstablishment adds how keys are established. With TLS 1.3, it depends on the group instead of the suite.
func tlsEstablishment(f Facts, u *row.Use, s suite) {
	f.set(Group, u.Group)
	g, known := groupOf(u.Group)
	establishment := s.establishment
	if establishment == "" && known {
		establishment = g.establishment
	}
	f.set(Establishment, establishment)
	f.unknown(Quantum, KEM, DHBits, ECDHBits)
	switch establishment {
	case "":
	case "hybrid", "KEM":
		f.set(Quantum, Safe)
		f.set(KEM, g.kem)
		f.none(DHBits)
		f.none(ECDHBits)
		if establishment == "hybrid" {
			f.bits(ECDHBits, g.bits)
		}
	case "DHE", "DH", "DH-anon", "DHE-PSK":
		f.none(KEM, ECDHBits)
		if g.establishment == "DHE" {
			f.bits(DHBits, g.bits)
		}
	case "ECDHE", "ECDH", "ECDH-anon", "ECDHE-PSK":
		f.none(KEM, DHBits)
		if g.establishment == "ECDHE" {
			f.bits(ECDHBits, g.bits)
		}
	case "RSA":
		f.none(KEM, DHBits, ECDHBits, Group)
	case "PSK", "KRB5":
		// Nothing is established by public keys.
		f.none(Quantum, KEM, DHBits, ECDHBits, Group)
	default: // RSA-PSK, SRP, GOST, …
		f.none(KEM, DHBits, ECDHBits, Group)
	}
	switch establishment {
	case "RSA", "DHE", "DH", "DH-anon", "ECDHE", "ECDH", "ECDH-anon", "SRP", "GOST":
		f.set(Quantum, Vulnerable)
	}
}

// tlsAuthentication adds how the sides are authenticated: by the scheme of a signature, else by the
// certificate, else by the requirement of the suite.
func tlsAuthentication(f Facts, u *row.Use, s suite) {
	if u.Resumed == "yes" || s.unsigned() {
		// The handshake does not need a client's signature, but may have one.
		f.complete(true, Authentication, Signature, SignatureHash, SignaturePadding)
	}
	server := u.PeerSignature
	if u.Role == "server" {
		server = u.Signature
	}
	if server != "" {
		f.complete(true, Authentication, Signature, SignatureHash, SignaturePadding)
	}
	f.complete(f[Signature].Complete, Authentication, Signature, SignatureHash, SignaturePadding)
	for _, name := range []string{u.PeerSignature, u.Signature} {
		if name == "" {
			continue
		}
		scheme := schemeOf(name)
		f.add(Signature, name)
		f.add(Authentication, scheme.algorithm)
		f.add(SignatureHash, scheme.hash)
		f.add(SignaturePadding, scheme.padding)
		if scheme.algorithm == "" { // a number without a name
			f.complete(false, Authentication, SignatureHash, SignaturePadding)
		}
	}
	certificate := signatureAlgorithm(u.Algorithm)
	if server == "" && u.Resumed != "yes" {
		switch {
		case certificate != "":
			f.add(Authentication, certificate)
			f.complete(true, Authentication)
		case s.authentication != "" && s.authentication != "anon":
			f.add(Authentication, s.authentication)
			f.complete(true, Authentication)
		}
	}
	tlsKeys(f, u, s)
	f.settle()
}

// tlsKeys adds the size of the server's key.
func tlsKeys(f Facts, u *row.Use, s suite) {
	f.unknown(RSABits, DSABits, ECBits)
	switch {
	case u.Algorithm != "":
		keys(f, u)
	case u.Resumed == "yes" || s.authentication == "anon" || s.establishment == "PSK":
		f.none(RSABits, DSABits, ECBits)
	default:
		// The suite, or the signature, has only one of them.
		algorithms := f[Authentication]
		if !algorithms.Complete {
			return
		}
		f.none(RSABits, DSABits, ECBits)
		for _, algorithm := range algorithms.Values {
			switch algorithm {
			case "RSA":
				f.unknown(RSABits)
			case "DSA":
				f.unknown(DSABits)
			case "ECDSA", "EC":
				f.unknown(ECBits)
			}
		}
	}
}

// suite is a parsed cipher suite. Empty text means unknown.
type suite struct {
	establishment  string // empty also for suites of TLS 1.3
	authentication string // RSA, DSA, EC, anon, PSK
	cipher         string
	algorithm      string
	bits           int // of the cipher's key, -1 if unknown
	hash           string
	aead           bool
}

// unsigned reports whether the server of a handshake with the suite signs nothing.
func (s suite) unsigned() bool {
	switch s.establishment {
	case "RSA", "DH", "ECDH", "DH-anon", "ECDH-anon", "PSK", "RSA-PSK", "DHE-PSK", "ECDHE-PSK", "KRB5":
		return true
	}
	return false
}

// suiteOf parses the IANA name of a cipher suite.
func suiteOf(name string) (s suite) {
	rest, ok := strings.CutPrefix(name, "TLS_")
	if !ok {
		return s
	}
	if exchange, cipher, with := strings.Cut(rest, "_WITH_"); with {
		s.establishment, s.authentication = exchangeOf(strings.TrimSuffix(exchange, "_EXPORT"))
		rest = cipher
	}
	s.readCipher(strings.Split(rest, "_"))
	return s
}

// exchangeOf returns how a suite establishes keys and authenticates, by the part of its name before WITH.
func exchangeOf(exchange string) (establishment, authentication string) {
	switch exchange {
	case "RSA":
		return "RSA", "RSA"
	case "PSK":
		return "PSK", "PSK"
	case "PSK_DHE":
		return "DHE-PSK", "PSK"
	case "RSA_PSK":
		return "RSA-PSK", "RSA"
	case "KRB5":
		return "KRB5", "PSK"
	case "ECCPWD":
		return "ECCPWD", "PSK"
	case "SRP_SHA":
		return "SRP", "PSK"
	case "SRP_SHA_RSA":
		return "SRP", "RSA"
	case "SRP_SHA_DSS":
		return "SRP", "DSA"
	case "NULL":
		return "NULL", "anon"
	case "GOSTR341112_256":
		return "GOST", "GOST"
	}
	method, key, _ := strings.Cut(exchange, "_")
	switch key {
	case "RSA":
		return method, "RSA"
	case "DSS":
		return method, "DSA"
	case "ECDSA":
		return method, "EC" // also Ed25519 and Ed448, RFC 8422
	case "anon":
		return method + "-anon", "anon"
	case "PSK":
		return method + "-PSK", "PSK"
	}
	return "", ""
}

// readCipher reads the cipher and the hash of a suite from the words of its name.
func (s *suite) readCipher(words []string) {
	last := words[len(words)-1]
	word := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	s.bits = -1
	switch words[0] {
	case "AES", "ARIA", "CAMELLIA":
		mode := word(2)
		s.algorithm, s.bits = words[0], number(word(1))
		s.cipher = words[0] + "-" + word(1) + "-" + mode
		s.aead = mode == "GCM" || mode == "CCM"
	case "CHACHA20":
		s.algorithm, s.bits, s.cipher, s.aead = "ChaCha20", 256, "ChaCha20-Poly1305", true
	case "SM4":
		s.algorithm, s.bits, s.cipher, s.aead = "SM4", 128, "SM4-128-"+word(1), true
	case "AEGIS":
		s.algorithm, s.bits, s.cipher, s.aead = "AEGIS", number(strings.TrimSuffix(word(1), "L")), "AEGIS-"+word(1), true
	case "3DES":
		s.algorithm, s.bits, s.cipher = "3DES", 168, "3DES-CBC"
	case "DES":
		s.algorithm, s.bits, s.cipher = "DES", 56, "DES-CBC"
		if word(2) == "40" {
			s.bits, s.cipher = 40, "DES-40-CBC"
		}
	case "DES40":
		s.algorithm, s.bits, s.cipher = "DES", 40, "DES-40-CBC"
	case "RC4":
		s.algorithm, s.bits, s.cipher = "RC4", number(word(1)), "RC4-"+word(1)
	case "RC2":
		s.algorithm, s.bits, s.cipher = "RC2", 40, "RC2-40-CBC"
	case "IDEA", "SEED":
		s.algorithm, s.bits, s.cipher = words[0], 128, words[0]+"-CBC"
	case "NULL":
		s.algorithm, s.bits, s.cipher = "NULL", 0, "NULL"
	case "MAGMA", "KUZNYECHIK", "28147":
		s.algorithm, s.cipher, s.aead = words[0], strings.Join(words, "-"), true
		return // with the hash of the GOST suite
	case "SHA256", "SHA384": // integrity only, RFC 9150
		s.algorithm, s.bits, s.cipher = "NULL", 0, "NULL"
	default:
		return
	}
	s.hash = hashOf(last)
	if s.hash == "" && s.aead {
		s.hash = "SHA-256" // RFC 6655: suites with CCM have the default of TLS 1.2
	}
}

func number(digits string) int {
	n, err := strconv.Atoi(digits)
	if err != nil {
		return -1
	}
	return n
}

// hashOf returns the normalised name of a hash in the name of a suite or scheme.
func hashOf(word string) string {
	switch strings.ToLower(word) {
	case "md5":
		return "MD5"
	case "sha", "sha1":
		return "SHA-1"
	case "sha224", "sha256", "sha384", "sha512":
		return "SHA-" + word[len("sha"):]
	case "sm3":
		return "SM3"
	}
	return ""
}

// scheme is a parsed signature scheme.
type scheme struct{ algorithm, hash, padding string }

// schemeOf parses the IANA name of a signature scheme.
func schemeOf(name string) scheme {
	words := strings.Split(name, "_")
	if words[len(words)-1] == "legacy" {
		words = words[:len(words)-1]
	}
	hash := hashOf(words[len(words)-1])
	if level, ok := strings.CutPrefix(words[0], "mldsa"); ok {
		return scheme{"ML-DSA-" + level, "", ""}
	}
	switch words[0] {
	case "ed25519":
		return scheme{"Ed25519", "", ""}
	case "ed448":
		return scheme{"Ed448", "", ""}
	}
	if len(words) == 1 {
		return scheme{}
	}
	switch words[0] {
	case "rsa":
		padding := "PKCS1"
		if words[1] == "pss" {
			padding = "PSS"
		}
		return scheme{"RSA", hash, padding}
	case "ecdsa":
		return scheme{"ECDSA", hash, ""}
	case "dsa":
		return scheme{"DSA", hash, ""}
	case "sm2sig":
		return scheme{"SM2", "SM3", ""}
	case "slhdsa":
		return scheme{"SLH-DSA-" + strings.ToUpper(words[1]) + "-" + words[len(words)-1], "", ""}
	}
	if strings.HasPrefix(words[0], "gost") {
		return scheme{"GOST", "", ""}
	}
	return scheme{}
}
