// SPDX-License-Identifier: Apache-2.0

// Package known identifies cryptographic libraries that are not recorded by their functions:
// what would have to be read of them cannot be decoded with certainty.
package known

import (
	"maps"
	"slices"

	"crypto-auditing/src/internal/layout/image"
)

// UnsupportedError reports such a library.
type UnsupportedError struct {
	// Library is the usual name of the library.
	Library string
	// Sockets reports that sockets show the handshakes of the library.
	Sockets bool
	// Err is the error that it wraps.
	Err error
}

// Reason returns what that means for the library.
func (e *UnsupportedError) Reason() string {
	if e.Sockets {
		return "not supported: only sockets show its handshakes"
	}
	return "not supported: its operations are not recorded"
}

func (e *UnsupportedError) Error() string { return e.Library + " is " + e.Reason() }

func (e *UnsupportedError) Unwrap() error { return e.Err }

// libraries lists the libraries by a function of each of their files.
func libraries() map[string]UnsupportedError {
	nss, mbed := UnsupportedError{Library: "NSS", Sockets: true}, UnsupportedError{Library: "Mbed TLS", Sockets: true}
	return map[string]UnsupportedError{
		"SSL_ImportFD": nss, "PK11_SignWithMechanism": nss, "NSC_GetFunctionList": nss, "FREEBL_GetVector": nss,
		"gcry_pk_sign":          {Library: "libgcrypt"},
		"mbedtls_ssl_handshake": mbed, "mbedtls_pk_sign": mbed,
		"wolfSSL_new": {Library: "wolfSSL", Sockets: true},
	}
}

// Functions returns the names of the functions by which Identify knows libraries. The image
// must have been opened with them.
func Functions() []string { return slices.Collect(maps.Keys(libraries())) }

// Go programs have the names of their functions in a table of their own, whatever they are
// stripped of. The second place is that of position-independent programs.
const (
	goMark      = ".go.buildinfo"
	goHandshake = "crypto/tls.(*Conn).clientHandshake"
	goTable     = ".gopclntab"
	goTablePIE  = ".data.rel.ro.gopclntab"
)

// Identify returns the error for a known library, which wraps err; nil for any other file.
func Identify(m *image.Image, err error) *UnsupportedError {
	for name, e := range libraries() {
		if _, ok := m.Function(name); ok {
			e.Err = err
			return &e
		}
	}
	if m.HasSection(goMark) && (m.Contains(goTable, goHandshake) || m.Contains(goTablePIE, goHandshake)) {
		return &UnsupportedError{Library: "crypto/tls of Go", Sockets: true, Err: err}
	}
	return nil
}
