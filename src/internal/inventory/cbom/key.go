// SPDX-License-Identifier: Apache-2.0

package cbom

import (
	"strings"

	"crypto-auditing/src/internal/inventory/row"
)

// publicKey returns the algorithm of a public-key operation; ok is false if it was not recorded.
func (t *table) publicKey(u *row.Use) (a algorithm, ok bool) {
	signs := u.Operation == row.Sign || u.Operation == row.Verify
	hash := u.Hash
	switch u.Algorithm {
	case "":
		return a, false
	case "RSA":
		return t.rsa(u, signs).sized(u.Bits), true
	case "DSA":
		return t.hashed("DSA", hash).sized(u.Bits), true
	case "ECDSA":
		return t.hashed("ECDSA", hash).on(u.Curve, "ECDSA"), true
	case "EC":
		if signs {
			return t.hashed("ECDSA", hash).on(u.Curve, "ECDSA"), true
		}
		if u.Operation == row.Derive {
			return t.named("ECDH").on(u.Curve, "ECDH"), true
		}
		a = algorithm{name: "EC", Primitive: "unknown"}
		return a.on(u.Curve, "EC"), true
	case "ECDH":
		return t.named("ECDH").on(u.Curve, "ECDH"), true
	case "DH":
		if u.Group != "" {
			return t.group(u.Group)[0], true
		}
		return t.named("FFDH").sized(u.Bits), true
	case "X25519", "X448":
		return t.named(strings.ToLower(u.Algorithm)), true
	}
	if _, known := t.Algorithms[u.Algorithm]; !known && t.TLS.Group[u.Algorithm] != nil {
		return t.group(u.Algorithm)[0], true
	}
	return t.named(u.Algorithm), true
}

// rsa returns the algorithm of an RSA operation, without the size of the key.
func (t *table) rsa(u *row.Use, signs bool) algorithm {
	switch {
	case signs && u.Padding == "PSS":
		return t.hashed("RSA-PSS", u.Hash)
	case signs && u.Padding == "PKCS1" && u.Hash != "":
		return t.hashed("RSA-PKCS1-1.5", u.Hash)
	case u.Padding == "OAEP":
		return t.named("RSA-OAEP")
	case (u.Operation == row.Encrypt || u.Operation == row.Decrypt) && u.Padding == "PKCS1":
		return t.named("RSA-PKCS1-1.5")
	case signs:
		return t.hashed("RSA", u.Hash)
	}
	a := t.named("RSA")
	a.Primitive = "unknown" // the key may be for signatures or encryption
	return a
}

// hashed returns an algorithm with a hash function: from the table, or composed of its two parts.
func (t *table) hashed(name, hash string) algorithm {
	if hash == "" {
		return t.named(name)
	}
	whole := name + "-" + hash
	if _, ok := t.Algorithms[whole]; ok {
		return t.named(whole)
	}
	a := t.named(name)
	if name == "RSA-PKCS1-1.5" { // without a hash, the table has encryption
		a.Primitive, a.Family = "signature", "RSASSA-PKCS1"
	}
	a.name, a.OID, a.OIDSource, a.Parts = whole, "", "", []string{hash}
	return a
}

// function returns CycloneDX's name for the function of a public-key operation; empty if there is
// none.
func function(operation string) string {
	switch operation {
	case row.Sign:
		return "sign"
	case row.Verify:
		return "verify"
	case row.Encrypt:
		return "encrypt"
	case row.Decrypt:
		return "decrypt"
	case row.Encapsulate:
		return "encapsulate"
	case row.Decapsulate:
		return "decapsulate"
	case row.Generate:
		return "keygen"
	case row.Derive:
		return "keyderive"
	}
	return ""
}
