// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Each language uses other functions of the library for a signature. Each operation is recorded
// once, with its hash.
func TestSignaturesOfLanguagesAreRecordedByFunctions(t *testing.T) {
	_, key := (&keys{t.TempDir()}).pair(t, "rsa")
	const (
		php = `openssl_sign("x", $s, $k = file_get_contents($argv[1]), OPENSSL_ALGO_SHA1);
echo openssl_verify("x", $s, openssl_pkey_get_details(openssl_pkey_get_private($k))["key"], OPENSSL_ALGO_SHA1);`
		ruby = `k = OpenSSL::PKey.read(File.read(ARGV[0])); s = k.sign("SHA1", "x"); print k.verify("SHA1", s, "x") ? 1 : 0`
		perl = `open F, $ARGV[0]; $k = Crypt::OpenSSL::RSA->new_private_key(join "", <F>); $k->use_sha1_hash; print $k->verify("x", $k->sign("x"))`
	)
	cases := map[string]struct {
		program   string
		arguments []string
	}{
		"PHP":    {"php", []string{"-r", php, "--", key}},
		"Ruby":   {"ruby", []string{"-ropenssl", "-e", ruby, key}},
		"Perl":   {"perl", []string{"-MCrypt::OpenSSL::RSA", "-e", perl, key}},
		"Python": {"/usr/bin/python3", []string{"-c", pythonSigner, key}},
	}
	a := startAgent(t, "usdt", "function")
	n := 0
	for name, c := range cases {
		n++
		executable := fmt.Sprintf("wt-sign%d", n)
		t.Run(name, func(t *testing.T) {
			optional(t, c.program)
			path, err := filepath.EvalSymlinks(strings.TrimSpace(output(t, "", "sh", "-c", "command -v "+c.program)))
			if err != nil {
				t.Fatal(err)
			}
			program := renamed(t, path, executable)
			if out, err := exec.Command(program, c.arguments...).CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "1" {
				if name == "Perl" && !*everything && strings.Contains(string(out), "Can't locate") {
					t.Skip("the module Crypt::OpenSSL::RSA is not installed")
				}
				t.Fatalf("%v: %s printed %q", err, name, out)
			}
			a.waitForAll(t, executable, []string{"pk::sign algorithm=RSA bits=2048 hash=SHA1", "pk::verify algorithm=RSA bits=2048 hash=SHA1"})
		})
	}
	a.checkStillRecorded(t)
}

// pythonSigner signs and verifies with the module cryptography.
const pythonSigner = `
import sys
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
k = serialization.load_pem_private_key(open(sys.argv[1], "rb").read(), None)
s = k.sign(b"x", padding.PKCS1v15(), hashes.SHA1())
k.public_key().verify(s, b"x", padding.PKCS1v15(), hashes.SHA1())
print(1)`

// A wheel has its own OpenSSL in a module, in which the linker kept only the functions that the
// module calls.
func TestSignaturesOfAPythonWheelAreRecordedByFunctions(t *testing.T) {
	large(t, "python3")
	_, key := (&keys{t.TempDir()}).pair(t, "rsa")
	directory := t.TempDir()
	if out, err := exec.Command("python3", "-m", "pip", "install", "--quiet", "--only-binary", ":all:", "--target", directory, "cryptography").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	modules, _ := filepath.Glob(directory + "/cryptography/hazmat/bindings/_rust*.so")
	if len(modules) != 1 {
		t.Fatalf("the wheel has the modules %q", modules)
	}
	a := startAgentOn(t, fmt.Sprintf("sources = [\"function\"]\nlibrary = [%q]\n", modules[0]))
	t.Setenv("PYTHONPATH", directory)
	path := strings.TrimSpace(output(t, "", "python3", "-c", "import sys; print(sys.executable)"))
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	if out := output(t, "", path, "-c", pythonSigner, key); strings.TrimSpace(out) != "1" {
		t.Fatalf("Python printed %q", out)
	}
	var got []string
	want := []string{"pk::sign algorithm=RSA bits=2048 hash=SHA1", "pk::verify algorithm=RSA bits=2048 hash=SHA1"}
	waitFor(t, "the signature is recorded", func() bool {
		got = a.byFunctions(t, filepath.Base(path))
		return len(got) >= len(want)
	}, func() string { return fmt.Sprint(got, a.stderr) })
	if !slices.Equal(got, want) {
		t.Errorf("the operations of the module are %q, want %q", got, want)
	}
}

// BIND makes keys and signs zones. All of its programs verify two signatures with RSA and
// SHA-1 when they start, to test the library: these operations are real but misleading.
func TestKeysAndSignaturesOfBINDAreRecordedByFunctions(t *testing.T) {
	large(t, "dnssec-keygen", "dnssec-signzone")
	a := startAgent(t, "usdt", "function")
	directory := t.TempDir()
	program := func(name, executable string) string {
		return renamed(t, strings.TrimSpace(output(t, "", "sh", "-c", "command -v "+name)), executable)
	}
	generate := program("dnssec-keygen", "wt-keygen")
	for _, options := range [][]string{{"-a", "RSASHA256", "-b", "2048"}, {"-a", "ECDSAP256SHA256", "-f", "KSK"}} {
		output(t, "", append(append([]string{generate, "-q", "-K", directory}, options...), "example")...)
	}
	names, _ := filepath.Glob(directory + "/Kexample.*.key")
	if len(names) != 2 {
		t.Fatalf("the keys are %q", names)
	}
	zone := file(t, "example", "example. 3600 IN SOA ns.example. x.example. 1 3600 3600 3600 3600\nexample. IN NS ns.example.\nns.example. IN A 127.0.0.1\n")
	for _, expected := range []string{"pk::generate algorithm=RSA bits=2048", "pk::generate algorithm=EC/ECDSA curve=SECP256R1"} {
		waitFor(t, expected+" is recorded", func() bool { return slices.Contains(a.byFunctions(t, "wt-keygen"), expected) },
			func() string { return strings.Join(a.byFunctions(t, "wt-keygen"), "\n") + a.stderr.String() })
	}
	printed := output(t, "", program("dnssec-signzone", "wt-signzone"), "-d", directory, "-x", "-z", "-K", directory, "-S", "-o", "example", "-f", filepath.Join(directory, "signed"), zone)
	waitFor(t, "its signatures are recorded", func() bool {
		all := strings.Join(a.byFunctions(t, "wt-signzone"), "\n")
		return strings.Contains(all, "pk::sign algorithm=RSA bits=2048 hash=SHA256") && strings.Contains(all, "pk::sign algorithm=EC/ECDSA bits=256 curve=SECP256R1")
	}, func() string {
		return printed + strings.Join(a.byFunctions(t, "wt-signzone"), "\n") + a.stderr.String()
	})
	a.checkStillRecorded(t)
}
