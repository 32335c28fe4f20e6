// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"crypto-auditing/src/internal/layout"
)

// source is the directory of a prepared OpenSSL source.
type source string

// prepare fetches the source of a suite.
func prepare(t *testing.T, suite string) source {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("../../../../build/packages", suite+"-source"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("../../../../tests/sources.sh", dir, suite).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 77 {
		t.Skip(strings.TrimSpace(string(out)))
	}
	if err != nil {
		t.Fatalf("cannot prepare the source: %v\n%s", err, out)
	}
	return source(filepath.Join(dir, "source"))
}

// in runs a command in the source directory.
func (s source) in(t *testing.T, script string, args ...string) string {
	t.Helper()
	command := exec.Command("sh", append([]string{"-eu", "-c", script, "sh"}, args...)...)
	command.Dir = string(s)
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// offsets returns the loads that lead to each value, by its name, according to the
// compiler.
func (s source) offsets(t *testing.T) map[string]string {
	t.Helper()
	program, err := filepath.Abs("testdata/offsets.c")
	if err != nil {
		t.Fatal(err)
	}
	out := s.in(t, `gcc -w -I. -Iinclude -Icrypto/evp -o offsets "$1" && ./offsets`, program)
	want := map[string]string{}
	for line := range strings.Lines(out) {
		name, loads, _ := strings.Cut(strings.TrimSpace(line), " ")
		want[name] = loads
	}
	if len(want) < 15 {
		t.Fatalf("the program printed\n%s", out)
	}
	return want
}

// libssl builds libssl with a compiler and its options. Only its exported
// functions have symbols, as in packages.
func (s source) libssl(t *testing.T, name, compiler string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), name+".so")
	s.in(t, `mkdir -p "$1.o"
for file in ssl/*.c ssl/record/*.c ssl/statem/*.c; do
	case $file in *ktls*) continue ;; esac
	echo "$file"
done | xargs -P 2 -I{} sh -c 'exec $0 -fPIC -w -DNDEBUG -DOPENSSL_PIC -I. -Iinclude -c "$2" -o "$1.o/$(echo "$2" | tr / _).o"' "$2" "$1" {}
map=libssl.ld
[ -e "$map" ] || map=libssl.map
$2 -shared -Wl,-soname,libssl.so -Wl,--version-script="$map" -Wl,--build-id "$1".o/*.o -o "$1"
strip "$1"`, out, compiler)
	return out
}

// compareOffsets checks that no value of the library differs from the compiler's.
func compareOffsets(t *testing.T, lib *layout.Library, want map[string]string) {
	t.Helper()
	for _, v := range lib.Values {
		loads, ok := want[v.ID.String()]
		if got := strings.Trim(fmt.Sprint(v.Chain.Offsets), "[]"); !ok || got != loads {
			t.Errorf("%s is %q (%s), the compiler has %q", v.ID, got, v.Evidence, loads)
		}
	}
}

func TestLayoutsMatchTheCompiler(t *testing.T) {
	if !*everything {
		t.Skip("builds OpenSSL in many ways: needs -everything")
	}
	for suite, version := range map[string]string{"bookworm": "3.0", "bullseye": "1.1.1"} {
		t.Run(version, func(t *testing.T) {
			s := prepare(t, suite)
			want := s.offsets(t)
			t.Run("package", func(t *testing.T) {
				for _, path := range packages(t, suite, "amd64") {
					lib, err := Open(path)
					if err != nil {
						t.Fatal(err)
					}
					if lib.Family == layout.OpenSSL {
						compareOffsets(t, lib, want)
					}
				}
			})
			for name, compiler := range map[string]string{
				"gcc-Os": "gcc -Os", "gcc-O3": "gcc -O3", "gcc-O2-lto": "gcc -O2 -flto", "gcc-O2-cet": "gcc -O2 -fcf-protection -fstack-protector-strong",
				"clang-O2": "clang -O2", "clang-Os": "clang -Os",
			} {
				t.Run(name, func(t *testing.T) {
					program, _, _ := strings.Cut(compiler, " ")
					if _, err := exec.LookPath(program); err != nil {
						t.Skipf("this machine has no %s", program)
					}
					path := s.libssl(t, name, compiler)
					lib, err := Open(path)
					if err != nil {
						t.Fatal(err)
					}
					compareOffsets(t, lib, want)
					checkSites(t, path, lib)
					t.Logf("%d values, refused: %v", len(lib.Values), lib.Refusals)
					if !lib.Handshakes {
						t.Errorf("the handshake layer is refused: %v", lib.Refusals)
					}
				})
			}
		})
	}
}
