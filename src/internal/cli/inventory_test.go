// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"crypto-auditing/src/internal/cli"
)

// rows returns the rows that crauctl inventory or summary lists.
func rows(t *testing.T, arguments ...string) (list []map[string]any) {
	t.Helper()
	got := crauctl(t, append(arguments, "-o", "json")...)
	if got.code != 0 || got.stderr != "" {
		t.Fatalf("%v: exit code %d, errors %q", arguments, got.code, got.stderr)
	}
	for line := range strings.Lines(got.stdout) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

func TestTheInventoryCountsTheOperationsOfALog(t *testing.T) {
	dir := store(t, append(workload(t, "openssl-tls13-x25519", 40), workload(t, "gnutls-tls13-p256", 3)...))
	list := rows(t, "inventory", "-D", dir)
	for group, want := range map[string]float64{"x25519": 40, "secp256r1": 3} {
		n := 0.0
		for _, r := range list {
			if r["operation"] == "tls::handshake" && r["role"] == "client" && r["tls::group"] == group && r["tls::protocol_version"] == "TLS 1.3" {
				n += r["count"].(float64)
			}
		}
		if n != want {
			t.Errorf("%v handshakes of clients with %s are counted, want %v", n, group, want)
		}
	}
	if fromFiles := crauctl(t, slices.Concat([]string{"inventory"}, files(t, dir), []string{"-o", "json"})...); fromFiles.stdout != crauctl(t, "inventory", "-D", dir, "-o", "json").stdout || fromFiles.code != 0 {
		t.Errorf("from files, exit code %d, errors %q, output\n%s", fromFiles.code, fromFiles.stderr, fromFiles.stdout)
	}
	if got := crauctl(t, "inventory", "-D", dir); got.code != 0 || !strings.HasPrefix(got.stdout, "Recorded from 2026-07-23 ") || !strings.Contains(got.stdout, "tls::handshake client: TLS 1.3, x25519,") {
		t.Errorf("exit code %d, errors %q, output\n%s", got.code, got.stderr, got.stdout)
	}
}

func TestSummaryAddsUpByKeys(t *testing.T) {
	dir := store(t, append(workload(t, "openssl-tls13-x25519", 40), workload(t, "gnutls-tls13-p256", 3)...))
	list := rows(t, "summary", "-D", dir, "--by", "operation,group", "--executable", "*")
	if r := list[0]; r["operation"] != "tls::handshake" || r["tls::group"] != "x25519" || r["count"] != 80.0 || r["executable"] != nil {
		t.Errorf("the first row is %v", r)
	}
	if list := rows(t, "summary", "-D", dir, "--executable", "nobody"); list != nil {
		t.Errorf("of an unknown program, %v are listed", list)
	}
	if list := rows(t, "summary", "-D", dir, "--since", "2027-01-01"); list != nil {
		t.Errorf("of the future, %v are listed", list)
	}
}

func TestABillOfMaterialsIsTheSameEachTime(t *testing.T) {
	dir := store(t, workload(t, "openssl-tls13-x25519", 40))
	for spec, arguments := range map[string][]string{"1.6": nil, "1.7": {"--spec", "1.7", "--name", "web1"}} {
		arguments = append([]string{"cbom", "-D", dir}, arguments...)
		got := crauctl(t, arguments...)
		var bom struct {
			SpecVersion string
			Components  []struct {
				Ref string `json:"bom-ref"`
			}
		}
		if err := json.Unmarshal([]byte(got.stdout), &bom); err != nil || got.code != 0 || bom.SpecVersion != spec {
			t.Fatalf("%v: exit code %d, errors %q, version %q, error %v", arguments, got.code, got.stderr, bom.SpecVersion, err)
		}
		if second := crauctl(t, arguments...); second.stdout != got.stdout {
			t.Errorf("%s: the second bill of materials differs", spec)
		}
		for _, ref := range []string{"crypto/protocol/TLS%201.3", "crypto/algorithm/x25519", "crypto/algorithm/AES-256-GCM"} {
			if !strings.Contains(got.stdout, `"bom-ref": "`+ref+`"`) {
				t.Errorf("%s: %s is missing in %v", spec, ref, bom.Components)
			}
		}
	}
}

func TestFilesThatCannotBeReadAreReported(t *testing.T) {
	dir := store(t, workload(t, "openssl-tls13-x25519", 40))
	damage(t, dir)
	log := files(t, dir)
	got := crauctl(t, slices.Concat([]string{"inventory"}, log)...)
	if got.code != 0 || strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stdout, "before they were counted: ") {
		t.Errorf("of a damaged log, exit code %d, errors %q, output\n%s", got.code, got.stderr, got.stdout)
	}
	if got := crauctl(t, "inventory", "-D", dir); got.code != 0 || !strings.Contains(got.stdout, "before they were counted: ") {
		t.Errorf("of its directory, exit code %d, errors %q, output\n%s", got.code, got.stderr, got.stdout)
	}
	if got := crauctl(t, "inventory", "--file", write(t, "log", []byte("root:x:0:0\n"))); got.code != 1 || got.stdout != "" || strings.Count(got.stderr, "\n") != 1 {
		t.Errorf("of a file that is not a log, exit code %d, errors %q, output\n%s", got.code, got.stderr, got.stdout)
	}
}

func TestWrongOptionsOfTheInventoryAreUsageErrors(t *testing.T) {
	dir := store(t, workload(t, "openssl-tls13-x25519", 1))
	for _, arguments := range [][]string{
		{"inventory", "x"}, {"inventory", "-o", "xml"}, {"inventory", "--file", "x"}, {"inventory", "-S", ""}, {"inventory", "-S", "now", "-U", "yesterday"},
		{"inventory", "--executable", ""}, {"summary", "--by", "grop"}, {"summary", "--by", ""}, {"cbom", "--spec", "1.5"},
	} {
		if got := crauctl(t, append(arguments, "-D", dir)...); got.code != 2 || got.stdout != "" || !strings.Contains(got.stderr, "Try 'crauctl ") {
			t.Errorf("%v: exit code %d, output %q, errors %q", arguments, got.code, got.stdout, got.stderr)
		}
	}
	if got := crauctl(t, "inventory", "-D", dir+"/none"); got.code != 1 || got.stdout != "" {
		t.Errorf("without a directory: exit code %d, errors %q", got.code, got.stderr)
	}
}

func TestProgramsCompleteFromTheInventoryOnly(t *testing.T) {
	dir := store(t, workload(t, "openssl-tls13-x25519", 1))
	for _, arguments := range [][]string{{"inventory"}, {"cbom", "-D", dir}, {"policy", "check"}} {
		var stdout, stderr bytes.Buffer
		e := environment(t, &stdout, &stderr)
		e.Lookup = func(name string) (string, bool) {
			return "unix:path=" + dir + "/none", name == "DBUS_SYSTEM_BUS_ADDRESS"
		}
		code := cli.Run(context.Background(), slices.Concat([]string{"__complete"}, arguments, []string{"--executable", ""}), e)
		if code != 0 || stdout.String() != ":4\n" {
			t.Errorf("%v without a bus: exit code %d, completions %q, errors %q", arguments, code, &stdout, &stderr)
		}
	}
}
