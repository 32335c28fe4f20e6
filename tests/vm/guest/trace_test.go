// SPDX-License-Identifier: Apache-2.0

//go:build vm

package guest

import (
	"crypto/tls"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// clientVariable has a test be a client of the server at its address.
const clientVariable = "TRACE_CLIENT"

// TestATracedClient is no test but the program that TestATraceFollowsProcesses runs.
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

// The machine's kernel attaches site by site, and at functions.
func TestATraceFollowsProcesses(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	output := run(t, "crauctl", "trace", "-o", "cat", "--", "sh", "-c",
		"("+replay+" --library "+library+" "+trace+" >/dev/null) & "+
			clientVariable+"="+server.Listener.Addr().String()+" /opt/test/bin/tests -test.run '^TestATracedClient$' >/dev/null; wait")
	// Each side of the recorded handshake begins twice. The server is not traced.
	if n := strings.Count(output, "tls::handshake"); n != 5 || strings.Count(output, "transport=tcp") != 1 {
		t.Errorf("seen are %d handshakes:\n%s", n, output)
	}
}
