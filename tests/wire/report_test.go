// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// report runs crauctl report on the log of the agent, and returns its output and exit status.
func (a *agent) report(t *testing.T, arguments ...string) (stdout []byte, status int) {
	t.Helper()
	command := exec.Command(filepath.Join(bin, "crauctl"), append([]string{"report", "--directory", a.log}, arguments...)...)
	command.Stderr = &buffer{}
	stdout, err := command.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return stdout, exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, command.Stderr)
	}
	return stdout, 0
}

// waitForSignatures waits until a number of signatures of an executable with a hash is recorded.
func (a *agent) waitForSignatures(t *testing.T, executable, hash string, number int) {
	t.Helper()
	waitFor(t, "signatures with "+hash+" are recorded", func() bool {
		all := slices.DeleteFunc(a.query(t, executable, "pk::hash="+hash), func(o operation) bool { return o.Events["name"] != "pk::sign" })
		return len(all) == number
	}, a.stderr.String)
}

// A program signs with SHA-1, then with SHA-256, then with SHA-1 again. The report confirms that SHA-1 has stopped, and
// notices when it is used again.
func TestAReportConfirmsThatSignaturesWithSHA1HaveStopped(t *testing.T) {
	need(t, "openssl")
	const rule = "nist.sp800-131ar2.sha1"
	a := startAgent(t, "usdt", "function")
	directory := t.TempDir()
	_, key := (&keys{directory}).pair(t, "rsa")
	signer := renamed(t, strings.TrimSpace(output(t, "", "sh", "-c", "command -v openssl")), "a-signer")
	sign := func(hash string) {
		t.Helper()
		if out, err := exec.Command(signer, "dgst", "-"+hash, "-sign", key, "-out", filepath.Join(directory, "signature"), key).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	sign("sha1")
	a.waitForSignatures(t, "a-signer", "SHA1", 1)
	only := []string{"--executable", "a-signer"}
	before, status := a.report(t, append(only, "-o", "json", "--exit-code")...)
	if status != 4 || !strings.Contains(string(before), rule) {
		t.Fatalf("exit status %d, want 4 for a broken rule in\n%s", status, before)
	}
	baseline := filepath.Join(directory, "before.json")
	if err := os.WriteFile(baseline, before, 0o600); err != nil {
		t.Fatal(err)
	}
	confirm := append(only, "--baseline", baseline, "--diff", "--stopped", rule)
	if text, status := a.report(t, confirm...); status != 4 {
		t.Errorf("exit status %d while nothing was recorded since, want 4:\n%s", status, text)
	}

	sign("sha256")
	a.waitForSignatures(t, "a-signer", "SHA256", 1)
	text, status := a.report(t, confirm...)
	if status != 0 || !regexp.MustCompile(`(?m)^stopped +a-signer.*: `+regexp.QuoteMeta(rule)+`;`).Match(text) {
		t.Errorf("exit status %d, want 0 and a report that the signatures have stopped:\n%s\n%s", status, text, a.stderr)
	}

	sign("sha1")
	a.waitForSignatures(t, "a-signer", "SHA1", 2)
	if text, status = a.report(t, confirm...); status != 4 || !strings.Contains(string(text), "still ") {
		t.Errorf("exit status %d, want 4 and a report that the signatures continue:\n%s", status, text)
	}
}

// An anonymous report has statistics without the names of programs and without exact times.
func TestAnAnonymousReportHasOnlyStatisticsOfTLS(t *testing.T) {
	need(t, "openssl")
	a := startAgent(t)
	directory := t.TempDir()
	certificate, key := (&keys{directory}).pair(t, "ec")
	openssl := strings.TrimSpace(output(t, "", "sh", "-c", "command -v openssl"))
	client := renamed(t, openssl, "a-secret-app")
	port := freePort(t)
	listening(t, port, start(t, openssl, "s_server", "-accept", "127.0.0.1:"+port, "-cert", certificate, "-key", key, "-quiet"))
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		output(t, "", client, "s_client", "-connect", "127.0.0.1:"+port, version)
	}
	a.recorded(t, "a-secret-app", "tls::protocol_version=TLS 1.2")
	a.recorded(t, "a-secret-app", "tls::protocol_version=TLS 1.3")
	for _, form := range []string{"text", "json", "csv", "html", "junit"} {
		text, status := a.report(t, "--anonymous", "-o", form)
		if status != 0 || len(text) == 0 {
			t.Errorf("%s: exit status %d", form, status)
		}
		for _, secret := range []string{"a-secret-app", "secret-host", directory} {
			if strings.Contains(string(text), secret) {
				t.Errorf("%s has %q", form, secret)
			}
		}
		if named, _ := a.report(t, "--anonymous", "--with-executables", "--executable", "a-secret-app", "-o", form); form != "junit" && !strings.Contains(string(named), "a-secret-app") {
			t.Errorf("%s does not have the executable that was asked for", form)
		}
	}
	text, _ := a.report(t, "--anonymous", "-o", "json", "--executable", "a-secret-app")
	var r struct {
		Created, From, To string
		Uses              []struct {
			Executable, First, Last string
			Count                   int
			Parameters              map[string]string
		}
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	times := []string{r.Created, r.From, r.To}
	for _, u := range r.Uses {
		counts[u.Parameters["version"]] += u.Count
		times = append(times, u.First, u.Last)
		if u.Executable != "(all programs)" {
			t.Errorf("a use has the executable %q", u.Executable)
		}
		if u.Parameters["suite"] == "" {
			t.Errorf("a handshake has no suite: %v", u.Parameters)
		}
	}
	if counts["TLS 1.2"] != 1 || counts["TLS 1.3"] != 1 {
		t.Errorf("handshakes by version are %v, want one of TLS 1.2 and one of TLS 1.3", counts)
	}
	for _, at := range times {
		if !strings.HasSuffix(at, ":00:00Z") {
			t.Errorf("the time %s is not to the hour", at)
		}
	}
}
