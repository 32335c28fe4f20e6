// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// static builds the program "handshakes", linked statically with OpenSSL.
func static(t *testing.T) string {
	t.Helper()
	need(t, "gcc")
	program := filepath.Join(t.TempDir(), "wt-static")
	// The linker warns about functions that load libraries.
	output(t, "", "gcc", "-O2", "-static", "-Wl,--build-id", "-o", program, "programs/handshakes.c", "-lssl", "-lcrypto", "-lpthread", "-ldl")
	if _, err := os.Stat(program); err != nil {
		t.Fatal(err)
	}
	return program
}

// The program contains the library. The agent is configured with its path, or discovers it
// when it runs.
func TestStaticProgramsAreRecordedByTheirFunctions(t *testing.T) {
	program := static(t)
	certificate, key := (&keys{t.TempDir()}).pair(t, "ec")
	run := func(t *testing.T) (want []string) {
		t.Helper()
		for _, line := range splitLines(output(t, "", program, "-certificate", certificate, "-key", key, "-threads", "-count", "3")) {
			want = append(want, reported(t, line, true))
		}
		return want
	}
	t.Run("by path", func(t *testing.T) {
		a := startAgentOn(t, fmt.Sprintf("sources = [\"function\"]\nlibrary = [%q]\n", program))
		a.waitForSides(t, "wt-static", run(t))
		signed := 0
		for _, o := range a.byFunctions(t, "wt-static") {
			if strings.Contains(o, "[tls::sign signature_algorithm=1027 [pk::sign algorithm=EC/ECDSA bits=256 curve=SECP256R1 hash=SHA256]]") {
				signed++
			}
		}
		if signed != 4*3 {
			t.Errorf("the operations of %d servers are recorded, want %d:\n%s", signed, 4*3, strings.Join(a.byFunctions(t, "wt-static"), "\n"))
		}
		a.checkStillRecorded(t)
	})
	t.Run("when it runs", func(t *testing.T) {
		a := startAgentOn(t, "sources = [\"function\"]\ndiscover_processes = true\n")
		var want []string
		// Operations before the agent discovers the program are not recorded.
		waitFor(t, "the agent attaches to the program", func() bool {
			want = run(t)
			return len(a.sides(t, "wt-static")) >= len(want)
		}, a.stderr.String)
		a.checkStillRecorded(t)
	})
	t.Run("by a trace", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "operations")
		out := output(t, "", filepath.Join(bin, "crauctl"), "trace", "--source", "function", "-o", "json", "-O", file, "--", program, "-certificate", certificate, "-key", key)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		roles := map[any]int{}
		for d := json.NewDecoder(strings.NewReader(string(text))); d.More(); {
			var o operation
			if err := d.Decode(&o); err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			roles[o.Events["tls::role"]]++
		}
		if roles["client"] != 1 || roles["server"] != 1 {
			t.Errorf("the trace has %v\n%s%s", roles, text, out)
		}
	})
}

// Node contains OpenSSL and exports its symbols for modules.
func TestNodeIsRecordedByItsFunctions(t *testing.T) {
	optional(t, "node")
	node, err := filepath.EvalSymlinks(strings.TrimSpace(output(t, "", "sh", "-c", "command -v node")))
	if err != nil {
		t.Fatal(err)
	}
	if out := output(t, "", "ldd", node); strings.Contains(out, "libssl.") {
		t.Skip("the distribution's Node uses the library of the distribution, as other programs do")
	}
	a := startAgentOn(t, fmt.Sprintf("sources = [\"function\"]\nlibrary = [%q]\n", node))
	directory := t.TempDir()
	certificate, key := (&keys{directory}).pair(t, "ec")
	_, rsa := (&keys{directory}).pair(t, "rsa")
	// Both sides in one process; it prints the values that each side reports.
	const pair = `
const tls = require("tls"), fs = require("fs"), [certificate, key] = process.argv.slice(1)
const say = (role, s) => console.log(role, s.getProtocol(), s.getCipher().standardName)
const server = tls.createServer({cert: fs.readFileSync(certificate), key: fs.readFileSync(key)}, s => { say("server", s); s.end("x") })
server.listen(0, "127.0.0.1", () => {
	const c = tls.connect({port: server.address().port, host: "127.0.0.1", ca: fs.readFileSync(certificate), servername: "secret-host.example"}, () => say("client", c))
	c.on("data", () => {}); c.on("end", () => server.close()) })`
	out := splitLines(output(t, "", node, "-e", pair, certificate, key))
	slices.Sort(out)
	if !slices.Equal(out, []string{"client TLSv1.3 TLS_AES_256_GCM_SHA384", "server TLSv1.3 TLS_AES_256_GCM_SHA384"}) {
		t.Fatalf("Node printed %q", out)
	}
	var sides []string
	waitFor(t, "the handshakes are recorded", func() bool {
		sides = a.sides(t, filepath.Base(node))
		return len(sides) >= 2
	}, func() string { return fmt.Sprint(sides, a.stderr) })
	// The group depends on the version of Node.
	for i, want := range []string{"client completed 0x304 0x1302 group ", "server completed 0x304 0x1302 group "} {
		own := map[bool]string{true: "own 0x0 peer 0x403", false: "own 0x403 peer 0x0"}[i == 0]
		if len(sides) != 2 || !strings.HasPrefix(sides[i], want) || !strings.Contains(sides[i], own) {
			t.Errorf("recorded %q, want %q and %q", sides, want, own)
		}
	}
	const sign = `
const c = require("crypto"), fs = require("fs"), key = fs.readFileSync(process.argv[1])
const s = c.createSign("SHA1").update("x").sign(key)
console.log(c.createVerify("SHA1").update("x").verify(c.createPublicKey(key), s))`
	if out := output(t, "", node, "-e", sign, rsa); strings.TrimSpace(out) != "true" {
		t.Fatalf("Node printed %q", out)
	}
	want := []string{"pk::sign algorithm=RSA bits=2048 hash=SHA1", "pk::verify algorithm=RSA bits=2048 hash=SHA1"}
	var keyOperations []string
	waitFor(t, "the signature is recorded", func() bool {
		keyOperations = slices.DeleteFunc(a.byFunctions(t, filepath.Base(node)), func(o string) bool { return !strings.HasPrefix(o, "pk::") })
		return len(keyOperations) >= len(want)
	}, func() string { return fmt.Sprint(keyOperations, a.stderr) })
	if !slices.Equal(keyOperations, want) {
		t.Errorf("the operations of Node are %q, want %q", keyOperations, want)
	}
	a.checkStillRecorded(t)
}
