// SPDX-License-Identifier: Apache-2.0

//go:build vm

package guest

import (
	"context"
	"crypto/tls"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// clientVariable makes TestATracedClient a client of the server at the address.
const clientVariable = "TRACE_CLIENT"

// TestATracedClient is the program that TestATraceFollowsProcesses runs, not a test.
func TestATracedClient(t *testing.T) {
	address := os.Getenv(clientVariable)
	if address == "" {
		return
	}
	c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// The machine's kernel attaches site by site, and at its functions.
func TestATraceFollowsProcesses(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	// The kernel verifies the BPF programs of all sources, which takes long here.
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience)
	defer cancel()
	command := exec.CommandContext(ctx, "crauctl", "trace", "-o", "cat", "--", "sh", "-c",
		"("+replay+" --library "+library+" "+trace+" >/dev/null) & "+
			clientVariable+"="+server.Listener.Addr().String()+" /opt/test/bin/tests -test.run '^TestATracedClient$' >/dev/null; wait")
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	output := string(out)
	// Each side of the recorded handshake begins twice. The server is not traced.
	if n := strings.Count(output, "tls::handshake"); n != 5 || strings.Count(output, "transport=tcp") != 1 {
		t.Errorf("the trace has %d handshakes:\n%s", n, output)
	}
}
