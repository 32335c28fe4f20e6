// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"crypto-auditing/tests/machine"
)

// crauctl runs the tool and returns its output.
func crauctl(t *testing.T, arguments ...string) string {
	t.Helper()
	if arguments[0] == "query" {
		arguments = append([]string{"query", "--quiet"}, arguments[1:]...) // the log may still be empty
	}
	command := exec.Command(program("crauctl"), arguments...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%v: %v\n%s%s", command, err, output, &stderr)
	}
	return string(output)
}

// operation is an object of crauctl query -o json.
type operation struct {
	Context    string         `json:"context"`
	Origin     string         `json:"origin"`
	Executable string         `json:"executable"`
	Start      float64        `json:"start"`
	End        float64        `json:"end"`
	Events     map[string]any `json:"events"`
	Spans      []operation    `json:"spans"`
}

// find returns the operation's first part with a name.
func (o *operation) find(name string) *operation {
	if o.Events["name"] == name {
		return o
	}
	for i := range o.Spans {
		if found := o.Spans[i].find(name); found != nil {
			return found
		}
	}
	return nil
}

func TestQueryShowsRealHandshakes(t *testing.T) {
	needRecording(t)
	cases := map[string]struct {
		arguments []string
		version   float64
		suite     float64
		group     float64
		short     []string
	}{
		"TLS 1.3": {
			[]string{"--tls", "1.3", "--groups", "X25519"}, 0x0304, 0x1302, 29,
			[]string{"TLS 1.3", "TLS_AES_256_GCM_SHA384", "x25519", "ecdsa_secp256r1_sha256"},
		},
		"TLS 1.2": {
			[]string{"--tls", "1.2", "--groups", "P-256"}, 0x0303, 0xc02c, 23,
			[]string{"TLS 1.2", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "secp256r1", "ecdsa_secp256r1_sha256"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a := startAgent(t, setup{libraries: []string{publisher("handshake")}})
			fired := publish(t, "handshake", c.arguments...)
			check(t, a, a.stop(t, patience), fired.done)

			var roles []string
			lines := crauctl(t, "query", "--directory", a.log, "-o", "json")
			for line := range strings.Lines(lines) {
				var o operation
				if err := json.Unmarshal([]byte(line), &o); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				if o.Events["name"] != "tls::handshake" || o.Executable != "handshake" ||
					o.Events["tls::protocol_version"] != c.version || o.Events["tls::ciphersuite"] != c.suite {
					t.Errorf("an operation is %q of %q: %v", o.Events["name"], o.Executable, o.Events)
				}
				if exchange := o.find("tls::key_exchange"); exchange == nil || exchange.Events["tls::group"] != c.group {
					t.Errorf("the handshake lacks a key exchange with group %v: %s", c.group, line)
				}
				role, _ := o.Events["tls::role"].(string)
				roles = append(roles, role)
			}
			slices.Sort(roles)
			if !slices.Equal(roles, []string{"client", "server"}) {
				t.Errorf("the roles are %q, want a client and a server", roles)
			}

			short := crauctl(t, "query", "--directory", a.log)
			for _, role := range []string{"client", "server"} {
				shown := false
				for line := range strings.Lines(short) {
					matches := strings.Contains(line, "handshake: tls::handshake "+role)
					for _, text := range c.short {
						matches = matches && strings.Contains(line, text)
					}
					shown = shown || matches
				}
				if !shown {
					t.Errorf("no line shows the %s with %q:\n%s", role, c.short, short)
				}
			}
		})
	}
}

// The client of the trace offers secp256r1 and x25519, and does not wait for its server:
// GnuTLS reports the offer as a separate operation.
func TestAnOfferedGroupIsNotShownAsNegotiated(t *testing.T) {
	needRecording(t)
	a := startAgent(t, setup{libraries: []string{publisher("libreplay.so")}})
	fired := publish(t, "replay", "--library", publisher("libreplay.so"), trace("gnutls-tls13-p256"))
	check(t, a, a.stop(t, patience), fired.done)
	if got := crauctl(t, "query", "--directory", a.log, "-o", "cat", "tls::group=x25519"); got != "" {
		t.Errorf("crauctl shows for x25519\n%s", got)
	}
	want := "tls::handshake server, TLS 1.3, secp256r1, ecdsa_secp256r1_sha256\ntls::handshake client, TLS 1.3, secp256r1, ecdsa_secp256r1_sha256\n"
	if got := crauctl(t, "query", "--directory", a.log, "-o", "cat", "tls::group=secp256r1"); got != want {
		t.Errorf("crauctl shows for secp256r1\n%swant\n%s", got, want)
	}
	if got := crauctl(t, "query", "--directory", a.log); !strings.Contains(got, "tls::handshake client\n├─ tls::key_exchange group=secp256r1\n") {
		t.Errorf("the offer is not in the tree:\n%s", got)
	}
}

func TestQueryShowsLosses(t *testing.T) {
	a := startAgent(t, setup{libraries: []string{publisher("hostile")}, config: `ring_size = "4K"`})
	publish(t, "hostile", "--flood", "--count", "20000")
	result := a.stop(t, patience)
	if result.lost[place{"kernel", "ring-full"}].events == 0 {
		t.Fatal("nothing was lost, so the test proves nothing")
	}
	if shown := crauctl(t, "query", "--directory", a.log); !strings.Contains(shown, "ring-full") {
		t.Errorf("the loss is not shown:\n%.2000s", shown)
	}
}

func TestTimesWithoutRecordingAreShownBetweenOperations(t *testing.T) {
	s := setup{libraries: []string{publisher("handshake")}, log: filepath.Join(t.TempDir(), "log")}
	shown := func() string { return crauctl(t, "query", "--directory", s.log, "-o", "cat") }
	record := func(operations int) *agent {
		a := startAgent(t, s)
		publish(t, "handshake")
		waitFor(t, "the handshake to appear", func() bool { return strings.Count(shown(), "tls::handshake") == operations })
		return a
	}
	record(2).stop(t, patience)
	second := record(4)
	second.command.Process.Kill()
	<-second.exited
	record(6).stop(t, patience)

	// A client and a server each time.
	const operation, stopped, killed = `tls::handshake .*\n`, `— not recorded from [-0-9 :]+ to [-0-9 :]+ \(agent was stopped\) —\n`, `— not recorded from [-0-9 :]+ to [-0-9 :]+ \(agent was killed\) —\n`
	want := regexp.MustCompile("^" + operation + operation + stopped + operation + operation + killed + operation + operation + "$")
	if got := shown(); !want.MatchString(got) {
		t.Errorf("crauctl shows:\n%s", got)
	}
	newest := regexp.MustCompile("^" + killed + operation + operation + "$")
	if got := crauctl(t, "query", "--directory", s.log, "-o", "cat", "-n", "2"); !newest.MatchString(got) {
		t.Errorf("crauctl shows for the newest two operations:\n%s", got)
	}
	for _, command := range []string{"log-info", "verify"} {
		if got := crauctl(t, command, "--directory", s.log); !strings.Contains(got, "2 times without recording:\n  not recorded from ") {
			t.Errorf("%s does not list the times without recording:\n%s", command, got)
		}
	}
}

func TestQueryReadsTheLogWhileItGrows(t *testing.T) {
	a := startAgent(t, setup{libraries: []string{publisher("handshake")}})
	fired := publish(t, "handshake", "--count", "2").done
	query := func() int {
		return strings.Count(crauctl(t, "query", "--directory", a.log, "-o", "json", "--executable", "handshake"), "\n")
	}
	waitFor(t, "the handshakes to appear", func() bool { return query() == 4 })
	fired.add(publish(t, "handshake").done)
	waitFor(t, "one more handshake to appear", func() bool { return query() == 6 })
	check(t, a, a.stop(t, patience), fired)
}

func TestZstdDecompressesTheLogToASequence(t *testing.T) {
	needRecording(t)
	needCommand(t, "zstd")
	a := startAgent(t, setup{libraries: []string{publisher("libreplay.so")}})
	fired := publish(t, "replay", "--library", publisher("libreplay.so"), "--count", "50", "--fresh-ids", trace("gnutls-tls13-p256"))
	log := check(t, a, a.stop(t, patience), fired.done)
	plain, err := exec.Command("zstd", append([]string{"-dc"}, segments(t, a.log)...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(decode(t, "the output of zstd", plain)); n != len(log) {
		t.Errorf("the output of zstd has %d entries, want %d", n, len(log))
	}
	if !bytes.Equal(plain, readable(t, a.log)) {
		t.Error("zstd and the library decompress the log differently")
	}
}

// crauctl skips a dangling link with the name of the newest segment, without a busy loop.
func TestQueryOfADanglingLinkWaitsAndEndsBySIGTERM(t *testing.T) {
	needRecording(t)
	log := copy010(t)
	if err := os.Symlink("nothing", filepath.Join(log, "audit-4000000000000000.cborseq.zst")); err != nil {
		t.Fatal(err)
	}
	text, err := exec.Command(program("crauctl"), "query", "--directory", log, "-o", "cat").CombinedOutput()
	var failed *exec.ExitError
	if !errors.As(err, &failed) || failed.ExitCode() != 1 || !strings.Contains(string(text), "dangling symbolic link") {
		t.Errorf("crauctl query: %v\n%s", err, text)
	}
	var stdout machine.Output
	command := exec.Command(program("crauctl"), "query", "--follow", "--directory", log, "-o", "cat")
	command.Stdout = &stdout
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	t.Cleanup(func() { _ = command.Process.Kill() })
	// A busy loop is never found asleep so many times in a row.
	const checks = 50
	asleepInARow := 0
	waitFor(t, "crauctl to show the log and to wait for more", func() bool {
		if asleepInARow++; !strings.Contains(stdout.String(), "tls::") || !asleep(command.Process.Pid) {
			asleepInARow = 0
		}
		return asleepInARow == checks
	})
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(patience):
		t.Errorf("crauctl still runs %v after SIGTERM", patience)
	}
}

// asleep reports whether all threads of a process sleep (proc_pid_stat(5)).
func asleep(pid int) bool {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		_, state, ok := strings.Cut(string(text), ") ")
		if err == nil && ok && state[0] != 'S' {
			return false
		}
	}
	return err == nil && len(stats) > 0
}
