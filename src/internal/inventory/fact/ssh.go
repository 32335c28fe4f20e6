// SPDX-License-Identifier: Apache-2.0

package fact

import (
	"strconv"
	"strings"

	"crypto-auditing/src/internal/inventory/row"
)

// ssh adds the facts of an SSH handshake.
func ssh(f Facts, u *row.Use) {
	f.set(Kex, u.Kex)
	f.unknown(Establishment, Quantum, KEM, DHBits, ECDHBits, KexHash)
	if g, ok := kexOf(u.Kex); ok {
		f.set(Establishment, g.establishment)
		f.set(Quantum, Vulnerable)
		f.none(KEM, DHBits, ECDHBits)
		switch g.establishment {
		case "hybrid":
			f.set(Quantum, Safe)
			f.set(KEM, g.kem)
			f.bits(ECDHBits, g.bits)
		case "ECDHE":
			f.bits(ECDHBits, g.bits)
		case "DHE":
			f.bits(DHBits, g.bits) // unknown if the server chose the group
		}
		f.set(KexHash, kexHash(u.Kex))
	}
	sshAuthentication(f, u)
	sshCiphers(f, u)
}

// kexOf returns the group for the name of an SSH key exchange
// (https://www.iana.org/assignments/ssh-parameters, and names of OpenSSH and others).
func kexOf(name string) (g group, ok bool) {
	name = strings.TrimPrefix(name, "gss-")
	name, _, _ = strings.Cut(name, "@")
	first, rest, _ := strings.Cut(name, "-")
	switch {
	case strings.HasPrefix(first, "mlkem"):
		digits := strings.TrimPrefix(first, "mlkem")
		end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' })
		if end <= 0 {
			return group{}, false // not registered without a classical part
		}
		return group{establishment: "hybrid", kem: "ML-KEM-" + digits[:end], bits: curveBits(digits[end:])}, true
	case strings.HasPrefix(first, "sntrup"):
		kem, classical, _ := strings.Cut(first, "x")
		return group{establishment: "hybrid", kem: kem, bits: curveBits("x" + classical)}, true
	case first == "curve25519":
		return group{establishment: "ECDHE", bits: 256}, true
	case first == "curve448":
		return group{establishment: "ECDHE", bits: 448}, true
	case strings.HasPrefix(first, "nistp"): // gss-nistp256-sha256-*
		return group{establishment: "ECDHE", bits: curveBits(first)}, true
	case first == "ecdh":
		return group{establishment: "ECDHE", bits: curveBits(strings.TrimPrefix(rest, "sha2-"))}, true
	case first == "diffie" || first == "gex" || strings.HasPrefix(first, "group"):
		return group{establishment: "DHE", bits: dhBits(name)}, true
	case strings.HasPrefix(first, "rsa"):
		return group{establishment: "RSA", bits: number(strings.TrimPrefix(first, "rsa"))}, true
	}
	return group{}, false
}

// dhBits returns the size of a numbered group (RFC 4253, RFC 8268), 0 if the server chose another.
func dhBits(name string) int {
	_, digits, _ := strings.Cut(name, "group")
	digits, _, _ = strings.Cut(digits, "-")
	switch digits {
	case "1":
		return 1024
	case "14":
		return 2048
	case "15":
		return 3072
	case "16":
		return 4096
	case "17":
		return 6144
	case "18":
		return 8192
	}
	return 0
}

// kexHash returns the hash of a key exchange, empty if it is not part of the name.
func kexHash(kex string) string {
	kex, _, _ = strings.Cut(kex, "@")
	if curve, ok := strings.CutPrefix(kex, "ecdh-sha2-"); ok {
		return ecdsaHash(curve)
	}
	for _, word := range strings.Split(kex, "-") {
		if hash := hashOf(word); hash != "" {
			return hash
		}
	}
	return ""
}

// ecdsaHash returns the hash that belongs to a curve (RFC 5656).
func ecdsaHash(curve string) string {
	switch bits := curveBits(curve); {
	case bits == 0:
		return ""
	case bits <= 256:
		return "SHA-256"
	case bits <= 384:
		return "SHA-384"
	}
	return "SHA-512"
}

// sshAuthentication adds the signatures of server and client.
func sshAuthentication(f Facts, u *row.Use) {
	f.complete(u.HostKey != "", Signature, Authentication, SignatureHash, SignaturePadding)
	f.unknown(RSABits, DSABits, ECBits)
	if u.HostKey != "" {
		f.none(RSABits, DSABits, ECBits)
	}
	for i, name := range []string{u.HostKey, u.ClientKey} {
		if name == "" {
			continue
		}
		f.add(Signature, name)
		key := sshKey(name)
		if key.algorithm == "" {
			f.complete(false, Authentication, SignatureHash, SignaturePadding)
			continue
		}
		f.add(Authentication, key.algorithm)
		f.add(SignatureHash, key.hash)
		f.add(SignaturePadding, key.padding)
		if i > 0 {
			continue
		}
		switch key.algorithm {
		case "RSA":
			f.bits(RSABits, u.Bits)
		case "DSA":
			f.bits(DSABits, 1024) // RFC 4253
		case "ECDSA":
			f.bits(ECBits, curveBits(strings.TrimPrefix(base(name), "ecdsa-sha2-")))
		case "Ed25519":
			f.bits(ECBits, 256)
		case "Ed448":
			f.bits(ECBits, 448)
		}
	}
	f.settle()
}

// base returns the name of a key's algorithm without affixes of certificates and security keys.
func base(name string) string {
	name, _, _ = strings.Cut(name, "@")
	name = strings.TrimPrefix(name, "sk-")
	name = strings.TrimPrefix(name, "webauthn-sk-")
	return strings.TrimSuffix(strings.TrimSuffix(name, "-cert-v01"), "-cert-v00")
}

// sshKey parses the name of a signature algorithm of SSH.
func sshKey(name string) scheme {
	name = base(name)
	switch name {
	case "ssh-ed25519":
		return scheme{"Ed25519", "", ""}
	case "ssh-ed448":
		return scheme{"Ed448", "", ""}
	case "ssh-rsa":
		return scheme{"RSA", "SHA-1", "PKCS1"}
	case "rsa-sha2-256":
		return scheme{"RSA", "SHA-256", "PKCS1"}
	case "rsa-sha2-512":
		return scheme{"RSA", "SHA-512", "PKCS1"}
	case "ssh-dss":
		return scheme{"DSA", "SHA-1", ""}
	}
	if curve, ok := strings.CutPrefix(name, "ecdsa-sha2-"); ok {
		return scheme{"ECDSA", ecdsaHash(curve), ""}
	}
	return scheme{}
}

// sshCiphers adds ciphers and MACs of both directions.
func sshCiphers(f Facts, u *row.Use) {
	f.complete(u.CipherOut != "" && u.CipherIn != "", Cipher, CipherAlgorithm, CipherBits, MAC)
	for _, direction := range [][2]string{{u.CipherOut, u.MACOut}, {u.CipherIn, u.MACIn}} {
		name, mac := direction[0], direction[1]
		if name == "" {
			continue
		}
		algorithm, bits, mode := sshCipher(name)
		if algorithm == "" {
			f.complete(false, Cipher, CipherAlgorithm, CipherBits)
			continue
		}
		text := algorithm
		if bits > 0 {
			text += "-" + strconv.Itoa(bits)
		}
		switch mode {
		case "":
		case "poly1305":
			text = "ChaCha20-Poly1305"
		default:
			text += "-" + strings.ToUpper(mode)
		}
		f.add(Cipher, text)
		f.add(CipherAlgorithm, algorithm)
		f.add(CipherBits, strconv.Itoa(bits))
		switch hash := sshMAC(mac); {
		case mode == "gcm" || mode == "poly1305": // these need no MAC
		case hash == "":
			f.complete(false, MAC)
		default:
			f.add(MAC, hash)
		}
	}
}

// sshCipher parses the name of a cipher of SSH.
func sshCipher(name string) (algorithm string, bits int, mode string) {
	name, _, _ = strings.Cut(name, "@")
	first, mode, _ := strings.Cut(name, "-")
	switch {
	case strings.HasPrefix(first, "aes"):
		return "AES", number(first[len("aes"):]), mode
	case first == "chacha20":
		return "ChaCha20", 256, "poly1305"
	case strings.HasPrefix(first, "camellia"):
		return "CAMELLIA", number(first[len("camellia"):]), mode
	case first == "3des":
		return "3DES", 168, mode
	case first == "des":
		return "DES", 56, mode
	case first == "arcfour", first == "arcfour128", first == "arcfour256":
		return "RC4", max(128, number(first[len("arcfour"):])), ""
	case first == "blowfish":
		return "Blowfish", 128, mode
	case first == "cast128":
		return "CAST", 128, mode
	case first == "idea":
		return "IDEA", 128, mode
	case first == "none":
		return "NULL", 0, ""
	case strings.HasPrefix(first, "twofish"), strings.HasPrefix(first, "serpent"):
		return strings.ToUpper(first[:1]) + first[1:7], max(256, number(first[7:])), mode
	}
	return "", 0, ""
}

// sshMAC returns the hash of a MAC, or UMAC with its length in bits; empty if it is unknown.
func sshMAC(name string) string {
	name, _, _ = strings.Cut(name, "@")
	words := strings.Split(name, "-")
	switch {
	case strings.HasPrefix(name, "umac-") && len(words) > 1:
		return "UMAC-" + words[1]
	case name == "none":
		return "NULL"
	case words[0] != "hmac" || len(words) < 2:
		return ""
	case words[1] == "sha2" && len(words) > 2:
		return "SHA-" + words[2]
	}
	return hashOf(words[1])
}
