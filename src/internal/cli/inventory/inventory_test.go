// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/inventory/coverage"
	"crypto-auditing/src/internal/inventory/row"
)

func at(day, hour int) time.Time { return time.Date(2026, 11, day, hour, 30, 0, 0, time.UTC) }

// use is a row of a program.
func use(program, unit, operation string, count uint64, p row.Parameters) row.Row {
	r := row.Row{Count: count, First: at(1, 10), Last: at(20, 10)}
	r.Executable, r.Unit, r.Operation, r.Source, r.Parameters = program, unit, operation, "wire", p
	return r
}

func sample() *listing {
	hybrid := use("curl", "", row.TLSHandshake, 1204, row.Parameters{
		Version: "TLS 1.3", Suite: "TLS_AES_256_GCM_SHA384", Group: "X25519MLKEM768", PeerSignature: "rsa_pss_rsae_sha256", Transport: "tcp",
	})
	hybrid.Role, hybrid.Failures, hybrid.Source, hybrid.Library, hybrid.Last = "client", 3, "usdt", "libssl.so.3", at(30, 10)
	quic := use("curl", "", row.TLSHandshake, 2, row.Parameters{Version: "TLS 1.3", Suite: "TLS_CHACHA20_POLY1305_SHA256", Group: "x25519", Transport: "quic", Resumed: "yes"})
	quic.Role, quic.Relays = "client", 1
	old := use("nginx", `nginx\x2d1.service`, row.TLSHandshake, 7, row.Parameters{
		Version: "TLS 1.2", Suite: "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", Group: "secp256r1", Signature: "rsa_pkcs1_sha256",
		Algorithm: "RSA", Bits: 2048, ExtendedSecret: "no",
	})
	old.Role = "server"
	ssh := use("ssh", "", row.SSHHandshake, 5, row.Parameters{
		Kex: "mlkem768x25519-sha256", HostKey: "ssh-ed25519", CipherOut: "chacha20-poly1305@openssh.com", CipherIn: "aes128-ctr", MACIn: "hmac-sha2-256",
	})
	ssh.Role = "client"
	sign := use("\x1b[31mevil", "", row.Sign, 1234567, row.Parameters{Algorithm: "RSA", Bits: 2048, Hash: "SHA-1", Padding: "PKCS1"})
	inside := use("nginx", `nginx\x2d1.service`, row.Sign, 7, row.Parameters{Algorithm: "ECDSA", Curve: "secp256r1", Bits: 256, Hash: "SHA-256"})
	inside.Within = row.TLSHandshake
	return &listing{
		rows: []row.Row{ssh, inside, hybrid, old, sign, quic}, fields: keys(), location: time.UTC, width: 80,
		coverage: &coverage.Coverage{
			From: at(1, 0), To: at(30, 12), Missing: 1,
			Down: []coverage.Span{{From: at(2, 0), To: at(2, 3)}, {From: at(4, 0), To: at(4, 1)}, {From: at(5, 0), To: at(9, 1), Library: "libssl.so.3"}, {From: at(6, 0), To: at(6, 1), Library: "libssl.so.3"}},
			Lost: map[string]uint64{"ring-full": 1200, "agent-overload": 2},
		},
	}
}

func TestTheInventoryIsATableOf80Columns(t *testing.T) {
	var out strings.Builder
	if err := writeInventory(&out, sample()); err != nil {
		t.Fatal(err)
	}
	want := `Recorded from 2026-11-01 00:30:00 to 2026-11-30 12:30:00. Not recorded in this
time: 4h0m0s. Not recorded for some of it: libssl.so.3. Lost events: 2
(agent-overload), 1,200 (ring-full). Removed or damaged before they were
counted: 1 entry.

     COUNT  LAST              OPERATION
\x1b[31mevil
 1,234,567  2026-11-20 10:30  pk::sign: RSA 2048 PKCS1 SHA-1 [wire]
curl
     1,204  2026-11-30 10:30  tls::handshake client: TLS 1.3, X25519MLKEM768,
                              TLS_AES_256_GCM_SHA384, peer rsa_pss_rsae_sha256,
                              3 failed [usdt, libssl.so.3]
         2  2026-11-20 10:30  tls::handshake client: TLS 1.3, x25519,
                              TLS_CHACHA20_POLY1305_SHA256, resumed, over quic,
                              1 may be of others, only passed on [wire]
nginx (nginx\x2d1.service)
         7  2026-11-20 10:30  pk::sign: ECDSA secp256r1 SHA-256,
                              in tls::handshake [wire]
         7  2026-11-20 10:30  tls::handshake server: TLS 1.2, secp256r1,
                              TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
                              own rsa_pkcs1_sha256, no extended master secret,
                              server key RSA 2048 [wire]
ssh
         5  2026-11-20 10:30  ssh::handshake client: mlkem768x25519-sha256,
                              host key ssh-ed25519,
                              to server chacha20-poly1305@openssh.com,
                              to client aes128-ctr, MAC to client hmac-sha2-256
                              [wire]
`
	if out.String() != want {
		t.Errorf("the table is\n%s\nwant\n%s", out.String(), want)
	}
	for line := range strings.Lines(out.String()) {
		if len(line) > 81 {
			t.Errorf("a line has %d columns: %s", len(line)-1, line)
		}
	}
}

func TestAnEmptyListingIsReported(t *testing.T) {
	for name, write := range map[string]func(*strings.Builder, *listing) error{
		"inventory": func(w *strings.Builder, l *listing) error { return writeInventory(w, l) },
		"summary":   func(w *strings.Builder, l *listing) error { return writeSummary(w, l) },
	} {
		var out strings.Builder
		if err := write(&out, &listing{coverage: &coverage.Coverage{}, location: time.UTC, width: 80}); err != nil || out.String() != "Nothing was recorded in this time.\n" {
			t.Errorf("%s: %q, error %v", name, out.String(), err)
		}
	}
}

func TestRowsAreObjectsWithTheKeysOfTheRegistry(t *testing.T) {
	var out strings.Builder
	if err := sample().json(&out, ""); err != nil {
		t.Fatal(err)
	}
	var lines []map[string]any
	for line := range strings.Lines(out.String()) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, object)
	}
	if len(lines) != 6 {
		t.Fatalf("got %d objects", len(lines))
	}
	for key, want := range map[string]any{
		"executable": "curl", "tls::group": "X25519MLKEM768", "tls::peer_signature_algorithm": "rsa_pss_rsae_sha256", "count": 1204.0, "failures": 3.0,
		"first": 1793529000.0, "last": 1796034600.0, "tls::signature_algorithm": nil, "pk::bits": nil, "library": "libssl.so.3",
	} {
		if lines[2][key] != want {
			t.Errorf("%s is %v, want %v", key, lines[2][key], want)
		}
	}
	if lines[4]["pk::bits"] != 2048.0 {
		t.Errorf("pk::bits is %v, want a number", lines[4]["pk::bits"])
	}
}

func TestRowsAreACSVTable(t *testing.T) {
	l := sample()
	l.rows[0].Executable = "=cmd|x"
	var out strings.Builder
	if err := l.csv(&out); err != nil {
		t.Fatal(err)
	}
	table, err := csv.NewReader(strings.NewReader(out.String())).ReadAll()
	if err != nil || len(table) != 7 {
		t.Fatalf("error %v, %d lines", err, len(table))
	}
	for column, want := range map[string]string{"executable": "'=cmd|x", "ssh::kex_algorithm": "mlkem768x25519-sha256", "count": "5", "first": "2026-11-01T10:30:00Z", "pk::bits": ""} {
		if got := table[1][slices.Index(table[0], column)]; got != want {
			t.Errorf("%s is %q, want %q", column, got, want)
		}
	}
}

func TestSummariesCountByKeys(t *testing.T) {
	for by, want := range map[string]string{
		"executable,tls::group": `EXECUTABLE  TLS::GROUP      COUNT  FAILED  FIRST       LAST
curl        X25519MLKEM768  1,204       3  2026-11-01  2026-11-30
nginx       secp256r1           7       0  2026-11-01  2026-11-20
curl        x25519              2       0  2026-11-01  2026-11-20
`,
		"operation": `OPERATION           COUNT  FAILED  FIRST       LAST
pk::sign        1,234,574       0  2026-11-01  2026-11-20
tls::handshake      1,213       3  2026-11-01  2026-11-30
ssh::handshake          5       0  2026-11-01  2026-11-20
`,
		"protocol_version,tls::peer_signature_algorithm,kex_algorithm": `TLS::PROTOCOL_VERSION  TLS::PEER_SIGNATURE_ALGORITHM  SSH::KEX_ALGORITHM     COUNT  FAILED  FIRST       LAST
TLS 1.3                rsa_pss_rsae_sha256            -                      1,204       3  2026-11-01  2026-11-30
TLS 1.2                -                              -                          7       0  2026-11-01  2026-11-20
-                      -                              mlkem768x25519-sha256      5       0  2026-11-01  2026-11-20
TLS 1.3                -                              -                          2       0  2026-11-01  2026-11-20
`,
		"pk::bits,hash": `PK::BITS  PK::HASH      COUNT  FIRST       LAST
2048      SHA-1     1,234,567  2026-11-01  2026-11-20
256       SHA-256           7  2026-11-01  2026-11-20
`,
	} {
		fields, err := keysNamed(strings.Split(by, ","))
		if err != nil {
			t.Fatal(err)
		}
		l := sample()
		if by == "pk::bits,hash" {
			l.rows = []row.Row{l.rows[1], l.rows[4]}
		}
		l.rows, l.fields = summarize(l.rows, fields), fields
		var out strings.Builder
		if err := writeSummary(&out, l); err != nil {
			t.Fatal(err)
		}
		if _, got, _ := strings.Cut(out.String(), "\n\n"); got != want {
			t.Errorf("by %s:\n%s\nwant\n%s", by, got, want)
		}
	}
}

func TestTimesOfOneDayAreShownAsTimes(t *testing.T) {
	l := sample()
	for i := range l.rows {
		l.rows[i].First, l.rows[i].Last = at(5, 1), at(5, 23)
	}
	if layout := l.timeLayout(); layout != time.TimeOnly {
		t.Errorf("the layout is %q", layout)
	}
	l.rows[3].Last = at(6, 0)
	if layout := l.timeLayout(); layout != time.DateOnly {
		t.Errorf("the layout is %q", layout)
	}
}

func TestUnknownKeysAreReportedWithTheNearestOne(t *testing.T) {
	for name, want := range map[string]string{"grop": `did you mean "group"?`, "tls::ciphersuit": `did you mean "tls::ciphersuite"?`, "xyz": `there is no key "xyz"`} {
		_, err := keysNamed([]string{"executable", name})
		if !errors.As(err, new(console.UsageError)) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %q", name, err, want)
		}
	}
	if _, err := keysNamed(nil); !errors.As(err, new(console.UsageError)) {
		t.Errorf("without keys, the error is %v", err)
	}
}

func TestKeysCompleteAfterAComma(t *testing.T) {
	words, _ := completeKeys("executable,")
	if !slices.Contains(words, "executable,tls::group\tgroup of the key exchange, or of a key") || slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(w, "executable,executable\t") }) {
		t.Errorf("completions are %q", words)
	}
}

// A new field needs a key, too.
func TestEveryFieldHasAKey(t *testing.T) {
	var named []string
	for _, k := range keys() {
		named = append(named, k.Name)
	}
	for _, f := range row.Fields() {
		if !slices.Contains(named, f.Name) {
			t.Errorf("the field %s has no key", f.Name)
		}
	}
}
