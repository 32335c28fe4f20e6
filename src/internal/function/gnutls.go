// SPDX-License-Identifier: Apache-2.0

package function

import (
	"fmt"

	"crypto-auditing/src/internal/layout"
)

// lastSession is larger than all numbers of GnuTLS's enumerations, those of later versions
// included. A larger number is impossible.
const lastSession = 1023

// readSession reads the values of a call of GnuTLS, whose numbers are its own
// enumerations (gnutls/gnutls.h).
//
// The role is always valid; the other values are only read when the handshake is
// complete. A resumed session of TLS 1.2 and older has the group and the schemes of an
// earlier handshake, and whether it was resumed cannot be read with certainty: for these
// versions they are not recorded.
func (r *registered) readSession(c *Call) (v values, problem string) {
	switch role, ok := c.Value(layout.Server); {
	case ok && role == 1:
		v.server = true
	case !ok || role != 2:
		return v, fmt.Sprintf("the role of a session is %#x (%v)", role, ok)
	}
	if c.Kind != Completed {
		return v, ""
	}
	number, ok := c.Value(layout.Version)
	if v.version = sessionVersion(number); !ok || v.version == 0 {
		return v, fmt.Sprintf("the version of a session is %d (%v)", number, ok)
	}
	suite, ok := c.Value(layout.CipherSuite)
	v.suite = uint16(suite>>8 | suite<<8)
	if _, exists := r.suites.Text(int64(v.suite)); !ok || suite > 0xffff || !exists {
		return v, fmt.Sprintf("the cipher suite of a session is %#x (%v)", v.suite, ok)
	}
	if (v.suite>>8 == 0x13) != (v.version == tls13) {
		return v, fmt.Sprintf("the cipher suite %#x does not belong to the version %#x", v.suite, v.version)
	}
	if v.version != tls13 {
		return v, ""
	}
	if number, ok := c.Value(layout.Group); ok && number != 0 {
		if v.group, ok = sessionGroup(number); !ok {
			return v, fmt.Sprintf("the group of a session is %d", number)
		}
	}
	for _, s := range []struct {
		id layout.ValueID
		// server: the scheme is the server's own.
		server bool
	}{{layout.ServerScheme, true}, {layout.ClientScheme, false}} {
		number, ok := c.Value(s.id)
		if !ok || number == 0 {
			continue
		}
		scheme, known := sessionScheme(number)
		if !known {
			return v, fmt.Sprintf("a signature scheme of a session is %d", number)
		}
		if s.server == v.server {
			v.own = scheme
		} else {
			v.peer = scheme
		}
	}
	v.signed = true
	return v, ""
}

// sessionVersion returns the version of a gnutls_protocol_t, 0 if it is not one.
func sessionVersion(number uint32) uint16 {
	switch number {
	case 1, 2, 3, 4, 5: // GNUTLS_SSL3, GNUTLS_TLS1_0 to GNUTLS_TLS1_3
		return 0x2ff + uint16(number)
	case 200: // GNUTLS_DTLS0_9
		return badDTLS
	case 201: // GNUTLS_DTLS1_0
		return 0xfeff
	case 202: // GNUTLS_DTLS1_2
		return 0xfefd
	}
	return 0
}

// sessionGroup returns the group of a gnutls_group_t, 0 if IANA has none. ok is false
// for a number that is not one.
func sessionGroup(number uint32) (group uint16, ok bool) {
	switch number {
	case 1: // GNUTLS_GROUP_SECP224R1
		return 21, true
	case 2, 3, 4: // GNUTLS_GROUP_SECP256R1, SECP384R1, SECP521R1
		return uint16(number) + 21, true
	case 5: // GNUTLS_GROUP_SECP192R1
		return 19, true
	case 6: // GNUTLS_GROUP_X25519
		return 29, true
	case 20: // GNUTLS_GROUP_X448
		return 30, true
	case 256, 257, 258: // GNUTLS_GROUP_FFDHE2048, 3072, 4096
		return uint16(number), true
	case 259: // GNUTLS_GROUP_FFDHE8192
		return 260, true
	case 260: // GNUTLS_GROUP_FFDHE6144
		return 259, true
	}
	// Other numbers belong to later versions and to groups that TLS 1.3 does not have.
	return 0, number <= lastSession
}

// sessionScheme returns the scheme of a gnutls_sign_algorithm_t, 0 if TLS 1.3 has
// none. ok is false for a number that is not one.
func sessionScheme(number uint32) (scheme uint16, ok bool) {
	switch number {
	case 32, 33, 34: // GNUTLS_SIGN_RSA_PSS_SHA256, 384, 512
		return 0x809 + uint16(number-32), true
	case 35: // GNUTLS_SIGN_EDDSA_ED25519
		return 0x807, true
	case 37: // GNUTLS_SIGN_ECDSA_SECP256R1_SHA256
		return 0x403, true
	case 38: // GNUTLS_SIGN_ECDSA_SECP384R1_SHA384
		return 0x503, true
	case 39: // GNUTLS_SIGN_ECDSA_SECP521R1_SHA512
		return 0x603, true
	case 40, 41, 42: // GNUTLS_SIGN_RSA_PSS_RSAE_SHA256, 384, 512
		return 0x804 + uint16(number-40), true
	case 46: // GNUTLS_SIGN_EDDSA_ED448
		return 0x808, true
	}
	return 0, number <= lastSession
}

// sessionAlgorithm returns the name of a gnutls_pk_algorithm_t, "" if it has none.
func sessionAlgorithm(number uint32) string {
	switch number {
	case keyRSA, 13: // GNUTLS_PK_RSA, GNUTLS_PK_RSA_OAEP
		return "RSA"
	case keyDSA:
		return "DSA"
	case 3: // GNUTLS_PK_DH
		return "DH"
	case keyEC:
		return "EC/ECDSA"
	case 5: // GNUTLS_PK_ECDH_X25519
		return "ECDH (X25519)"
	case keyRSAPSS:
		return "RSA-PSS"
	case 7: // GNUTLS_PK_EDDSA_ED25519
		return "EdDSA (Ed25519)"
	case 8: // GNUTLS_PK_GOST_01
		return "GOST R 34.10-2001"
	case 9: // GNUTLS_PK_GOST_12_256
		return "GOST R 34.10-2012-256"
	case 10: // GNUTLS_PK_GOST_12_512
		return "GOST R 34.10-2012-512"
	case 11: // GNUTLS_PK_ECDH_X448
		return "ECDH (X448)"
	case 12: // GNUTLS_PK_EDDSA_ED448
		return "EdDSA (Ed448)"
	case 14: // GNUTLS_PK_MLKEM768
		return "ML-KEM-768"
	case 15: // GNUTLS_PK_MLDSA44
		return "ML-DSA-44"
	case 16: // GNUTLS_PK_MLDSA65
		return "ML-DSA-65"
	case 17: // GNUTLS_PK_MLDSA87
		return "ML-DSA-87"
	case 18: // GNUTLS_PK_MLKEM1024
		return "ML-KEM-1024"
	}
	return ""
}

// sessionCurve returns the name of a gnutls_ecc_curve_t for ECDSA and ECDH, and the size of
// its keys in bits; "" and 0 if it has none.
func sessionCurve(number uint32) (name string, bits uint32) {
	switch number {
	case 1: // GNUTLS_ECC_CURVE_SECP224R1
		return "SECP224R1", 224
	case 2: // GNUTLS_ECC_CURVE_SECP256R1
		return "SECP256R1", 256
	case 3: // GNUTLS_ECC_CURVE_SECP384R1
		return "SECP384R1", 384
	case 4: // GNUTLS_ECC_CURVE_SECP521R1
		return "SECP521R1", 521
	case 5: // GNUTLS_ECC_CURVE_SECP192R1
		return "SECP192R1", 192
	}
	return "", 0
}

// sessionDigest returns the digest of a gnutls_digest_algorithm_t, none for a number that has
// none.
func sessionDigest(number uint32) digest {
	switch number {
	case 2: // GNUTLS_DIG_MD5
		return digest{"MD5", 16}
	case 3: // GNUTLS_DIG_SHA1
		return digest{"SHA1", 20}
	case 4: // GNUTLS_DIG_RMD160
		return digest{"RIPEMD160", 20}
	case 5: // GNUTLS_DIG_MD2
		return digest{"MD2", 16}
	case 6: // GNUTLS_DIG_SHA256
		return digest{"SHA256", 32}
	case 7: // GNUTLS_DIG_SHA384
		return digest{"SHA384", 48}
	case 8: // GNUTLS_DIG_SHA512
		return digest{"SHA512", 64}
	case 9: // GNUTLS_DIG_SHA224
		return digest{"SHA224", 28}
	case 10: // GNUTLS_DIG_SHA3_224
		return digest{"SHA3-224", 28}
	case 11: // GNUTLS_DIG_SHA3_256
		return digest{"SHA3-256", 32}
	case 12: // GNUTLS_DIG_SHA3_384
		return digest{"SHA3-384", 48}
	case 13: // GNUTLS_DIG_SHA3_512
		return digest{"SHA3-512", 64}
	}
	return digest{}
}

// signatureDigest returns the digest of a gnutls_sign_algorithm_t, none for a number that has
// none.
func signatureDigest(number uint32) digest {
	switch number {
	case 1, 2, 12: // RSA, DSA, ECDSA
		return sessionDigest(3)
	case 3: // GNUTLS_SIGN_RSA_MD5
		return sessionDigest(2)
	case 4: // GNUTLS_SIGN_RSA_MD2
		return sessionDigest(5)
	case 5: // GNUTLS_SIGN_RSA_RMD160
		return sessionDigest(4)
	case 9, 10, 13: // RSA, DSA, ECDSA
		return sessionDigest(9)
	case 6, 11, 14, 32, 37, 40: // RSA, DSA, ECDSA, RSA-PSS, secp256r1, RSA-PSS
		return sessionDigest(6)
	case 7, 15, 17, 33, 38, 41: // RSA, ECDSA, DSA, RSA-PSS, secp384r1, RSA-PSS
		return sessionDigest(7)
	case 8, 16, 18, 34, 39, 42: // RSA, ECDSA, DSA, RSA-PSS, secp521r1, RSA-PSS
		return sessionDigest(8)
	case 20, 24, 28: // ECDSA, DSA, RSA
		return sessionDigest(10)
	case 21, 25, 29:
		return sessionDigest(11)
	case 22, 26, 30:
		return sessionDigest(12)
	case 23, 27, 31:
		return sessionDigest(13)
	}
	return digest{}
}
