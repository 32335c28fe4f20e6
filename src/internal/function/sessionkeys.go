// SPDX-License-Identifier: Apache-2.0

package function

import (
	"bytes"
	"fmt"
	"slices"

	"crypto-auditing/src/internal/layout"
	"crypto-auditing/src/internal/wire"
)

// Numbers of gnutls_pk_algorithm_t that have values of their own.
const (
	keyRSA    = 1
	keyDSA    = 2
	keyEC     = 4
	keyRSAPSS = 6
)

// sessionOperation returns an operation of GnuTLS with a key, whose numbers are those of its
// enumerations (gnutls/gnutls.h); nil for one that cannot succeed.
//
// A number outside of its enumeration is impossible, except for the generation of a key, which
// programs may request with any number. Later versions have more numbers: unknown ones are not
// recorded.
func (r *registered) sessionOperation(c *Call) (*Operation, string) {
	name := c.Operation.String()
	if name == "" {
		return nil, fmt.Sprintf("an operation has the number %d", c.Operation)
	}
	if c.Algorithm == 0 || c.Algorithm > lastSession {
		if c.Operation == layout.Generate {
			return nil, ""
		}
		return nil, fmt.Sprintf("the algorithm of a key is %#x", c.Algorithm)
	}
	o := &Operation{
		Task: c.Task, Start: c.Time, End: c.Time, Executable: c.Executable, Unit: c.Unit, BuildID: slices.Clone(c.BuildID),
		Root: wire.Context{Name: "pk::" + name},
	}
	root := &o.Root
	text(root, "pk::algorithm", sessionAlgorithm(c.Algorithm))
	size := uint32(0)
	switch c.Algorithm {
	case keyEC:
		number, known := c.Value(layout.ParametersCurve)
		if c.Operation == layout.Generate {
			number = c.SetBits
		} else if known && number > lastSession {
			return nil, fmt.Sprintf("the curve of a key is %#x", number)
		}
		var curve string
		curve, size = sessionCurve(number)
		text(root, "pk::curve", curve)
	case keyRSA, keyRSAPSS:
		size = sessionBits(c)
	case keyDSA:
		if c.Operation == layout.Generate {
			size = c.SetBits
		}
	}
	if size > 0 && size <= maxBits {
		word(root, "pk::bits", int64(size))
	}
	if c.Operation == layout.Sign || c.Operation == layout.Verify {
		hash, problem := sessionHash(c)
		if problem != "" {
			return nil, problem
		}
		text(root, "pk::hash", hash)
	}
	return o, ""
}

// sessionBits returns the size of an RSA key in bits, 0 if unknown.
func sessionBits(c *Call) uint32 {
	if c.Operation == layout.Generate {
		return c.SetBits
	}
	if words, ok := c.Value(layout.ParametersModulusWords); ok && words <= maxBits/64 {
		return words * 64
	}
	return 0
}

// sessionHash returns the name of the digest of a signature, "" if it has none or it is not
// known. It is not known if the data does not have the length of the digest: programs may
// sign data of any length.
func sessionHash(c *Call) (hash, problem string) {
	var requested digest
	if number, ok := c.Value(layout.SignatureNumber); ok {
		if number > lastSession {
			return "", fmt.Sprintf("the algorithm of a signature is %#x", number)
		}
		requested = signatureDigest(number)
	}
	var found digest
	switch c.Algorithm {
	case keyRSA:
		found = digestInfo(c.Data, c.Input)
	case keyRSAPSS:
		number, _ := c.Value(layout.PSSDigest)
		if number > lastSession {
			return "", fmt.Sprintf("the digest of a signature is %#x", number)
		}
		found = sessionDigest(number)
	case keyDSA, keyEC:
		found = requested
		if number, ok := c.Value(layout.DSADigest); ok && c.Operation == layout.Sign {
			if number > lastSession {
				return "", fmt.Sprintf("the digest of a signature is %#x", number)
			}
			found = sessionDigest(number)
		}
	default:
		// The signature has no separate digest, or its algorithm names it.
		return "", ""
	}
	if c.Algorithm != keyRSA && found.size != c.Input {
		return "", ""
	}
	if requested.name != "" && found.name != "" && requested.name != found.name {
		return "", fmt.Sprintf("a signature with %s has the digest %s", requested.name, found.name)
	}
	return found.name, ""
}

// digest is a digest with its size in bytes; the zero value is an unknown one.
type digest struct {
	name string
	size uint32
}

// digestInfo returns the digest of data to sign that is a DigestInfo (RFC 8017, section 9.2),
// by its first bytes and its length. GnuTLS encodes them all in the same way.
func digestInfo(first []byte, length uint32) digest {
	for _, known := range []struct {
		digest digest
		first  string
	}{
		{digest{"MD2", 16}, "\x30\x20\x30\x0c\x06\x08\x2a\x86\x48\x86\xf7\x0d\x02\x02\x05\x00\x04\x10"},
		{digest{"MD5", 16}, "\x30\x20\x30\x0c\x06\x08\x2a\x86\x48\x86\xf7\x0d\x02\x05\x05\x00\x04\x10"},
		{digest{"SHA1", 20}, "\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14"},
		{digest{"RIPEMD160", 20}, "\x30\x21\x30\x09\x06\x05\x2b\x24\x03\x02\x01\x05\x00\x04\x14"},
		{digest{"SHA224", 28}, "\x30\x2d\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x04\x05\x00\x04\x1c"},
		{digest{"SHA256", 32}, "\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"},
		{digest{"SHA384", 48}, "\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30"},
		{digest{"SHA512", 64}, "\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40"},
		{digest{"SHA3-224", 28}, "\x30\x2d\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x07\x05\x00\x04\x1c"},
		{digest{"SHA3-256", 32}, "\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x08\x05\x00\x04\x20"},
		{digest{"SHA3-384", 48}, "\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x09\x05\x00\x04\x30"},
		{digest{"SHA3-512", 64}, "\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x0a\x05\x00\x04\x40"},
	} {
		if length == uint32(len(known.first))+known.digest.size && bytes.HasPrefix(first, []byte(known.first)) {
			return known.digest
		}
	}
	return digest{}
}
