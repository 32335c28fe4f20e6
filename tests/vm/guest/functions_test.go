// SPDX-License-Identifier: Apache-2.0

//go:build vm

package guest

import (
	"os/exec"
	"strings"
	"testing"
)

// The verifier of this kernel tracks less of a program than newer ones.
func TestTheKernelAcceptsTheProgramsAtFunctions(t *testing.T) {
	output, err := exec.Command("/opt/test/bin/probe", "-test.v", "-test.run", "TestTheProgramsAtFunctionsAreAccepted").CombinedOutput()
	if err != nil || !strings.Contains(string(output), "--- PASS") {
		t.Errorf("%v\n%s", err, output)
	}
}

// The confined agent reads the libraries of the machine, attaches to their functions site by
// site, and records unmodified programs. Its denials are listed at the end of the run.
func TestTheConfinedAgentRecordsByFunctions(t *testing.T) {
	recording(t, "sources = [\"function\"]\n")
	waitFor(t, "the agent to attach to both libraries", func() bool {
		attached := 0
		for _, l := range readStatus(t).Libraries {
			if l.Attached != "" && (strings.Contains(l.Path, "/libssl.so.") || strings.Contains(l.Path, "/libcrypto.so.")) {
				attached++
			}
		}
		return attached == 2
	})
	run(t, handshake, "--plain", "--key", "rsa", "--count", "3")
	flush(t)
	output := run(t, "crauctl", "query", "--executable", "handshake", "--source", "function")
	for _, want := range []string{"tls::handshake client, TLS 1.3", "tls::handshake server, TLS 1.3", "tls::sign ", "pk::sign algorithm=RSA"} {
		if n := strings.Count(output, want); n != 3 {
			t.Errorf("the log has %q %d times, want 3:\n%s", want, n, output)
		}
	}
	if text := run(t, "crauctl", "query", "-q", "--count", "--executable", "handshake", "--context", "tls::handshake", "pk::algorithm=rsa"); strings.TrimSpace(text) != "6" {
		t.Errorf("the log has %s sides of handshakes with RSA, want 6", text)
	}
}
