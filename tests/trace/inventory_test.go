// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// crauctl runs crauctl and returns its output.
func crauctl(t *testing.T, arguments ...string) []byte {
	t.Helper()
	c := exec.Command(filepath.Join(bin, "crauctl"), arguments...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("crauctl %v: %v\n%s", arguments, err, &stderr)
	}
	return out
}

// The inventory counts the operations of real programs, and exports them as valid CycloneDX.
func TestTheInventoryHasTheOperationsOfPrograms(t *testing.T) {
	need(t, "openssl", "sh")
	key := filepath.Join(t.TempDir(), "key")
	if out, err := exec.Command("openssl", "genrsa", "-out", key, "2048").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	begin := time.Now()
	script := `"$0" "$1" "$2" "$2"; openssl dgst -sha1 -sign "$3" -out "$3.sig" "$3"`
	c, file := prepare(t, "-o", "cbor", "--", "sh", "-c", script, self(t), clientArgument, serve(t), key)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	// The client prints version, suite and group of each handshake.
	if !strings.HasPrefix(stdout.String(), "TLS 1.3 ") {
		t.Fatalf("the client reports %q\n%s", &stdout, &stderr)
	}
	words := strings.Fields(strings.SplitN(stdout.String(), "\n", 2)[0])
	suite, group := words[2], words[3]
	handshakes, signatures := 0.0, 0.0
	for line := range bytes.Lines(crauctl(t, "inventory", "--file", file, "-o", "json")) {
		var r map[string]any
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		first := time.UnixMicro(int64(r["first"].(float64) * 1e6))
		if first.Before(begin.Add(-time.Second)) || first.After(time.Now().Add(time.Second)) {
			t.Errorf("%s began at %s, the test at %s", line, first, begin)
		}
		switch {
		case r["executable"] == filepath.Base(self(t)) && r["operation"] == "tls::handshake" && r["tls::group"] == group && r["tls::ciphersuite"] == suite && r["tls::protocol_version"] == "TLS 1.3" && r["role"] == "client":
			handshakes += r["count"].(float64)
		case r["executable"] == "openssl" && r["operation"] == "pk::sign" && r["pk::algorithm"] == "RSA" && r["pk::bits"] == 2048.0 && r["pk::hash"] == "SHA-1":
			signatures += r["count"].(float64)
		}
	}
	if handshakes != 2 || signatures != 1 {
		t.Errorf("%v handshakes of the client and %v signatures of openssl are counted, want 2 and 1:\n%s", handshakes, signatures, crauctl(t, "inventory", "--file", file))
	}
	for _, spec := range []string{"1.6", "1.7"} {
		bom := crauctl(t, "cbom", "--spec", spec, "--file", file)
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(bom))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema(t, spec).Validate(document); err != nil {
			t.Errorf("%s: %v", spec, err)
		}
		for _, ref := range []string{"crypto/algorithm/" + group, "crypto/algorithm/SHA-1", "program/openssl", "crypto/protocol/TLS%201.3"} {
			if !bytes.Contains(bom, []byte(`"bom-ref": "`+ref+`"`)) {
				t.Errorf("%s: the bill of materials lacks %s", spec, ref)
			}
		}
	}
}

// schema returns the official schema of a version of CycloneDX.
func schema(t *testing.T, spec string) *jsonschema.Schema {
	t.Helper()
	files, err := filepath.Glob("../../src/internal/inventory/cbom/testdata/*.schema.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no schemas: %v", err)
	}
	c := jsonschema.NewCompiler()
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource("http://cyclonedx.org/schema/"+filepath.Base(name), document); err != nil {
			t.Fatal(err)
		}
	}
	compiled, err := c.Compile("http://cyclonedx.org/schema/bom-" + spec + ".schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}
