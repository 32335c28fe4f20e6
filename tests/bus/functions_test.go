// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// The source "function" exists to answer questions such as: which program still makes SHA-1
// signatures? The library is the distribution's.
func TestSignaturesWithSHA1AreFoundInTheLog(t *testing.T) {
	needWorlds(t)
	w, err := shared.create(daemons[0])
	if err != nil {
		t.Fatal(err)
	}
	defer w.end()
	defer w.logOnFailure(t)
	const config, key = "/etc/with-functions.conf", "/tmp/rsa.key"
	if err := os.WriteFile(w.Path(config), []byte("sources = [\"usdt\", \"function\"]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.startAgentWith(t, "--config", config)
	w.startBroker(t)
	if text := w.must(t, member, "crauctl", "status"); !strings.Contains(text, "libgcrypt is not supported") {
		t.Errorf("the status does not name the unsupported library:\n%s", text)
	}
	// The programs have unique names, because the agent records all programs that use the
	// library.
	const old, modern = "/usr/local/bin/old-signer", "/usr/local/bin/modern-signer"
	for _, program := range []string{old, modern} {
		w.must(t, root, "cp", "/usr/bin/openssl", program)
	}
	w.must(t, root, "openssl", "genpkey", "-quiet", "-algorithm", "RSA", "-out", key)
	w.must(t, root, "chmod", "644", key)
	w.must(t, stranger, old, "dgst", "-sha1", "-sign", key, "-out", "/dev/null", config)
	w.must(t, stranger, modern, "dgst", "-sha256", "-sign", key, "-out", "/dev/null", config)
	w.must(t, root, "crauctl", "flush")
	for _, spelling := range []string{"pk::hash=SHA1", "pk::hash=sha1", "pk::hash=SHA-1", "pk::hash=Sha_1", "hash=sha1"} {
		arguments := []string{"crauctl", "query", "-q", "-o", "json", "--executable", "*-signer", spelling}
		byBroker := w.must(t, member, arguments...)
		if inDirectory := w.must(t, root, append(arguments, "--directory", logDir)...); inDirectory != byBroker {
			t.Errorf("%s: the directory has\n%s\nthe broker shows\n%s", spelling, inDirectory, byBroker)
		}
		var operation struct {
			Executable string
			Events     map[string]any
		}
		if err := json.Unmarshal([]byte(byBroker), &operation); err != nil {
			t.Fatalf("%s: not one operation: %v\n%s", spelling, err, byBroker)
		}
		for key, want := range map[string]any{
			"name": "pk::sign", "pk::algorithm": "RSA", "pk::bits": 2048.0, "pk::hash": "SHA1", "crau::source": "function",
		} {
			if got := operation.Events[key]; got != want || operation.Executable != "old-signer" {
				t.Errorf("%s: %s of %s is %v, want %v of old-signer", spelling, key, operation.Executable, got, want)
			}
		}
	}
	if text := w.must(t, member, "crauctl", "query", "-q", "-o", "cat", "--executable", "*-signer", "pk::hash=sha-256"); strings.Count(text, "pk::sign") != 1 {
		t.Errorf("crauctl shows for signatures with SHA-256\n%s", text)
	}
}
