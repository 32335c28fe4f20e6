// SPDX-License-Identifier: Apache-2.0

// Package known identifies cryptographic libraries that the function source does not
// support: the values that it would read cannot be decoded with certainty.
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

// Reason returns the consequence for users.
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

// Functions returns the names of the functions by which Identify recognises libraries. Pass
// them to image.Open as wanted names.
func Functions() []string { return slices.Collect(maps.Keys(libraries())) }

// Sections of Go programs. The table has the names of all functions, even if the program is
// stripped. Its section has another name in position-independent programs.
const (
	goBuildInfo = ".go.buildinfo"
	goTable     = ".gopclntab"
	goTablePIE  = ".data.rel.ro.gopclntab"
)

// goHandshake is a function of every Go program with TLS.
const goHandshake = "crypto/tls.(*Conn).clientHandshake"

// Identify returns the error for a known library, which wraps err; nil for any other file.
func Identify(m *image.Image, err error) *UnsupportedError {
	all := libraries()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if _, ok := m.Function(name); ok {
			e := all[name]
			e.Err = err
			return &e
		}
	}
	if m.HasSection(goBuildInfo) && (m.Contains(goTable, goHandshake) || m.Contains(goTablePIE, goHandshake)) {
		return &UnsupportedError{Library: "crypto/tls of Go", Sockets: true, Err: err}
	}
	return nil
}
