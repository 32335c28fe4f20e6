// SPDX-License-Identifier: Apache-2.0

package tls

import "crypto-auditing/src/internal/wire/octet"

// Certificate describes the key in the certificate of a side and the signature on it,
// with the values of the registry's pk:: keys.
type Certificate struct {
	// Algorithm is the algorithm of the key, "" if unknown.
	Algorithm string
	// Curve is the curve of an elliptic-curve key.
	Curve string
	// Bits is the size of an RSA or DSA key.
	Bits int
	// Hash is the hash algorithm of the signature on the certificate.
	Hash string
}

// firstCertificate parses the first certificate of a certificate message (RFC 5246,
// section 7.4.2), which may be truncated after the key.
func firstCertificate(m []byte) Certificate {
	r := octet.From(m)
	r.Uint24() // length of the list
	n := r.Uint24()
	if n > r.Len() {
		n = r.Len()
	}
	c, _ := walk(r.Bytes(n))
	return c
}

// ASN.1 tags (X.690).
const (
	tagInteger    = 0x02
	tagBitString  = 0x03
	tagOID        = 0x06
	tagSequence   = 0x30
	tagContext0   = 0xa0
	lengthIsLong  = 0x80
	maxLengthSize = 3
)

// walk walks through a certificate (RFC 5280, section 4.1) up to its key. It reads only
// the header of each element on the way, so that it needs a tenth of the time of
// x509.ParseCertificate and accepts a certificate that is truncated after the key.
func walk(b []byte) (Certificate, bool) {
	certificate, _ := element(&b, tagSequence)
	fields, _ := element(&certificate, tagSequence)
	if len(fields) > 0 && fields[0] == tagContext0 { // version
		element(&fields, tagContext0)
	}
	if _, ok := element(&fields, tagInteger); !ok { // serial number
		return Certificate{}, false
	}
	signature, _ := element(&fields, tagSequence)
	element(&fields, tagSequence) // issuer
	element(&fields, tagSequence) // validity
	element(&fields, tagSequence) // subject
	info, ok := element(&fields, tagSequence)
	if !ok {
		return Certificate{}, false
	}
	c, ok := publicKey(info)
	if ok {
		c.Hash = signatureHash(signature)
	}
	return c, ok
}

// element takes the element at the front of b, which must have the tag, and returns its
// contents. If b ends early, it returns the available contents and false, and empties
// b.
func element(b *[]byte, tag byte) (contents []byte, ok bool) {
	in := *b
	*b = nil
	if len(in) < 2 || in[0] != tag {
		return nil, false
	}
	n := int(in[1])
	in = in[2:]
	if n >= lengthIsLong {
		size := n - lengthIsLong
		if size == 0 || size > maxLengthSize || size > len(in) {
			return nil, false
		}
		n = 0
		for _, x := range in[:size] {
			n = n<<8 | int(x)
		}
		in = in[size:]
	}
	if n > len(in) {
		return in, false
	}
	*b = in[n:]
	return in[:n], true
}

// publicKey parses a SubjectPublicKeyInfo.
func publicKey(info []byte) (Certificate, bool) {
	algorithm, ok := element(&info, tagSequence)
	if !ok {
		return Certificate{}, false
	}
	oid, ok := element(&algorithm, tagOID)
	if !ok {
		return Certificate{}, false
	}
	c := Certificate{}
	switch string(oid) {
	case "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01", "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a":
		c.Algorithm = "RSA"
		if oid[len(oid)-1] == 0x0a {
			c.Algorithm = "RSA-PSS"
		}
		key, ok := element(&info, tagBitString)
		if !ok || len(key) == 0 {
			return Certificate{}, false
		}
		key = key[1:] // unused bits
		numbers, _ := element(&key, tagSequence)
		modulus, ok := element(&numbers, tagInteger)
		c.Bits = octet.BitLength(modulus)
		return c, ok
	case "\x2a\x86\x48\xce\x3d\x02\x01":
		c.Algorithm = "EC/ECDSA"
		curve, _ := element(&algorithm, tagOID)
		c.Curve = curveName(curve)
	case "\x2a\x86\x48\xce\x38\x04\x01":
		c.Algorithm = "DSA"
		parameters, _ := element(&algorithm, tagSequence)
		prime, _ := element(&parameters, tagInteger)
		c.Bits = octet.BitLength(prime)
	case "\x2b\x65\x70":
		c.Algorithm = "EdDSA (Ed25519)"
	case "\x2b\x65\x71":
		c.Algorithm = "EdDSA (Ed448)"
	case "\x60\x86\x48\x01\x65\x03\x04\x03\x11":
		c.Algorithm = "ML-DSA-44"
	case "\x60\x86\x48\x01\x65\x03\x04\x03\x12":
		c.Algorithm = "ML-DSA-65"
	case "\x60\x86\x48\x01\x65\x03\x04\x03\x13":
		c.Algorithm = "ML-DSA-87"
	default:
		return Certificate{}, false
	}
	return c, true
}

// curveName returns the name of a named curve (RFC 5480, RFC 5639).
func curveName(oid []byte) string {
	switch string(oid) {
	case "\x2a\x86\x48\xce\x3d\x03\x01\x01":
		return "SECP192R1"
	case "\x2b\x81\x04\x00\x21":
		return "SECP224R1"
	case "\x2a\x86\x48\xce\x3d\x03\x01\x07":
		return "SECP256R1"
	case "\x2b\x81\x04\x00\x22":
		return "SECP384R1"
	case "\x2b\x81\x04\x00\x23":
		return "SECP521R1"
	case "\x2b\x81\x04\x00\x0a":
		return "SECP256K1"
	case "\x2b\x24\x03\x03\x02\x08\x01\x01\x07":
		return "BRAINPOOLP256R1"
	case "\x2b\x24\x03\x03\x02\x08\x01\x01\x0b":
		return "BRAINPOOLP384R1"
	case "\x2b\x24\x03\x03\x02\x08\x01\x01\x0d":
		return "BRAINPOOLP512R1"
	}
	return ""
}

// signatureHash returns the hash of a signature algorithm, "" if it names none.
func signatureHash(algorithm []byte) string {
	oid, _ := element(&algorithm, tagOID)
	switch string(oid) {
	case "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04":
		return "MD5"
	case "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05", "\x2a\x86\x48\xce\x3d\x04\x01", "\x2a\x86\x48\xce\x38\x04\x03":
		return "SHA1"
	case "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0e", "\x2a\x86\x48\xce\x3d\x04\x03\x01", "\x60\x86\x48\x01\x65\x03\x04\x03\x01":
		return "SHA224"
	case "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b", "\x2a\x86\x48\xce\x3d\x04\x03\x02", "\x60\x86\x48\x01\x65\x03\x04\x03\x02":
		return "SHA256"
	case "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c", "\x2a\x86\x48\xce\x3d\x04\x03\x03":
		return "SHA384"
	case "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d", "\x2a\x86\x48\xce\x3d\x04\x03\x04":
		return "SHA512"
	case "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a":
		return pssHash(algorithm)
	}
	return ""
}

// pssHash returns the hash in the parameters of RSASSA-PSS (RFC 4055, section 3.1); the
// default is SHA-1.
func pssHash(parameters []byte) string {
	fields, ok := element(&parameters, tagSequence)
	if !ok {
		return ""
	}
	if len(fields) == 0 || fields[0] != tagContext0 {
		return "SHA1"
	}
	tagged, _ := element(&fields, tagContext0)
	hash, _ := element(&tagged, tagSequence)
	oid, _ := element(&hash, tagOID)
	switch string(oid) {
	case "\x2b\x0e\x03\x02\x1a":
		return "SHA1"
	case "\x60\x86\x48\x01\x65\x03\x04\x02\x04":
		return "SHA224"
	case "\x60\x86\x48\x01\x65\x03\x04\x02\x01":
		return "SHA256"
	case "\x60\x86\x48\x01\x65\x03\x04\x02\x02":
		return "SHA384"
	case "\x60\x86\x48\x01\x65\x03\x04\x02\x03":
		return "SHA512"
	}
	return ""
}
