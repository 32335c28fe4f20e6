// SPDX-License-Identifier: Apache-2.0

package function

// The spellings of OpenSSL for the same algorithm differ by version and interface. They are
// converted to the names of the registry, as are its numbers (obj_mac.h).

// hashOf returns the name of a digest by its NID, "" if it is unknown.
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
