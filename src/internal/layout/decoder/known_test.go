// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Known but unsupported libraries are refused by name and never taken for another one.
// libssl3.so is NSS, libssl.so.3 is OpenSSL.
func TestUnsupportedLibrariesAreRefusedByName(t *testing.T) {
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	for pattern, want := range map[string]string{
		"/usr/lib*/*/libssl3.so":                      "NSS",
		"/usr/lib*/*/libnss3.so":                      "NSS",
		"/usr/lib*/*/libsoftokn3.so":                  "NSS",
		"/usr/lib*/*/libfreebl*3.so":                  "NSS",
		"/usr/lib*/*/libgcrypt.so.20":                 "libgcrypt",
		"/usr/lib*/*/libmbedtls.so.*":                 "Mbed TLS",
		"/usr/lib*/*/libmbedcrypto.so.*":              "Mbed TLS",
		"/usr/lib*/*/libwolfssl.so.*":                 "wolfSSL",
		strings.TrimSpace(string(goroot)) + "/bin/go": "crypto/tls of Go",
	} {
		t.Run(filepath.Base(pattern), func(t *testing.T) {
			files, _ := filepath.Glob(pattern)
			// Fedora has no directories by architecture.
			more, _ := filepath.Glob(strings.Replace(pattern, "/usr/lib*/*/", "/usr/lib*/", 1))
			if files = append(files, more...); len(files) == 0 && os.Geteuid() == 0 {
				t.Fatalf("this machine has no %s: run make setup", pattern)
			}
			if len(files) == 0 {
				t.Skipf("this machine has no %s", pattern)
			}
			for _, file := range files {
				_, err := Open(file)
				var refused *UnsupportedError
				if !errors.As(err, &refused) || refused.Library != want || !errors.Is(err, ErrNoLibrary) {
					t.Errorf("%s: got error %v, want that %s is not supported", file, err, want)
				}
			}
		})
	}
}

func TestOtherFilesAreNotListedAsUnsupported(t *testing.T) {
	// A Go program without crypto/tls.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{self, "/bin/sh"} {
		_, err := Open(file)
		var refused *UnsupportedError
		if !errors.Is(err, ErrNoLibrary) || errors.As(err, &refused) {
			t.Errorf("%s: got error %v, want only ErrNoLibrary", file, err)
		}
	}
}
