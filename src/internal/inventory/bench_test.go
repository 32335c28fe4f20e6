// SPDX-License-Identifier: Apache-2.0

package inventory_test

import (
	"database/sql"
	"fmt"
	"io"
	"testing"
	"time"

	"crypto-auditing/src/internal/inventory/counting"
	"crypto-auditing/src/internal/inventory/database"
	"crypto-auditing/src/internal/inventory/report"
	"crypto-auditing/src/internal/inventory/report/form"
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/inventory/rules"
)

// year returns a database with rows of a year: 500 a day, of 2,000 uses.
func year(b *testing.B) *database.Database {
	b.Helper()
	const days, rowsPerDay, uses = 365, 500, 2000
	groups := []string{"x25519", "X25519MLKEM768", "secp256r1", "ffdhe2048", ""}
	signatures := []string{"rsa_pss_rsae_sha256", "ecdsa_secp256r1_sha256", "mldsa65", ""}
	begin := time.Date(2025, 12, 1, 0, 0, 0, 0, time.UTC)
	counts := &counting.Counts{Begin: begin, End: begin.AddDate(0, 0, days)}
	for day := range days {
		for i := range rowsPerDay {
			n := (day*rowsPerDay + i*7) % uses
			at := begin.AddDate(0, 0, day)
			counts.Rows = append(counts.Rows, row.Row{
				Start: at, Length: 24 * time.Hour, Count: uint64(n%100 + 1), First: at.Add(time.Second), Last: at.Add(23 * time.Hour),
				Use: row.Use{
					Executable: fmt.Sprintf("program-%d", n%100), Unit: fmt.Sprintf("unit-%d.service", n%50), Source: "wire", Operation: row.TLSHandshake, Role: "client",
					Parameters: row.Parameters{
						Version: "TLS 1.3", Suite: "TLS_AES_128_GCM_SHA256", Group: groups[n/100%len(groups)], PeerSignature: signatures[n/500%len(signatures)],
						Bits: n,
					},
				},
			})
		}
	}
	d, err := database.Open(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { d.Close() })
	if err := d.Store(b.Context(), counts, nil, database.State{}); err != nil {
		b.Fatal(err)
	}
	return d
}

// BenchmarkReport compares a report in text over a year of rows with the aggregate of the same rows by SQL.
func BenchmarkReport(b *testing.B) {
	d := year(b)
	raw, err := sql.Open("sqlite", "file:"+d.Path()+"?mode=ro")
	if err != nil {
		b.Fatal(err)
	}
	defer raw.Close()
	b.Run("sql", func(b *testing.B) {
		for b.Loop() {
			rows, err := raw.QueryContext(b.Context(), "SELECT use, sum(count), sum(failures), min(first), max(last) FROM counts GROUP BY use")
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			for ; rows.Next(); n++ {
				var use, count, failures, first, last int64
				if err := rows.Scan(&use, &count, &failures, &first, &last); err != nil {
					b.Fatal(err)
				}
			}
			if err := rows.Err(); err != nil || n == 0 {
				b.Fatalf("%d uses, error %v", n, err)
			}
		}
	})
	b.Run("report", func(b *testing.B) {
		set, err := rules.Load()
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			o, err := d.Observed(b.Context(), database.Filter{})
			if err != nil {
				b.Fatal(err)
			}
			r := report.Make(o, report.Options{Rules: set, Profiles: []string{rules.AllProfiles}, Now: time.Now(), Tool: "benchmark"})
			if err := form.Text(io.Discard, r, form.Style{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
