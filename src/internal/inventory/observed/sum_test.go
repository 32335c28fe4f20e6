// SPDX-License-Identifier: Apache-2.0

package observed_test

import (
	"reflect"
	"testing"
	"time"

	"crypto-auditing/src/internal/inventory/coverage"
	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/inventory/row"
)

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

// hour returns a row of one hour.
func hour(start string, count uint64, use row.Use) *row.Row {
	return &row.Row{Start: at(start), Length: time.Hour, Use: use, Count: count, First: at(start), Last: at(start).Add(time.Minute)}
}

func TestWeeksBeginOnMonday(t *testing.T) {
	for in, want := range map[string]string{
		"2026-11-30T00:00:00Z":      "2026-11-30T00:00:00Z",
		"2026-12-06T23:59:59Z":      "2026-11-30T00:00:00Z",
		"2027-01-01T12:00:00Z":      "2026-12-28T00:00:00Z",
		"2026-11-30T00:30:00+01:00": "2026-11-23T00:00:00Z",
	} {
		if got := observed.Week(at(in)); !got.Equal(at(want)) {
			t.Errorf("the week of %s begins %s, want %s", in, got, want)
		}
	}
}

func TestRowsAddUpByUseAndByWeek(t *testing.T) {
	curl := row.Use{Executable: "curl", Source: "usdt", Operation: row.TLSHandshake, LibraryID: "12", Library: "libssl.so.3", Parameters: row.Parameters{
		Version: "TLS 1.3", Group: "x25519", PeerSignature: "ed25519",
	}}
	bare := row.Use{Executable: "curl", Operation: row.TLSHandshake, Source: "wire", Parameters: row.Parameters{Version: "TLS 1.3", Group: "x25519"}}
	sign := row.Use{Executable: "signer", Operation: row.Sign, LibraryID: "12", Library: "libssl.so.3"}
	s := observed.NewSum()
	s.Add(hour("2026-11-29T23:00:00Z", 1, curl))
	s.Add(hour("2026-11-30T00:00:00Z", 2, curl))
	s.Add(hour("2026-11-30T05:00:00Z", 4, bare))
	s.Add(hour("2026-11-30T05:00:00Z", 8, sign))
	from, to := at("2026-11-29T00:00:00Z"), at("2026-12-01T00:00:00Z")
	o := s.Observed(from, to)

	if len(o.Uses) != 3 || o.Uses[0].Use != curl || o.Uses[1].Use != bare || o.Uses[2].Use != sign {
		t.Fatalf("uses are %+v", o.Uses)
	}
	sum := o.Uses[0]
	if sum.Count != 3 || !sum.First.Equal(at("2026-11-29T23:00:00Z")) || !sum.Last.Equal(at("2026-11-30T00:01:00Z")) ||
		!sum.Start.Equal(from) || sum.Length != 48*time.Hour {
		t.Errorf("the sum of a use is %+v", sum)
	}
	if len(o.Weeks) != 2 || o.Weeks[0].Count != 1 || o.Weeks[1].Count != 6 || o.Weeks[1].Executable != "" ||
		!o.Weeks[1].Start.Equal(at("2026-11-30T00:00:00Z")) || o.Weeks[1].PeerSignature != "" || o.Weeks[1].Group != "x25519" {
		t.Errorf("weeks are %+v", o.Weeks)
	}
	if want := []coverage.Program{{Executable: "curl", Handshakes: 7, KeyExchange: 7, Authentication: 3, Socket: 4}, {Executable: "signer"}}; !reflect.DeepEqual(o.Coverage.Programs, want) {
		t.Errorf("programs are %+v, want %+v", o.Coverage.Programs, want)
	}
	if want := []coverage.Library{{ID: "12", Name: "libssl.so.3", Operations: 11}}; !reflect.DeepEqual(o.Coverage.Libraries, want) {
		t.Errorf("libraries are %+v, want %+v", o.Coverage.Libraries, want)
	}
}
