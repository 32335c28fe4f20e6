// SPDX-License-Identifier: Apache-2.0

package fact

import (
	"strings"

	"crypto-auditing/src/internal/inventory/row"
)

// publicKey adds the facts of an operation with a public or private key.
func publicKey(f Facts, u *row.Use) {
	keys(f, u)
	switch u.Operation {
	case row.Sign, row.Verify:
		f.set(Authentication, signatureAlgorithm(u.Algorithm))
		f.settle()
		f.set(SignatureHash, u.Hash)
		f.none(SignaturePadding)
		switch algorithm := signatureAlgorithm(u.Algorithm); {
		case algorithm == "Ed25519" || algorithm == "Ed448" || isPostQuantumSignature(algorithm):
			if u.Hash == "" { // the hash is part of the algorithm
				f.none(SignatureHash)
			}
		case algorithm == "RSA" || algorithm == "":
			f.set(SignaturePadding, u.Padding)
		}
	case row.Encapsulate, row.Decapsulate, row.Encrypt, row.Decrypt, row.Derive:
		establishment(f, u)
	}
}

// establishment adds how a standalone operation establishes a key.
func establishment(f Facts, u *row.Use) {
	f.unknown(Establishment, Quantum, KEM)
	g, ok := groupOf(u.Algorithm)
	switch {
	case u.Algorithm == "RSA":
		f.set(Establishment, "RSA")
		f.set(Quantum, Vulnerable)
		f.none(KEM)
	case strings.HasPrefix(u.Algorithm, "ML-KEM-"):
		f.set(Establishment, "KEM")
		f.set(Quantum, Safe)
		f.set(KEM, u.Algorithm)
	case ok && g.kem != "":
		f.set(Establishment, g.establishment)
		f.set(Quantum, Safe)
		f.set(KEM, g.kem)
	case u.Operation != row.Derive:
	case u.Algorithm == "DH":
		f.set(Establishment, "DHE")
	case u.Algorithm == "ECDH" || u.Algorithm == "EC" || ok:
		f.set(Establishment, "ECDHE")
	}
	// A derivation may be the classical part of a hybrid: it does not show whether the established key
	// resists quantum computers. If it is part of a handshake, the handshake shows it.
	if u.Operation == row.Derive {
		f.unknown(Quantum, KEM)
		if u.Within == row.TLSHandshake || u.Within == row.SSHHandshake {
			f.none(Quantum, KEM)
		}
	}
}

// keys adds the size of the key by its algorithm.
func keys(f Facts, u *row.Use) {
	f.none(RSABits, DSABits, ECBits)
	attribute := RSABits
	bits := u.Bits
	switch u.Algorithm {
	case "":
		f.unknown(RSABits, DSABits, ECBits)
		return
	case "RSA":
	case "DSA":
		attribute = DSABits
	case "DH":
		attribute = DHBits
		if g, ok := groupOf(u.Group); ok && g.establishment == "DHE" {
			bits = g.bits
		}
	case "EC", "ECDSA", "ECDH", "Ed25519", "Ed448", "X25519", "X448", "SM2":
		attribute = ECBits
		for _, name := range []string{u.Curve, u.Group, u.Algorithm} {
			if size := curveBits(name); size > 0 {
				bits = size
				break
			}
		}
	default:
		return
	}
	f.bits(attribute, bits)
}

// signatureAlgorithm returns the algorithm of signatures that a key makes, empty if it makes none.
func signatureAlgorithm(key string) string {
	switch key {
	case "EC":
		return "ECDSA"
	case "DH", "ECDH", "X25519", "X448":
		return ""
	}
	return key
}
