// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"crypto-auditing/src/internal/event"
)

// schemaOf returns a schema in docs, and makes it strict: it allows unknown members, because later versions may
// add some, but the tests must not.
func schemaOf(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	text, err := os.ReadFile("../../../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	closeObjects(document)
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(name, document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// closeObjects makes a schema reject members that it does not describe.
func closeObjects(schema any) {
	switch schema := schema.(type) {
	case map[string]any:
		if _, ok := schema["properties"].(map[string]any); ok && schema["additionalProperties"] == nil {
			schema["additionalProperties"] = false
		}
		for _, part := range schema {
			closeObjects(part)
		}
	case []any:
		for _, part := range schema {
			closeObjects(part)
		}
	}
}

// validate checks a document against a schema, and returns it.
func validate(t *testing.T, schema *jsonschema.Schema, what, text string) any {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v in\n%s", what, err, text)
	}
	if err := schema.Validate(value); err != nil {
		t.Errorf("%s: %v in\n%s", what, err, text)
	}
	return value
}

// refuses checks that a schema rejects documents.
func refuses(t *testing.T, schema *jsonschema.Schema, documents ...string) {
	t.Helper()
	for _, wrong := range documents {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(wrong))
		if err != nil {
			t.Fatal(err)
		}
		if schema.Validate(value) == nil {
			t.Errorf("%s is accepted", wrong)
		}
	}
}

func TestJSONMatchesItsSchema(t *testing.T) {
	schema := schemaOf(t, "query.schema.json")
	kinds := make(map[string]bool)
	for name, log := range map[string][]byte{
		"handshakes":            encode(append(workload(t, "gnutls-tls13-p256", 1), workload(t, "openssl-tls12", 1)...)),
		"unusual content":       oddities(),
		"missing entries":       gaps(),
		"an unrecorded library": event.AppendLibraryUnrecorded(nil, event.LibraryAdded, "l", nil, 1, 2),
	} {
		for _, options := range [][]string{nil, {"--names"}} {
			got := crauctl(t, append([]string{"query", "--file", write(t, "log", log), "-o", "json"}, options...)...)
			for line := range strings.Lines(got.stdout) {
				value, _ := validate(t, schema, name, line).(map[string]any)
				kind, _ := value["notice"].(string)
				kinds[kind] = true
			}
		}
	}
	for _, kind := range []string{"", "loss", "unrecorded", "removal", "missing"} {
		if !kinds[kind] {
			t.Errorf("no object with the notice %q was checked", kind)
		}
	}
	refuses(t, schema, `{}`, `{"notice":"loss"}`, `{"context":"x"}`, `[]`, `5`)
}

func TestTheJSONOfTheInventoryMatchesItsSchema(t *testing.T) {
	schema := schemaOf(t, "inventory.schema.json")
	log := append(workload(t, "gnutls-tls13-p256", 1), workload(t, "openssl-tls12", 1)...)
	log = append(log, workload(t, "openssl-tls13-x25519", 1)...)
	file := write(t, "log", append(encode(log), oddities()...))
	keys := make(map[string]bool)
	for _, arguments := range [][]string{
		{"inventory"}, {"summary"}, {"summary", "--by", "executable,unit,operation"}, {"summary", "--by", "tls::group,pk::bits,role"},
	} {
		got := crauctl(t, append(arguments, "--file", file, "-o", "json")...)
		if got.code != 0 || got.stdout == "" {
			t.Fatalf("%q: exit code %d, errors %q", arguments, got.code, got.stderr)
		}
		pretty := crauctl(t, append(arguments, "--file", file, "-o", "json-pretty")...).stdout
		decoder := json.NewDecoder(strings.NewReader(pretty))
		for line := range strings.Lines(got.stdout) {
			value, _ := validate(t, schema, strings.Join(arguments, " "), line).(map[string]any)
			for key := range value {
				keys[key] = true
			}
			var same json.RawMessage
			if err := decoder.Decode(&same); err != nil {
				t.Fatal(err)
			}
			validate(t, schema, strings.Join(arguments, " ")+" -o json-pretty", string(same))
		}
	}
	for _, key := range []string{"executable", "operation", "role", "tls::protocol_version", "tls::ciphersuite", "tls::group", "tls::signature_algorithm", "pk::algorithm"} {
		if !keys[key] {
			t.Errorf("no object with the key %q was checked", key)
		}
	}
	// The schema describes the keys that --by accepts.
	var known []string
	for line := range strings.Lines(crauctl(t, "__complete", "summary", "--by", "").stdout) {
		if key, _, ok := strings.Cut(line, "\t"); ok {
			known = append(known, key)
		}
	}
	described := slices.Sorted(maps.Keys(schema.Properties))
	if want := slices.Sorted(slices.Values(append(known, "count", "failures", "first", "last"))); !slices.Equal(described, want) {
		t.Errorf("the schema has the members\n%q, want\n%q", described, want)
	}
	refuses(t, schema, `{}`, `{"count":1}`, `{"count":-1,"failures":0,"first":1,"last":2}`, `{"count":1,"failures":0,"first":1,"last":2,"x":1}`, `[]`, `5`)
}

func TestTheJSONOfAReportMatchesItsSchema(t *testing.T) {
	schema := schemaOf(t, "report.schema.json")
	dir := store(t, append(workload(t, "openssl-tls13-x25519", 40), workload(t, "gnutls-tls12", 3)...))
	file := write(t, "log", append(encode(workload(t, "openssl-tls12", 1)), oddities()...))
	before := crauctl(t, "report", "-D", dir, "-o", "json")
	baseline := write(t, "before.json", []byte(before.stdout))
	for _, arguments := range [][]string{
		{"-D", dir}, {"-D", dir, "--profile", "all"}, {"-D", dir, "--anonymous"}, {"-D", dir, "--since", "2027-01-01"},
		{"-D", dir, "--baseline", baseline}, {"--file", file, "--baseline", baseline, "--diff"},
	} {
		got := crauctl(t, append([]string{"report", "-o", "json"}, arguments...)...)
		if got.stdout == "" {
			t.Fatalf("%q: exit code %d, errors %q", arguments, got.code, got.stderr)
		}
		validate(t, schema, strings.Join(arguments, " "), got.stdout)
	}
	refuses(t, schema, `{}`, `{"schema":1}`, `[]`)
}
