// SPDX-License-Identifier: Apache-2.0

// Package decoder reads the layouts of libraries from ELF files: see package layout.
//
// It maps and runs no code. A symbolic interpreter executes the library's own accessor
// functions, such as SSL_version. A value is accepted only if two functions agree on its
// location, or if one function leads to it and a wrong value would be detected. Anything
// else is refused with the reason. The package is pure: it reads the file it is given and
// never accesses the kernel.
//
// Files may be hostile. Parsing takes bounded time and memory, and a wrong result only
// affects the processes that use the file.
package decoder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"crypto-auditing/src/internal/elffile"
	"crypto-auditing/src/internal/layout"
	"crypto-auditing/src/internal/layout/image"
	"crypto-auditing/src/internal/layout/known"
	"crypto-auditing/src/internal/layout/symbolic"
)

// UnsupportedError reports a library that is known but not recorded. It wraps ErrNoLibrary.
type UnsupportedError = known.UnsupportedError

// ErrNoLibrary is returned for a file that contains none of the known libraries, or lacks
// the symbols to identify one.
var ErrNoLibrary = errors.New("not a library of a known family: it exports none of SSL_new, EVP_PKEY_new, gnutls_handshake")

// Open decodes the library in the file at path. The error names the file; if the file's
// content is the reason, it wraps ErrNoLibrary, an *UnsupportedError, elffile.ErrNotELF, an
// *elffile.FormatError or an *elffile.UnsupportedError.
func Open(path string) (*layout.Library, error) {
	f, size, err := elffile.Open(path)
	if err == nil {
		defer f.Close()
		var lib *layout.Library
		if lib, err = Parse(f, size); err == nil {
			return lib, nil
		}
	}
	// Errors of package os repeat the path.
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return nil, fmt.Errorf("cannot decode the library %s: %w", path, err)
}

// Parse decodes the library in the ELF file of size bytes in r. A library without usable
// parts is not an error: its Refusals have the reasons. The errors are those of Open,
// without the file's name.
func Parse(r io.ReaderAt, size int64) (*layout.Library, error) {
	m, err := image.Open(r, size, wanted())
	if err != nil {
		return nil, err
	}
	d := &decoder{image: m, interpreter: symbolic.New(m), fields: map[string]*field{}, lib: &layout.Library{
		Machine: m.Machine, BuildID: m.BuildID, Segments: m.Segments,
	}}
	d.lib.Text.Start, d.lib.Text.End = m.TextRange()
	_, ssl := m.Function("SSL_new")
	_, crypto := m.Function("EVP_PKEY_new")
	_, gnutls := m.Function("gnutls_handshake")
	switch {
	case ssl || crypto:
		d.lib.Family, d.lib.Static = layout.OpenSSL, ssl && crypto
	case gnutls:
		d.lib.Family = layout.GnuTLS
	default:
		if refused := known.Identify(m, ErrNoLibrary); refused != nil {
			return nil, refused
		}
		return nil, ErrNoLibrary
	}
	if ssl {
		d.handshakes()
	}
	if crypto {
		d.publicKeys()
	}
	if d.lib.Family == layout.GnuTLS {
		d.gnutls()
	}
	slices.SortFunc(d.lib.Sites, func(a, b layout.Site) int {
		switch {
		case a.Addr < b.Addr:
			return -1
		case a.Addr > b.Addr:
			return 1
		}
		return int(a.Role) - int(b.Role)
	})
	return d.lib, nil
}
