// SPDX-License-Identifier: Apache-2.0

//go:build vm

package guest

import (
	"flag"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// matrix selects the programs of the host whose handshakes are compared.
var matrix = flag.String("matrix", "core", "compare handshakes of the programs \"core\" or \"all\", or run the tests of tests/wire that match a `PATTERN`")

// The tests of tests/wire whose handshakes are compared with what programs report.
const (
	coreOfMatrix = "^(TestHandshakesOfTLSProgramsAreRecorded|TestHandshakesOfSSHAreRecorded|TestAGoProgramIsRecordedWithPostQuantumGroups)$" +
		"/^(OpenSSL.*|GnuTLS|curl|Python|by_default|RSA_and_counters|a_group_exchange|Dropbear)$"
	allOfMatrix = "^TestHandshakes(Of|Over|In).*AreRecorded(AtBothEnds)?$|UnusualHandshakes|PostQuantumGroups|EncryptedClientHello|ForwardedHandshakes|" +
		"ThroughATunnel|BeganInPlaintext|ThroughAProxy|OfAScanner"
)

// core returns the names of the tests that "core" and "all" must run.
func core() (names []string) {
	for test, programs := range map[string][]string{
		"TestHandshakesOfTLSProgramsAreRecorded": {
			"OpenSSL", "OpenSSL,_another_group", "OpenSSL,_a_client_certificate", "OpenSSL,_an_external_key", "OpenSSL,_TLS_1.2",
			"OpenSSL,_TLS_1.2_with_DHE", "OpenSSL,_TLS_1.2_with_static_RSA", "OpenSSL,_TLS_1.0", "GnuTLS", "curl", "Python",
		},
		"TestHandshakesOfSSHAreRecorded": {"by_default", "RSA_and_counters", "a_group_exchange", "Dropbear"},
	} {
		for _, program := range programs {
			names = append(names, test+"/"+program)
		}
	}
	return append(names, "TestAGoProgramIsRecordedWithPostQuantumGroups")
}

// Programs of the host run on this kernel, where the agent uses another front end than on the
// host. The results must be the same.
func TestHandshakesOfTheHostsProgramsAreRecorded(t *testing.T) {
	arguments := []string{
		"--mount", "--propagation", "private", "/opt/test/bin/host.sh", "/opt/test/wire", "../bin/wire",
		"-test.v", "-test.timeout", "3h", "-patience", "5m", "-programs", "/machine/opt/test/programs", "-front-end", "trampoline",
	}
	if *matrix != "core" {
		// Programs that compile code at run time execute memory that they have written.
		run(t, "setsebool", "allow_execmem=1", "allow_execstack=1", "allow_execmod=1")
	}
	switch *matrix {
	case "core":
		arguments = append(arguments, "-test.run", coreOfMatrix)
	case "all":
		arguments = append(arguments, "-test.run", allOfMatrix, "-everything")
	default:
		arguments = append(arguments, "-test.run", *matrix, "-everything")
	}
	// Only the agents of the tests must run.
	run(t, "systemctl", "stop", agentService, brokerService)
	command := exec.Command("unshare", arguments...)
	verdicts, output := map[string]string{}, map[string][]string{}
	verdict := regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+)`)
	current := regexp.MustCompile(`^=== (?:RUN|NAME|CONT)\s+(\S+)`)
	running := ""
	follow(t, command, func(line string) {
		if m := verdict.FindStringSubmatch(line); m != nil {
			verdicts[m[2]] = m[1]
		} else if m := current.FindStringSubmatch(line); m != nil {
			running = m[1]
		} else {
			output[running] = append(output[running], line)
		}
	})
	if len(verdicts) == 0 {
		t.Error("nothing was tested")
	}
	for _, name := range core() {
		if verdicts[name] == "" && (*matrix == "core" || *matrix == "all") {
			t.Errorf("%s was not tested", name)
		}
	}
	release := strings.TrimSpace(run(t, "uname", "-r"))
	for name, v := range verdicts {
		t.Run(release+"/trampoline/"+name, func(t *testing.T) {
			text := strings.Join(output[name], "\n")
			// The machine with the newer kernel has no such instruction.
			if v == "SKIP" && !old() && strings.Contains(text, "cmpxchg16b") {
				t.Skip(text)
			}
			if v != "PASS" {
				t.Errorf("%s\n%s", v, text)
			}
		})
	}
}
