// SPDX-License-Identifier: Apache-2.0

// Package reporttest has observations for tests of reports.
package reporttest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"crypto-auditing/src/internal/inventory/coverage"
	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/inventory/report"
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/inventory/rules"
)

// Now is the time of the reports.
func Now() time.Time { return time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC) }

// Use returns a row with times of the last days.
func Use(executable, unit, operation string, count uint64, last time.Time, p row.Parameters) row.Row {
	return row.Row{
		Start: Now().AddDate(0, 0, -28), Length: 28 * 24 * time.Hour,
		Use:   row.Use{Executable: executable, Unit: unit, Source: "wire", Operation: operation, Parameters: p},
		Count: count, First: last.Add(-30 * time.Hour), Last: last,
	}
}

// Handshake returns a TLS handshake of a client.
func Handshake(executable, unit string, count uint64, p row.Parameters) row.Row {
	r := Use(executable, unit, row.TLSHandshake, count, Now().Add(-90*time.Minute), p)
	r.Role = "client"
	return r
}

// Sample returns observations of a machine with all kinds of uses.
func Sample() *observed.Observed {
	hybrid := row.Parameters{Version: "TLS 1.3", Suite: "TLS_AES_128_GCM_SHA256", Group: "X25519MLKEM768", Transport: "tcp"}
	classical := row.Parameters{Version: "TLS 1.3", Suite: "TLS_AES_256_GCM_SHA384", Group: "x25519", Transport: "quic"}
	old := row.Parameters{Version: "TLS 1.0", Suite: "TLS_RSA_WITH_3DES_EDE_CBC_SHA", Algorithm: "RSA", Bits: 1024}
	post := row.Parameters{Version: "TLS 1.3", Suite: "TLS_AES_256_GCM_SHA384", Group: "SecP384r1MLKEM1024", PeerSignature: "mldsa87"}
	ssh := row.Parameters{
		Kex: "mlkem768x25519-sha256", HostKey: "ssh-ed25519", ClientKey: "rsa-sha2-512",
		CipherOut: "chacha20-poly1305@openssh.com", CipherIn: "chacha20-poly1305@openssh.com",
	}
	sign := Use("openssl", "user@1000.service", row.Sign, 3, Now().Add(-time.Hour), row.Parameters{Algorithm: "RSA", Bits: 2048, Hash: "SHA-1", Padding: "PKCS1"})
	sign.Source, sign.Library, sign.LibraryID = "function", "libcrypto.so.3", "00ff17"
	failed := Handshake("curl", "", 4, row.Parameters{Version: "TLS 1.2"})
	failed.Failures = 4
	server := Handshake("nginx", "nginx.service", 120456, hybrid)
	server.Role = "server"
	slow := Handshake("nginx", "nginx.service", 3210, classical)
	slow.Role = "server"
	week := func(days int, count uint64, p row.Parameters) row.Row {
		return row.Row{Start: time.Date(2026, 11, 9+days, 0, 0, 0, 0, time.UTC), Length: 7 * 24 * time.Hour, Use: row.Use{Operation: row.TLSHandshake, Parameters: p}, Count: count}
	}
	return &observed.Observed{
		Uses: []row.Row{
			Handshake("backup", "backup.service", 12, post),
			Handshake("curl", "", 1200, hybrid), failed,
			Handshake("erp-client", "erp.service", 77, old),
			server, slow, sign,
			Use("sshd", "ssh.service", row.SSHHandshake, 19, Now().Add(-5*time.Hour), ssh),
			Use("unzip\x1b[2J", "", row.Verify, 1, Now().Add(-50*time.Hour), row.Parameters{}),
		},
		Weeks: []row.Row{
			week(0, 900, classical), week(0, 100, hybrid),
			week(7, 400, classical), week(7, 500, hybrid), week(7, 100, row.Parameters{Version: "TLS 1.3"}),
			week(14, 1, classical), week(14, 4000, hybrid),
		},
		Coverage: coverage.Coverage{
			From: Now().AddDate(0, 0, -28), To: Now(),
			Down:    []coverage.Span{{From: Now().Add(-48 * time.Hour), To: Now().Add(-47 * time.Hour), Reason: "machine stopped"}},
			Lost:    map[string]uint64{"ring-full": 1200},
			Missing: 1, Sources: []string{"usdt", "wire", "function"},
			Libraries: []coverage.Library{{ID: "00ff17", Name: "libcrypto.so.3", Operations: 3}, {Name: "libgnutls.so.30"}},
			Programs: []coverage.Program{
				{Executable: "curl", Handshakes: 1204, KeyExchange: 1200, Socket: 1204},
				{Executable: "nginx", Unit: "nginx.service", Handshakes: 123666, KeyExchange: 123666, Socket: 123666, Relays: 7},
				{Executable: "sshd", Unit: "ssh.service", Handshakes: 19, KeyExchange: 19, Authentication: 19},
			},
			Unseen: []string{"Cryptography of the kernel: WireGuard, IPsec, LUKS, kTLS."},
			First:  17, Last: 424242, Chain: "ab12cd34",
		},
	}
}

// administrator are the administrator's statements about the sample.
const administrator = `
[[exceptions]]
rule = "ietf.rfc8996"
executable = "erp-client"
accepted_by = "J. Doe, head of IT"
until = 2027-03-31
why = "the vendor delivers TLS 1.2 in February"

[[exceptions]]
rule = "nist.*"
unit = "user@1000.service"
accepted_by = "J. Doe, head of IT"
until = 2026-06-30
why = "old release process"

[[purposes]]
executable = "nginx"
purpose = "the shop's web site"
`

// Options returns the options of a report with the administrator's statements, and with the default
// profiles if there are none.
func Options(t *testing.T, profiles ...string) report.Options {
	t.Helper()
	file := filepath.Join(t.TempDir(), "site.toml")
	if err := os.WriteFile(file, []byte(administrator), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := rules.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(profiles) == 0 {
		profiles = rules.DefaultProfiles()
	}
	set, err = set.Pick(profiles...)
	if err != nil {
		t.Fatal(err)
	}
	return report.Options{Rules: set, Profiles: profiles, Now: Now(), Tool: "crauctl 0.2.0", Policy: "DEFAULT:SHA1"}
}
