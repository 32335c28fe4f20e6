// SPDX-License-Identifier: Apache-2.0

// Package fact derives the subjects of rules from a use: how keys were established, whether that
// resists quantum computers, which hash a signature has. Facts do not depend on time or policy; rules
// decide whether they are allowed.
package fact

import (
	"strconv"
	"strings"

	"crypto-auditing/src/internal/inventory/row"
)

// Fact has the known values of an attribute of a use.
type Fact struct {
	// Values are the known values. A use may have several: its own and the peer's signature, or the
	// ciphers of both directions.
	Values []string
	// Complete reports whether Values has all values: some of an incomplete fact were not recorded.
	Complete bool
}

// Facts are the facts of a use by attribute, without attributes that the use cannot have.
type Facts map[Attribute]Fact

// Attribute is the name of an attribute, as rules write it.
type Attribute string

// Attributes of uses.
const (
	// Operation, Within, Role, Version, Suite, Group, Kex and Signature are the fields of row.Use;
	// Signature has the signatures of both sides.
	Operation Attribute = "operation"
	Within    Attribute = "within"
	Role      Attribute = "role"
	Version   Attribute = "version"
	Suite     Attribute = "suite"
	Group     Attribute = "group"
	Kex       Attribute = "kex"
	Signature Attribute = "signature"

	// Establishment is how keys are established: RSA (key transport), DH and ECDH (static), DHE,
	// ECDHE, hybrid, KEM, PSK, RSA-PSK, DHE-PSK, ECDHE-PSK, KRB5, SRP, …
	Establishment Attribute = "establishment"
	// Quantum is safe or vulnerable: whether the established keys resist quantum computers.
	Quantum Attribute = "quantum"
	// KEM is the key encapsulation mechanism: ML-KEM-768, sntrup761, …
	KEM Attribute = "kem"
	// DHBits and ECDHBits are the sizes of groups of the key exchange, KexHash the hash of an SSH
	// key exchange.
	DHBits   Attribute = "dh_bits"
	ECDHBits Attribute = "ecdh_bits"
	KexHash  Attribute = "kex_hash"

	// Authentication has the algorithms of signatures and of keys that authenticate: RSA, DSA, ECDSA,
	// Ed25519, ML-DSA-65, …
	Authentication Attribute = "authentication"
	// AuthenticationQuantum is safe or vulnerable.
	AuthenticationQuantum Attribute = "authentication_quantum"
	// SignatureHash and SignaturePadding (PKCS1, PSS) are of signatures, RSABits, DSABits and
	// ECBits sizes of keys that sign, verify or transport keys.
	SignatureHash    Attribute = "signature_hash"
	SignaturePadding Attribute = "signature_padding"
	RSABits          Attribute = "rsa_bits"
	DSABits          Attribute = "dsa_bits"
	ECBits           Attribute = "ec_bits"

	// Cipher is a cipher with key size and mode (AES-256-GCM), CipherAlgorithm only the cipher,
	// CipherBits its key size; MAC is the hash of a MAC, SuiteHash the hash of a TLS cipher suite.
	Cipher          Attribute = "cipher"
	CipherAlgorithm Attribute = "cipher_algorithm"
	CipherBits      Attribute = "cipher_bits"
	MAC             Attribute = "mac"
	SuiteHash       Attribute = "suite_hash"

	// Purpose is stated or missing: whether the administrator has stated the purpose of the program.
	Purpose Attribute = "purpose"
)

// Attributes returns all attributes.
func Attributes() []Attribute {
	return []Attribute{
		Operation, Within, Role, Version, Suite, Group, Kex, Signature, Establishment, Quantum, KEM, DHBits, ECDHBits, KexHash,
		Authentication, AuthenticationQuantum, SignatureHash, SignaturePadding, RSABits, DSABits, ECBits,
		Cipher, CipherAlgorithm, CipherBits, MAC, SuiteHash, Purpose,
	}
}

// Values of Quantum and AuthenticationQuantum.
const (
	Safe       = "safe"
	Vulnerable = "vulnerable"
)

// Of returns the facts of a use.
func Of(u *row.Use) Facts {
	f := Facts{}
	f.always(Operation, u.Operation)
	f.always(Within, u.Within)
	switch u.Operation {
	case row.TLSHandshake:
		f.set(Role, u.Role)
		tls(f, u)
	case row.SSHHandshake:
		f.set(Role, u.Role)
		ssh(f, u)
	default:
		publicKey(f, u)
	}
	return f
}

// always sets an attribute that is known, even if it is empty.
func (f Facts) always(a Attribute, value string) {
	if value == "" {
		f[a] = Fact{Complete: true}
		return
	}
	f[a] = Fact{[]string{value}, true}
}

// set sets an attribute with one value, which is unknown if empty.
func (f Facts) set(a Attribute, value string) {
	if value == "" {
		f[a] = Fact{}
		return
	}
	f[a] = Fact{[]string{value}, true}
}

// none sets attributes that the use is known not to have.
func (f Facts) none(attributes ...Attribute) {
	for _, a := range attributes {
		f[a] = Fact{Complete: true}
	}
}

// unknown sets attributes without known values.
func (f Facts) unknown(attributes ...Attribute) {
	for _, a := range attributes {
		f[a] = Fact{}
	}
}

// add adds a value to an attribute, unless it is empty.
func (f Facts) add(a Attribute, value string) {
	fact := f[a]
	if value != "" {
		fact.Values = append(fact.Values, value)
	}
	f[a] = fact
}

// complete sets Complete of attributes.
func (f Facts) complete(complete bool, attributes ...Attribute) {
	for _, a := range attributes {
		fact := f[a]
		fact.Complete = complete
		f[a] = fact
	}
}

// bits sets the size of a key, unknown if it is 0.
func (f Facts) bits(a Attribute, bits int) {
	if bits == 0 {
		f[a] = Fact{}
		return
	}
	f[a] = Fact{[]string{strconv.Itoa(bits)}, true}
}

// settle derives AuthenticationQuantum from Authentication: a single vulnerable signature makes it
// vulnerable.
func (f Facts) settle() {
	authentication := f[Authentication]
	quantum := Fact{Complete: authentication.Complete}
	for _, algorithm := range authentication.Values {
		switch {
		case isPostQuantumSignature(algorithm):
			if quantum.Values == nil {
				quantum.Values = []string{Safe}
			}
		case isClassicalSignature(algorithm):
			f[AuthenticationQuantum] = Fact{[]string{Vulnerable}, true}
			return
		default:
			quantum.Complete = false
		}
	}
	if !quantum.Complete {
		quantum.Values = nil
	}
	f[AuthenticationQuantum] = quantum
}

func isPostQuantumSignature(algorithm string) bool {
	for _, prefix := range []string{"ML-DSA-", "SLH-DSA-", "LMS", "HSS", "XMSS"} {
		if strings.HasPrefix(algorithm, prefix) {
			return true
		}
	}
	return false
}

func isClassicalSignature(algorithm string) bool {
	switch algorithm {
	case "RSA", "DSA", "ECDSA", "EC", "Ed25519", "Ed448", "SM2", "GOST":
		return true
	}
	return false
}

// group is a group of a key exchange.
type group struct {
	establishment string // DHE, ECDHE, hybrid, KEM
	bits          int    // of the classical part, 0 if unknown or none
	kem           string
}

// groupOf returns the group with an IANA name of TLS.
func groupOf(name string) (g group, ok bool) {
	lower := strings.ToLower(name)
	if classical, size, found := strings.Cut(lower, "mlkem"); found {
		return combined(classical, "ML-KEM-"+size), true
	}
	if classical, size, found := strings.Cut(lower, "kyber"); found {
		return combined(classical, "Kyber"+strings.TrimSuffix(size, "draft00")), true
	}
	if size, found := strings.CutPrefix(lower, "ffdhe"); found {
		bits, err := strconv.Atoi(size)
		return group{establishment: "DHE", bits: bits}, err == nil
	}
	bits := curveBits(lower)
	return group{establishment: "ECDHE", bits: bits}, bits > 0
}

func combined(classical, kem string) group {
	if classical == "" {
		return group{establishment: "KEM", kem: kem}
	}
	return group{establishment: "hybrid", bits: curveBits(classical), kem: kem}
}

// curveBits returns the size of an elliptic curve by its name, 0 if it is unknown. X25519 and
// Ed25519 have 255 bits, but the strength of 256.
func curveBits(name string) int {
	name = strings.ToLower(name)
	switch name {
	case "x25519", "ed25519", "curve25519", "curvesm2", "sm2":
		return 256
	case "x448", "ed448":
		return 448
	}
	for _, family := range []string{"secp", "sect", "brainpoolp", "gc", "nistp", "nistk", "nistb", "prime", "p-"} {
		digits, ok := strings.CutPrefix(name, family)
		if !ok {
			continue
		}
		end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' })
		if end >= 0 {
			digits = digits[:end]
		}
		bits, err := strconv.Atoi(digits)
		if err != nil {
			return 0
		}
		return bits
	}
	return 0
}
