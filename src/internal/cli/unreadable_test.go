// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAnUnreadableSegmentIsReportedAndOthersAreShown(t *testing.T) {
	groups := workload(t, "openssl-tls13-x25519", 100)
	dir := store(t, groups)
	segments, err := filepath.Glob(filepath.Join(dir, "audit-*"))
	if err != nil || len(segments) < 3 {
		t.Fatalf("segments are %v (error %v)", segments, err)
	}
	whole := crauctl(t, "query", "--directory", dir, "-o", "cat")
	name := filepath.Base(segments[1])
	if err := os.Remove(segments[1]); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(name, segments[1]); err != nil {
		t.Fatal(err)
	}
	const why = "too many levels of symbolic links"
	for command, message := range map[string]string{
		"query -o cat": "", "query -n 1000 -o cat": "", "query -r -o cat": "",
		"verify": "what can be read was checked", "verify -o json": `"kind":"unreadable"`,
		"log-info": "unreadable", "log-info -o json": `"unreadable":"` + why,
	} {
		arguments := strings.Fields(command)
		got := crauctl(t, append([]string{arguments[0], "--directory", dir}, arguments[1:]...)...)
		if got.code != 1 || strings.Count(got.stderr, name) != 1 || !strings.Contains(got.stderr, why) || !strings.Contains(got.stdout, message) {
			t.Errorf("%s: exit code %d, errors %q, output %q", command, got.code, got.stderr, got.stdout)
		}
		if arguments[0] == "query" && (strings.Count(got.stdout, "\n") < 2*strings.Count(whole.stdout, "\n")/4 || got.stdout == whole.stdout) {
			t.Errorf("%s shows %d lines of %d", command, strings.Count(got.stdout, "\n"), strings.Count(whole.stdout, "\n"))
		}
	}
}

func TestADanglingLinkDoesNotMakeReadersLoop(t *testing.T) {
	dir := store(t, workload(t, "openssl-tls13-x25519", 10))
	link := filepath.Join(dir, "audit-7fffffff00000000.cborseq.zst")
	if err := os.Symlink("nothing", link); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"query", "verify", "log-info"} {
		got := crauctl(t, command, "--directory", dir)
		if got.code != 1 || !strings.Contains(got.stderr, "dangling symbolic link") || got.stdout == "" {
			t.Errorf("%s: exit code %d, errors %q, output %q", command, got.code, got.stderr, got.stdout)
		}
	}
}

func TestAFileThatIsNotASegmentIsSkipped(t *testing.T) {
	dir := store(t, workload(t, "openssl-tls13-x25519", 100))
	whole := crauctl(t, "query", "--directory", dir, "-o", "cat")
	segments, err := filepath.Glob(filepath.Join(dir, "audit-*"))
	if err != nil {
		t.Fatal(err)
	}
	name := "audit-4000000000000000.cborseq.zst"
	if err := os.WriteFile(filepath.Join(dir, name), mustRead(t, segments[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	for command, message := range map[string]string{
		"query -o cat": whole.stdout, "verify": "what can be read was checked", "verify -o json": `"kind":"foreign"`,
		"log-info": "foreign", "log-info -o json": `"foreign":"it begins with entry 1`,
	} {
		arguments := strings.Fields(command)
		got := crauctl(t, append([]string{arguments[0], "--directory", dir}, arguments[1:]...)...)
		if got.code != 1 || strings.Count(got.stderr, name) != 1 || !strings.Contains(got.stdout, message) {
			t.Errorf("%s: exit code %d, errors %q, output %q", command, got.code, got.stderr, got.stdout)
		}
	}
}
