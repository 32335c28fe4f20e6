// SPDX-License-Identifier: Apache-2.0

package policycheck

import (
	"crypto-auditing/src/internal/inventory/cryptopolicy"
	"crypto-auditing/src/internal/inventory/row"
)

// publicKey judges a signature. Key exchanges are judged by their handshakes. Policies cover neither
// encryption nor the generation of keys, nor operations of OpenSSL and Java outside of handshakes,
// except OpenSSL's signatures with SHA-1.
func (j *judge) publicKey(use *row.Use) {
	if use.Operation != row.Sign && use.Operation != row.Verify {
		j.notCovered = true
		return
	}
	if use.Within == "" {
		switch j.backEnd.name {
		case openSSL, anyTLS:
			j.opensslSHA1(use)
			return
		case javaTLS:
			j.notCovered = true
			return
		}
		j.signature(use)
		return
	}
	if j.backEnd.name != openSSHClient || use.Operation == row.Sign { // a verification is by a host key, see sshHostKey
		j.signature(use)
	}
	j.key(use)
}

// opensslSHA1 judges signatures with SHA-1, which OpenSSL blocks everywhere if the policy requires it.
func (j *judge) opensslSHA1(use *row.Use) {
	if use.Hash != "SHA-1" {
		j.notCovered = true
		return
	}
	switch {
	case !j.policy.Sets(cryptopolicy.BlockSHA1):
		// RHEL 9 has no such property; where it is the default, policies that allow SHA-1 set it.
		j.requires(cryptopolicy.Hash, "SHA1", use.Hash)
	case j.scoped.Integer(cryptopolicy.BlockSHA1) != 0:
		j.deny(cryptopolicy.BlockSHA1, "SHA1", "OpenSSL blocks signatures with SHA-1")
	}
}

// signature judges a signature by the list of signature algorithms.
func (j *judge) signature(use *row.Use) {
	names, complete := signatureNames(use)
	listed := 0
	for _, name := range names {
		if j.signs(name) {
			listed++
		}
	}
	switch {
	case len(names) == 0 && complete:
		j.deny(cryptopolicy.Sign, use.Algorithm, "policies have no name for it")
	case len(names) == 0:
		j.missing(cryptopolicy.Sign, "the algorithm, hash or padding")
	case listed == len(names):
	case j.backEnd.name == gnuTLS && use.Hash == "SHA-1" && use.Within != "" && use.Operation == row.Verify &&
		j.scoped.Integer(cryptopolicy.SHA1InCerts) != 0: // allowed in certificates
	case listed > 0:
		j.undecidable(cryptopolicy.Sign, names[0], "the policy lists it for one kind of key or padding, and the record does not say which it was")
	default:
		j.requires(cryptopolicy.Sign, names[0], use.Algorithm)
	}
}

// signatureNames returns the names that policies may use for a signature. If there are none,
// complete reports whether all properties of the signature are known.
func signatureNames(use *row.Use) (names []string, complete bool) {
	fixed := map[string]string{
		"Ed25519": "EDDSA-ED25519", "Ed448": "EDDSA-ED448",
		"ML-DSA-44": "MLDSA44", "ML-DSA-65": "MLDSA65", "ML-DSA-87": "MLDSA87",
	}
	if name := fixed[use.Algorithm]; name != "" {
		return []string{name}, true
	}
	hash := hashName(use.Hash)
	switch {
	case use.Algorithm == "" || hash == "" || use.Hash == "":
		return nil, false
	case use.Algorithm == "EC", use.Algorithm == "ECDSA":
		return []string{"ECDSA-" + hash}, true
	case use.Algorithm == "DSA":
		return []string{"DSA-" + hash}, true
	case use.Algorithm != "RSA":
		return nil, true
	}
	switch use.Padding {
	case "PKCS1":
		return []string{"RSA-" + hash}, true
	case "PSS":
		return []string{"RSA-PSS-RSAE-" + hash, "RSA-PSS-" + hash}, true
	case "":
		return []string{"RSA-" + hash, "RSA-PSS-RSAE-" + hash, "RSA-PSS-" + hash}, true
	}
	return nil, false
}
