// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"encoding/binary"
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"crypto-auditing/src/internal/layout"
)

// everything includes the packages that take long to fetch, for "make soak".
var everything = flag.Bool("everything", false, "also decode the packages of other suites than this machine's")

// packages unpacks the packages of a suite and returns the libraries in them.
func packages(t *testing.T, suite, architecture string) []string {
	t.Helper()
	dir := filepath.Join("../../../../build/packages", suite+"-"+architecture)
	out, err := exec.Command("../../../../tests/packages.sh", dir, suite, architecture,
		"libssl1.1", "libssl3", "libssl3t64", "libssl4", "libgnutls30", "libgnutls30t64").CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 77 {
		t.Skip(strings.TrimSpace(string(out)))
	}
	if err != nil {
		t.Fatalf("cannot unpack packages: %v\n%s", err, out)
	}
	var libraries []string
	err = filepath.WalkDir(filepath.Join(dir, "root"), func(path string, d fs.DirEntry, err error) error {
		base := filepath.Base(path)
		if err == nil && d.Type().IsRegular() && slices.ContainsFunc([]string{"libssl.so.", "libcrypto.so.", "libgnutls.so."},
			func(prefix string) bool { return strings.HasPrefix(base, prefix) }) {
			libraries = append(libraries, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return libraries
}

// The golden files of OpenSSL 1.1.1 and 3.0 are compared with the compiler's
// structures by TestLayoutsMatchTheCompiler.
func TestLibrariesOfPackagesHaveTheKnownLayouts(t *testing.T) {
	// The other tests decode the libraries of this machine.
	suites, architectures := []string{"bookworm"}, []string{"arm64"}
	if *everything {
		suites = []string{"bullseye", "bookworm", "trixie", "sid", "experimental"}
		architectures = []string{"amd64", "arm64"}
	}
	for _, suite := range suites {
		for _, architecture := range architectures {
			t.Run(suite+"-"+architecture, func(t *testing.T) {
				libraries := packages(t, suite, architecture)
				if len(libraries) < 2 {
					t.Fatalf("the packages have %d libraries", len(libraries))
				}
				for _, path := range libraries {
					lib, err := Open(path)
					if err != nil {
						t.Error(err)
						continue
					}
					checkSites(t, path, lib)
					name, _, _ := strings.Cut(filepath.Base(path), ".so")
					compareGolden(t, strings.Join([]string{suite, architecture, name}, "-"), describe(lib))
				}
			})
		}
	}
}

// Instructions before real sites are replaced by ones that make a probe there harmful.
func TestASiteThatHarmsProgramsOnARM64IsRefused(t *testing.T) {
	libraries := packages(t, "bookworm", "arm64")
	const (
		exclusive, literal = 0x885ffc01, 0x58000049 // ldaxr w1, [x0]; ldr x9, .+8
		between, cannot    = "would be between an exclusive load and its store", "the kernel cannot execute the instruction"
	)
	for name, c := range map[string]struct {
		library, function string
		before            int64
		code              uint32
		want              string
		usable            bool
	}{
		"the end of a handshake":           {"libssl.so.3", "state_machine", 4, exclusive, between, false},
		"the end of a handshake of GnuTLS": {"libgnutls.so.30", "gnutls_handshake", 4, exclusive, between, true},
		"the end of a handshake, earlier":  {"libssl.so.3", "state_machine", 24, exclusive, between, false},
		"an operation":                     {"libcrypto.so.3", "EVP_PKEY_sign", 0, literal, cannot, true},
	} {
		t.Run(name, func(t *testing.T) {
			path := libraries[slices.IndexFunc(libraries, func(path string) bool { return strings.HasPrefix(filepath.Base(path), c.library) })]
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			image := openImage(t, b)
			for _, s := range parseChanged(t, b).Sites {
				if s.Function != c.function || c.before != 0 && s.Role != layout.HandshakeEnd {
					continue
				}
				at := int64(s.Offset) - c.before
				if c.before == 0 {
					offset, _ := image.Offset(s.Entry)
					at = int64(offset)
				}
				binary.LittleEndian.PutUint32(b[at:], c.code)
			}
			lib := parseChanged(t, b)
			if text := describe(lib); !strings.Contains(text, c.want) || lib.Handshakes || lib.PublicKey != c.usable {
				t.Errorf("handshakes %v, public-key operations %v, got\n%s", lib.Handshakes, lib.PublicKey, text)
			}
			for _, s := range lib.Sites {
				if s.Function == c.function && (s.Role == layout.HandshakeEnd || c.before == 0) {
					t.Errorf("%s still has the site %#x", s.Function, s.Addr)
				}
			}
		})
	}
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	golden := filepath.Join("testdata", name+".golden")
	if os.Getenv("UPDATE_GOLDEN") == "1" {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant (UPDATE_GOLDEN=1 rewrites it)\n%s", name, got, want)
	}
}
