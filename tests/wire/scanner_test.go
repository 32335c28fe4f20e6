// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// suiteNumbers returns the numbers of OpenSSL's suites.
func suiteNumbers(t *testing.T) map[string]int {
	t.Helper()
	numbers := map[string]int{}
	for _, m := range regexp.MustCompile(`0x(\w\w),0x(\w\w) - (\S+)`).FindAllStringSubmatch(output(t, "", "openssl", "ciphers", "-V", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"), -1) {
		n, err := strconv.ParseInt(m[1]+m[2], 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		numbers[m[3]] = int(n)
	}
	return numbers
}

// agreed has the parameters that two ends agreed on: registered numbers, and the bits of a
// group without a number.
type agreed struct{ version, suite, group, bits int }

// agreements returns the parameters of the operations of an executable, with the results.
func (a *agent) agreements(t *testing.T, executable string) map[agreed]string {
	t.Helper()
	all := map[agreed]string{}
	number := func(events map[string]any, key string) int {
		n, _ := events[key].(float64)
		return int(n)
	}
	for _, o := range a.query(t, executable) {
		result, _ := o.Events["tls::result"].(string)
		v := agreed{version: number(o.Events, "tls::protocol_version"), suite: number(o.Events, "tls::ciphersuite")}
		for _, s := range o.Spans {
			if s.Events["name"] == "tls::key_exchange" {
				v.group, v.bits = number(s.Events, "tls::group"), number(s.Events, "pk::bits")
			}
		}
		if all[v] == "" || result != "unknown" {
			all[v] = result
		}
	}
	return all
}

// A scanner makes a handshake for each suite and group that it and the server have, with
// every version.
func TestAllHandshakesOfAScannerAreRecorded(t *testing.T) {
	need(t, "sslscan")
	a := startAgent(t)
	c := &tools{t.TempDir()}
	scanner := c.copied(t, "sslscan")
	o := opensslPeer(t, c)
	port := freePort(t)
	listening(t, port, o.serve(t, port, "-www", "-cipher", "ALL:@SECLEVEL=0"))
	printed := output(t, "", scanner, "--no-colour", "127.0.0.1:"+port)
	numbers := suiteNumbers(t)
	want := map[agreed]string{}
	for _, m := range regexp.MustCompile(`(?m)^(?:Preferred|Accepted)\s+TLSv1\.(\d)\s+\d+ bits\s+(\S+)\s*(?:Curve (\S+) DHE \d+|DHE (\d+) bits)?`).FindAllStringSubmatch(printed, -1) {
		v := agreed{suite: numbers[m[2]]}
		if v.suite == 0 {
			t.Fatalf("the suite of %q is not known", m[0])
		}
		minor, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		v.version = 0x301 + minor
		switch m[3] {
		case "":
			v.bits, _ = strconv.Atoi(m[4])
		case "25519":
			v.group = 29
		case "P-256":
			v.group = 23
		default:
			t.Fatalf("the group of %q is not known", m[0])
		}
		want[v] = m[0]
	}
	const atLeast = 60
	if len(want) < atLeast {
		t.Fatalf("the scanner found %d suites:\n%s", len(want), printed)
	}
	for _, executable := range []string{"wt-sslscan", "wt-openssl"} {
		var missing []string
		waitFor(t, executable+" is recorded with all suites", func() bool {
			got := a.agreements(t, executable)
			missing = nil
			for v, line := range want {
				if result := got[v]; result != "completed" && result != "inferred" {
					missing = append(missing, fmt.Sprintf("%+v: %s: %q", v, line, result))
				}
			}
			return len(missing) == 0
		}, func() string { return strings.Join(missing, "\n") })
	}
	t.Logf("%d suites of TLS 1.0 to 1.3", len(want))
}
