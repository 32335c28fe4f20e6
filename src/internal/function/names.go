// SPDX-License-Identifier: Apache-2.0

package function

import "strings"

// The names of OpenSSL for the same algorithm differ by version and interface. They are
// converted to the names that the probes of GnuTLS use.

// hashName returns the name of a digest, "" unless signatures use it.
func hashName(name string, nid uint32) string {
	switch strings.ToUpper(name) {
	case "MD5":
		return "MD5"
	case "MD5-SHA1":
		return "MD5-SHA1"
	case "SHA1", "SHA-1", "SSL3-SHA1":
		return "SHA1"
	case "SHA224", "SHA-224", "SHA2-224":
		return "SHA224"
	case "SHA256", "SHA-256", "SHA2-256":
		return "SHA256"
	case "SHA384", "SHA-384", "SHA2-384":
		return "SHA384"
	case "SHA512", "SHA-512", "SHA2-512":
		return "SHA512"
	case "SHA512-224", "SHA-512/224", "SHA2-512/224":
		return "SHA512-224"
	case "SHA512-256", "SHA-512/256", "SHA2-512/256":
		return "SHA512-256"
	case "SHA3-224":
		return "SHA3-224"
	case "SHA3-256":
		return "SHA3-256"
	case "SHA3-384":
		return "SHA3-384"
	case "SHA3-512":
		return "SHA3-512"
	case "SHAKE128", "SHAKE-128":
		return "SHAKE-128"
	case "SHAKE256", "SHAKE-256":
		return "SHAKE-256"
	case "RIPEMD160", "RIPEMD-160", "RIPEMD", "RMD160":
		return "RIPEMD160"
	case "SM3":
		return "SM3"
	case "MD4":
		return "MD4"
	case "MD2":
		return "MD2"
	case "":
		return hashOf(nid)
	}
	return ""
}

// hashOf returns the name of a digest by its NID (obj_mac.h), "" if it is unknown.
func hashOf(nid uint32) string {
	switch nid {
	case 3:
		return "MD2"
	case 4:
		return "MD5"
	case 64:
		return "SHA1"
	case 114:
		return "MD5-SHA1"
	case 117:
		return "RIPEMD160"
	case 257:
		return "MD4"
	case 672:
		return "SHA256"
	case 673:
		return "SHA384"
	case 674:
		return "SHA512"
	case 675:
		return "SHA224"
	case 1094:
		return "SHA512-224"
	case 1095:
		return "SHA512-256"
	case 1096:
		return "SHA3-224"
	case 1097:
		return "SHA3-256"
	case 1098:
		return "SHA3-384"
	case 1099:
		return "SHA3-512"
	case 1143:
		return "SM3"
	}
	return ""
}

// algorithmName returns the name of a key type.
func algorithmName(name string) string {
	switch strings.ToUpper(name) {
	case "EC":
		return "EC/ECDSA"
	case "ED25519":
		return "EdDSA (Ed25519)"
	case "ED448":
		return "EdDSA (Ed448)"
	case "X25519":
		return "ECDH (X25519)"
	case "X448":
		return "ECDH (X448)"
	case "RSAPSS", "RSASSA-PSS":
		return "RSA-PSS"
	case "DHX", "X9.42 DH":
		return "DH"
	}
	return name
}

// algorithmOf returns the name of a key type by its NID, "" if it is unknown.
func algorithmOf(nid uint32) string {
	switch nid {
	case 6:
		return "RSA"
	case 28, 920:
		return "DH"
	case 116:
		return "DSA"
	case 408:
		return "EC/ECDSA"
	case 912:
		return "RSA-PSS"
	case 1034:
		return "ECDH (X25519)"
	case 1035:
		return "ECDH (X448)"
	case 1087:
		return "EdDSA (Ed25519)"
	case 1088:
		return "EdDSA (Ed448)"
	case 1172:
		return "SM2"
	}
	return ""
}

// curveOf returns the name of a curve by its NID, "" if it is unknown.
func curveOf(nid uint32) string {
	switch nid {
	case 409:
		return "SECP192R1"
	case 415:
		return "SECP256R1"
	case 713:
		return "SECP224R1"
	case 714:
		return "SECP256K1"
	case 715:
		return "SECP384R1"
	case 716:
		return "SECP521R1"
	case 927:
		return "BRAINPOOLP256R1"
	case 931:
		return "BRAINPOOLP384R1"
	case 933:
		return "BRAINPOOLP512R1"
	case 1172:
		return "SM2"
	}
	return ""
}

// curveName returns the name of a curve, "" if it is unknown.
func curveName(name string) string {
	switch strings.ToUpper(name) {
	case "P-192", "PRIME192V1", "SECP192R1":
		return "SECP192R1"
	case "P-224", "SECP224R1":
		return "SECP224R1"
	case "P-256", "PRIME256V1", "SECP256R1":
		return "SECP256R1"
	case "SECP256K1":
		return "SECP256K1"
	case "P-384", "SECP384R1":
		return "SECP384R1"
	case "P-521", "SECP521R1":
		return "SECP521R1"
	case "BRAINPOOLP256R1", "BRAINPOOLP384R1", "BRAINPOOLP512R1":
		return strings.ToUpper(name)
	}
	return ""
}
