// SPDX-License-Identifier: Apache-2.0

package policycheck

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/inventory/row"
)

// at returns a time of the tests by its hour.
func at(hour int) time.Time { return time.Date(2026, 11, 30, hour, 0, 0, 0, time.UTC) }

func used(program string, count, failures uint64, last int, use row.Use) row.Row {
	use.Executable = program
	return row.Row{Use: use, Count: count, Failures: failures, First: at(0), Last: at(last)}
}

func TestProgramsWithDeniedOperationsComeFirst(t *testing.T) {
	denied := older(func(u *row.Use) { u.Version = "TLS 1.0" })
	unknown := handshake(func(u *row.Use) { u.PeerSignature = "" })
	allowed := handshake(func(*row.Use) {})
	served := handshake(func(u *row.Use) { u.Role, u.Signature = "server", u.PeerSignature })
	o := &observed.Observed{Uses: []row.Row{
		used("allowed", 1, 0, 3, allowed),
		used("both", 7, 2, 4, allowed),
		used("both", 3, 1, 9, denied),
		used("both", 2, 0, 5, unknown),
		used("both", 9, 0, 8, served),
		used("denied", 1, 0, 2, denied),
		used("failed", 4, 4, 1, denied),
		used("other", 6, 0, 1, signature(func(*row.Use) {})),
		used("unknown", 1, 0, 1, unknown),
	}}
	o.Coverage.Lost = map[string]uint64{"ring": 1}
	r := Check(load(t, "FUTURE"), o)
	var got []string
	for i := range r.Programs {
		p := &r.Programs[i]
		line := fmt.Sprintf("%s %s %d/%d/%d/%d seen %d", p.Executable, p.Verdict, p.Allowed, p.Denied, p.Undecidable, p.NotCovered, p.LastSeen.Hour())
		if p.LastDenied != nil {
			line += fmt.Sprintf(" denied %d", p.LastDenied.Hour())
		}
		for _, u := range p.Uses {
			line += fmt.Sprintf(", %s %d also %d", u.Verdict, u.Operations, u.AlsoAllowed)
		}
		got = append(got, line)
	}
	want := []string{
		"both denied 14/2/2/0 seen 9 denied 9, denied 2 also 5, undecidable 2 also 5",
		"denied denied 0/1/0/0 seen 2 denied 2, denied 1 also 0",
		"unknown undecidable 0/0/1/0 seen 1, undecidable 1 also 0",
		"allowed allowed 1/0/0/0 seen 3",
		"other not_covered 0/0/0/6 seen 1",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if r.Totals != (Counts{Allowed: 15, Denied: 3, Undecidable: 3, NotCovered: 6}) || r.Policy != "FUTURE" || r.Coverage.Lost["ring"] != 1 {
		t.Errorf("the totals are %+v, the policy is %s, the coverage %+v", r.Totals, r.Policy, r.Coverage)
	}
}

func TestWithoutObservationsNothingIsCovered(t *testing.T) {
	r := Check(load(t, "FUTURE"), &observed.Observed{})
	if len(r.Programs) != 0 || r.Totals.Verdict() != NotCovered {
		t.Errorf("got %+v", r)
	}
}

func FuzzJudge(f *testing.F) {
	f.Add("libssl.so.3", "TLS 1.2", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "x25519", "rsa_pkcs1_sha256", "RSA", 2048)
	f.Add("libssh.so.4", "", "gss-gex-sha1-x", "aes128-ctr", "ssh-rsa-cert-v01@openssh.com", "hmac-sha1", 1024)
	policies := []string{"FUTURE", "EVERYTHING", "OLD", "UNSET"}
	f.Fuzz(func(t *testing.T, library, version, suite, group, scheme, algorithm string, bits int) {
		for _, operation := range []string{row.TLSHandshake, row.SSHHandshake, row.Sign, row.Verify} {
			use := row.Use{Library: library, Operation: operation, Role: "server", Parameters: row.Parameters{
				Version: version, Suite: suite, Group: group, Signature: scheme, Algorithm: algorithm, Bits: bits, Hash: group,
				Kex: suite, HostKey: scheme, CipherOut: group, CipherIn: group, MACOut: algorithm,
			}}
			for _, p := range policies {
				r := Check(load(t, p), &observed.Observed{Uses: []row.Row{{Use: use, Count: 1}}})
				if n := r.Totals; n.Allowed+n.Denied+n.Undecidable+n.NotCovered != 1 {
					t.Fatalf("the totals are %+v", n)
				}
			}
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	policy := load(b, "FUTURE")
	o := &observed.Observed{}
	for i := range 1000 {
		o.Uses = append(o.Uses, used(fmt.Sprint("program", i%50), 1, 0, 1, older(func(u *row.Use) { u.Library, u.Bits = "", i })))
	}
	for b.Loop() {
		Check(policy, o)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/use")
}
