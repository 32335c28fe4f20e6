// SPDX-License-Identifier: Apache-2.0

package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/inventory/counting"
	"crypto-auditing/src/internal/inventory/coverage"
	"crypto-auditing/src/internal/inventory/row"
)

func start(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

func open1(t testing.TB, directory string) *Database {
	t.Helper()
	d, err := Open(context.Background(), directory)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// curl and signer are uses for the tests.
var (
	curl = row.Use{Executable: "curl", Unit: "a.service", Operation: row.TLSHandshake, Source: "wire", Role: "client", Parameters: row.Parameters{
		Version: "TLS 1.3", Group: "x25519", Suite: "TLS_AES_128_GCM_SHA256",
	}}
	signer = row.Use{Executable: "signer", Operation: row.Sign, Source: "function", LibraryID: "12", Library: "libcrypto.so.3", Parameters: row.Parameters{
		Algorithm: "RSA", Bits: 2048, Hash: "SHA-1",
	}}
)

func hour(at string, count uint64, u row.Use) row.Row {
	t := start(at)
	return row.Row{Start: t, Length: time.Hour, Use: u, Count: count, Failures: count / 2, Relays: count / 3, First: t.Add(time.Minute), Last: t.Add(2 * time.Minute)}
}

// counts returns the counts of rows.
func counts(rows ...row.Row) *counting.Counts {
	c := &counting.Counts{Rows: rows}
	for _, r := range rows {
		if c.Begin.IsZero() || r.First.Before(c.Begin) {
			c.Begin = r.First
		}
		if r.Last.After(c.End) {
			c.End = r.Last
		}
	}
	return c
}

func store(t testing.TB, d *Database, c *counting.Counts, incomplete []row.Row, s State) {
	t.Helper()
	if err := d.Store(context.Background(), c, incomplete, s); err != nil {
		t.Fatal(err)
	}
}

// list returns all rows in pages.
func list(t testing.TB, d *Database, f Filter) (all []row.Row) {
	t.Helper()
	for after := ""; ; {
		page, next, err := d.List(context.Background(), f, after, 2)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page...)
		if next == "" {
			return all
		}
		after = next
	}
}

func TestStoredRowsAddUp(t *testing.T) {
	dir := t.TempDir()
	d := open1(t, dir)
	store(t, d, counts(hour("2026-11-30T10:00:00Z", 4, curl), hour("2026-11-30T10:00:00Z", 1, signer)), nil, State{Cursor: "a", Entry: 7, Counter: []byte{1}})
	later := hour("2026-11-30T10:00:00Z", 2, curl)
	later.First, later.Last = later.First.Add(-time.Second), later.Last.Add(time.Microsecond)
	store(t, d, counts(later, hour("2026-11-30T11:00:00Z", 5, curl)), nil, State{Cursor: "b", First: 3, Entry: 9, Counter: []byte{2}})
	d.Close()

	d = open1(t, dir)
	s, err := d.State(context.Background())
	if err != nil || !reflect.DeepEqual(s, State{Cursor: "b", First: 3, Entry: 9, Counter: []byte{2}}) {
		t.Errorf("the state is %+v, %v", s, err)
	}
	want := []row.Row{hour("2026-11-30T10:00:00Z", 6, curl), hour("2026-11-30T10:00:00Z", 1, signer), hour("2026-11-30T11:00:00Z", 5, curl)}
	want[0].First, want[0].Last, want[0].Relays = later.First, later.Last, 1
	if got := list(t, d, Filter{}); !reflect.DeepEqual(got, want) {
		t.Errorf("rows are\n%+v\nwant\n%+v", got, want)
	}
	store(t, d, counts(hour("2026-11-30T11:00:00Z", 1, signer)), nil, State{})
	if n := number(t, d, "SELECT count(*) FROM uses"); n != 2 {
		t.Errorf("%d uses are stored, want 2", n)
	}
	if units, err := d.Units(context.Background()); err != nil || !reflect.DeepEqual(units, []string{"a.service"}) {
		t.Errorf("units are %q, %v", units, err)
	}
}

func number(t testing.TB, d *Database, query string) (n int) {
	t.Helper()
	if err := d.db.QueryRow(query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestIncompleteRowsCountUntilReplaced(t *testing.T) {
	d := open1(t, t.TempDir())
	ctx := context.Background()
	pending := hour("2026-11-30T10:00:00Z", 1, curl)
	store(t, d, counts(hour("2026-11-30T10:00:00Z", 4, curl)), []row.Row{pending}, State{})
	if got := list(t, d, Filter{}); len(got) != 1 || got[0].Count != 5 {
		t.Errorf("rows are %+v, want one of 5 handshakes", got)
	}
	store(t, d, counts(pending), nil, State{})
	if got := list(t, d, Filter{}); len(got) != 1 || got[0].Count != 5 {
		t.Errorf("after they are complete, rows are %+v, want one of 5 handshakes", got)
	}
	store(t, d, counts(), []row.Row{pending}, State{Counter: []byte{1}})
	for range 2 {
		if err := d.Abandon(ctx); err != nil {
			t.Fatal(err)
		}
		if got := list(t, d, Filter{}); len(got) != 1 || got[0].Count != 6 {
			t.Errorf("after their counter was removed, rows are %+v, want one of 6 handshakes", got)
		}
	}
	if s, err := d.State(ctx); err != nil || s.Counter != nil {
		t.Errorf("the state is %+v, %v", s, err)
	}
}

func TestRowsAreSelectedByFieldsAndTimes(t *testing.T) {
	d := open1(t, t.TempDir())
	bare := curl
	bare.Executable = ""
	store(t, d, counts(hour("2026-11-30T10:00:00Z", 4, curl), hour("2026-11-30T11:00:00Z", 2, signer), hour("2026-11-30T12:00:00Z", 1, bare)), nil, State{})
	for name, c := range map[string]struct {
		filter Filter
		want   []uint64
	}{
		"no filter":                 {Filter{}, []uint64{4, 2, 1}},
		"a value":                   {Filter{Fields: map[string][]string{"executable": {"curl"}}}, []uint64{4}},
		"one of two values":         {Filter{Fields: map[string][]string{"executable": {"signer", "curl"}}}, []uint64{4, 2}},
		"a value not recorded":      {Filter{Fields: map[string][]string{"executable": {""}}}, []uint64{1}},
		"no values":                 {Filter{Fields: map[string][]string{"executable": nil}}, []uint64{4, 2, 1}},
		"a number":                  {Filter{Fields: map[string][]string{"bits": {"2048"}}}, []uint64{2}},
		"a number not recorded":     {Filter{Fields: map[string][]string{"bits": {""}, "group": {"x25519"}}}, []uint64{4, 1}},
		"two fields":                {Filter{Fields: map[string][]string{"executable": {"curl"}, "bits": {"2048"}}}, nil},
		"since the last operation":  {Filter{Since: start("2026-11-30T11:02:00Z")}, []uint64{2, 1}},
		"after the last operation":  {Filter{Since: start("2026-11-30T11:02:01Z")}, []uint64{1}},
		"until the first operation": {Filter{Until: start("2026-11-30T11:01:00Z")}, []uint64{4}},
		"a period":                  {Filter{Since: start("2026-11-30T10:30:00Z"), Until: start("2026-11-30T11:30:00Z")}, []uint64{2}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []uint64
			for _, r := range list(t, d, c.filter) {
				got = append(got, r.Count)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("counts are %v, want %v", got, c.want)
			}
		})
	}
	for name, f := range map[string]Filter{
		"an unknown field": {Fields: map[string][]string{"kernel": {"a"}}},
		"a bad number":     {Fields: map[string][]string{"bits": {"many"}}},
	} {
		if _, _, err := d.List(context.Background(), f, "", 10); !errors.As(err, new(*FilterError)) {
			t.Errorf("%s: the error of List is %v", name, err)
		}
		if _, err := d.Summarize(context.Background(), nil, f); !errors.As(err, new(*FilterError)) {
			t.Errorf("%s: the error of Summarize is %v", name, err)
		}
	}
	if _, _, err := d.List(context.Background(), Filter{}, "x", 10); !errors.As(err, new(*FilterError)) {
		t.Errorf("the error for a bad position is %v", err)
	}
}

func TestRowsAreSummarized(t *testing.T) {
	d := open1(t, t.TempDir())
	other := curl
	other.Version, other.Executable = "TLS 1.2", "wget"
	store(t, d, counts(
		hour("2026-11-29T23:00:00Z", 1, curl), hour("2026-11-30T10:00:00Z", 4, curl), hour("2026-12-01T11:00:00Z", 2, other), hour("2026-12-07T11:00:00Z", 8, curl),
	), []row.Row{hour("2026-12-07T11:00:00Z", 16, signer)}, State{})
	for name, c := range map[string]struct {
		by   []string
		want []string
	}{
		"nothing":             {nil, []string{"0001-01-01  0 31"}},
		"programs":            {[]string{"executable"}, []string{"0001-01-01 curl 0 13", "0001-01-01 signer 0 16", "0001-01-01 wget 0 2"}},
		"a number":            {[]string{"bits"}, []string{"0001-01-01  0 15", "0001-01-01  2048 16"}},
		"weeks":               {[]string{ByWeek}, []string{"2026-11-23  0 1", "2026-11-30  0 6", "2026-12-07  0 24"}},
		"programs and a week": {[]string{"executable", ByWeek}, []string{"2026-11-23 curl 0 1", "2026-11-30 curl 0 4", "2026-11-30 wget 0 2", "2026-12-07 curl 0 8", "2026-12-07 signer 0 16"}},
		"days":                {[]string{ByDay}, []string{"2026-11-29  0 1", "2026-11-30  0 4", "2026-12-01  0 2", "2026-12-07  0 24"}},
	} {
		t.Run(name, func(t *testing.T) {
			rows, err := d.Summarize(context.Background(), c.by, Filter{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range rows {
				got = append(got, fmt.Sprint(r.Start.Format(time.DateOnly), " ", r.Executable, " ", r.Bits, " ", r.Count))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("sums are %q, want %q", got, c.want)
			}
		})
	}
	if _, err := d.Summarize(context.Background(), []string{"kernel"}, Filter{}); !errors.As(err, new(*FilterError)) {
		t.Errorf("the error for an unknown field is %v", err)
	}
	if rows, err := d.Summarize(context.Background(), nil, Filter{Since: start("2030-01-01T00:00:00Z")}); err != nil || len(rows) != 0 {
		t.Errorf("the sums of nothing are %+v, %v", rows, err)
	}
}

func TestObservedHasSumsWeeksAndCoverage(t *testing.T) {
	d := open1(t, t.TempDir())
	ctx := context.Background()
	c := counts(hour("2026-11-29T23:00:00Z", 1, curl), hour("2026-11-30T10:00:00Z", 4, curl), hour("2026-12-01T10:00:00Z", 2, signer))
	down := coverage.Span{From: start("2026-11-30T02:00:00Z"), To: start("2026-11-30T03:00:00Z"), Reason: "agent-killed"}
	old := coverage.Span{From: start("2026-11-20T02:00:00Z"), To: start("2026-11-20T03:00:00Z"), Reason: "library-replaced", Library: "libssl.so.3"}
	c.Down = []coverage.Span{down, old}
	c.Lost = []counting.Lost{{Hour: start("2026-11-30T02:00:00Z"), Reason: "ring-full", Number: 5}, {Hour: start("2026-11-20T02:00:00Z"), Reason: "oversize", Number: 6}}
	c.Missing = []counting.Lost{{Hour: start("2026-11-30T02:00:00Z"), Number: 7}}
	store(t, d, c, []row.Row{hour("2026-12-01T10:00:00Z", 16, curl)}, State{Entry: 99})
	more := counts()
	more.Down, more.Lost, more.Missing = c.Down, c.Lost[:1], c.Missing
	store(t, d, more, []row.Row{hour("2026-12-01T10:00:00Z", 16, curl)}, State{Entry: 99})

	o, err := d.Observed(ctx, Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Uses) != 2 || o.Uses[0].Use != curl || o.Uses[0].Count != 21 || o.Uses[1].Count != 2 {
		t.Errorf("uses are %+v", o.Uses)
	}
	if len(o.Weeks) != 2 || o.Weeks[0].Count != 1 || o.Weeks[1].Count != 20 || !o.Weeks[1].Start.Equal(start("2026-11-30T00:00:00Z")) {
		t.Errorf("weeks are %+v", o.Weeks)
	}
	cover := &o.Coverage
	if !reflect.DeepEqual(cover.Down, []coverage.Span{old, down}) || !reflect.DeepEqual(cover.Lost, map[string]uint64{"ring-full": 10, "oversize": 6}) ||
		cover.Missing != 14 || cover.Last != 99 || !cover.From.Equal(start("2026-11-29T23:01:00Z")) || !cover.To.Equal(start("2026-12-01T10:02:00Z")) {
		t.Errorf("the coverage is %+v", cover)
	}
	if len(cover.Programs) != 2 || cover.Programs[0].Handshakes != 21 || cover.Programs[0].KeyExchange != 21 || len(cover.Libraries) != 1 {
		t.Errorf("programs are %+v, libraries %+v", cover.Programs, cover.Libraries)
	}

	since := start("2026-11-30T00:00:00Z")
	o, err = d.Observed(ctx, Filter{Since: since, Until: start("2026-12-01T00:00:00Z")})
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Uses) != 1 || o.Uses[0].Count != 4 || len(o.Weeks) != 1 || len(o.Coverage.Down) != 1 || len(o.Coverage.Lost) != 1 || !o.Coverage.From.Equal(since) {
		t.Errorf("a day is %+v", o)
	}
	o, err = d.Observed(ctx, Filter{Since: start("2027-11-30T00:00:00Z")})
	if err != nil || !o.Coverage.Empty() || len(o.Uses) != 0 {
		t.Errorf("the next year is %+v, %v", o, err)
	}
	// The filter applies to weeks, too.
	for name, c := range map[string]struct {
		fields map[string][]string
		uses   int
		weeks  []uint64
	}{
		"a program":          {map[string][]string{"executable": {"curl", "nobody"}}, 1, []uint64{1, 20}},
		"without handshakes": {map[string][]string{"executable": {signer.Executable}}, 1, nil},
		"an unknown program": {map[string][]string{"executable": {"nobody"}}, 0, nil},
		"all":                {map[string][]string{"executable": {}, "unit": nil}, 2, []uint64{1, 20}},
		"an unknown unit":    {map[string][]string{"executable": {"curl"}, "unit": {"x.service"}}, 0, nil},
		"another field":      {map[string][]string{"operation": {curl.Operation}}, 1, []uint64{1, 20}},
		"without a unit":     {map[string][]string{"unit": {""}}, 1, nil},
	} {
		o, err := d.Observed(ctx, Filter{Fields: c.fields})
		if err != nil {
			t.Fatal(err)
		}
		var weeks []uint64
		for _, w := range o.Weeks {
			weeks = append(weeks, w.Count)
		}
		if len(o.Uses) != c.uses || len(o.Coverage.Programs) != c.uses || !reflect.DeepEqual(weeks, c.weeks) || o.Coverage.Missing != 14 {
			t.Errorf("%s: %d uses, %d programs, weeks %v, coverage %+v", name, len(o.Uses), len(o.Coverage.Programs), weeks, o.Coverage)
		}
	}
	if _, err := d.Observed(ctx, Filter{Fields: map[string][]string{"colour": {"red"}}}); !errors.As(err, new(*FilterError)) {
		t.Errorf("the error for an unknown field is %v", err)
	}
}

func TestOldHoursBecomeDaysAndTheOldestRowsAreDeleted(t *testing.T) {
	d := open1(t, t.TempDir())
	ctx := context.Background()
	now := start("2026-11-30T10:30:00Z")
	recent, old, ancient := "2026-10-26T00:00:00Z", "2026-10-25T23:00:00Z", "2021-11-29T10:00:00Z"
	c := counts(hour(recent, 1, curl), hour(old, 2, curl), hour("2026-10-25T01:00:00Z", 4, curl), hour(old, 3, signer), hour(ancient, 8, row.Use{Executable: "gone"}))
	c.Down = []coverage.Span{{From: start(ancient), To: start(ancient).Add(time.Hour), Reason: "agent-killed"}}
	c.Lost = []counting.Lost{{Hour: start(ancient), Reason: "ring-full", Number: 5}}
	store(t, d, c, nil, State{})
	maintain := func(now time.Time) {
		t.Helper()
		if err := d.Maintain(ctx, now, 5*365*day); err != nil {
			t.Fatal(err)
		}
	}
	maintain(now)
	want := []row.Row{hour("2026-10-25T00:00:00Z", 6, curl), hour("2026-10-25T00:00:00Z", 3, signer), hour(recent, 1, curl)}
	for i := range want[:2] {
		want[i].Length, want[i].First, want[i].Last = day, start(old).Add(time.Minute), start(old).Add(2*time.Minute)
	}
	want[0].First, want[0].Relays = start("2026-10-25T01:01:00Z"), 1
	if got := list(t, d, Filter{}); !reflect.DeepEqual(got, want) {
		t.Errorf("rows are\n%+v\nwant\n%+v", got, want)
	}
	if n := number(t, d, "SELECT count(*) FROM uses WHERE executable = 'gone'"); n != 0 {
		t.Error("a use without rows is kept")
	}
	o, err := d.Observed(ctx, Filter{})
	if err != nil || len(o.Coverage.Down) != 0 || len(o.Coverage.Lost) != 0 || !o.Coverage.From.Equal(now.Add(-5*365*day)) {
		t.Errorf("the coverage is %+v, %v", o.Coverage, err)
	}

	// Hours that are counted late are added to their day at the next maintenance.
	store(t, d, counts(hour(old, 10, curl)), nil, State{})
	maintain(now.Add(time.Hour))
	if n := number(t, d, "SELECT count(*) FROM counts WHERE length = 3600"); n != 2 {
		t.Errorf("within a day of the last maintenance there are %d rows of hours, want 2", n)
	}
	maintain(now.Add(day))
	got := list(t, d, Filter{Fields: map[string][]string{"executable": {"curl"}}})
	if len(got) != 2 || got[0].Count != 16 || got[1].Count != 1 || got[1].Length != day {
		t.Errorf("rows are %+v", got)
	}
}

func TestUsesBeyondTheLimitCountTogether(t *testing.T) {
	d := open1(t, t.TempDir())
	const maxUses = 50
	d.maxUses = maxUses
	var rows []row.Row
	for i := range maxUses + 5 {
		u := curl
		u.Executable = fmt.Sprint("program", i)
		if i > maxUses {
			u.Operation = fmt.Sprint("pk::invented", i)
		}
		rows = append(rows, hour("2026-11-30T10:00:00Z", 1, u))
	}
	for range 2 {
		store(t, d, counts(rows...), nil, State{})
		d.ids = nil // as after a restart
	}
	if n := number(t, d, "SELECT count(*) FROM uses"); n != maxUses+2 {
		t.Errorf("there are %d uses, want %d and two for all others", n, maxUses)
	}
	sums, err := d.Summarize(context.Background(), []string{"executable", "operation"}, Filter{Fields: map[string][]string{"executable": {Other}}})
	if err != nil || len(sums) != 2 || sums[0].Operation != Other || sums[0].Count != 8 || sums[1].Operation != row.TLSHandshake || sums[1].Count != 2 {
		t.Errorf("the other uses count as %+v, %v", sums, err)
	}
}

func TestADamagedFileIsRecognised(t *testing.T) {
	ctx := context.Background()
	for name, damage := range map[string]func([]byte) []byte{
		"another file":     func([]byte) []byte { return []byte(strings.Repeat("hello ", 3000)) },
		"a damaged header": func(b []byte) []byte { b[3] ^= 0xff; return b },
		"damaged pages": func(b []byte) []byte {
			for i := 4096; i < len(b); i++ {
				b[i] ^= 0x5a
			}
			return b
		},
		"a truncated file": func(b []byte) []byte { return b[:len(b)/2] },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d := open1(t, dir)
			var rows []row.Row
			for i := range 500 {
				u := curl
				u.Executable = fmt.Sprint("program", i)
				rows = append(rows, hour("2026-11-30T10:00:00Z", 1, u))
			}
			store(t, d, counts(rows...), nil, State{})
			d.Close()
			path := filepath.Join(dir, FileName)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(data), 0o600); err != nil {
				t.Fatal(err)
			}
			d, err = Open(ctx, dir)
			if err == nil {
				defer d.Close()
				err = d.Maintain(ctx, time.Now(), 0)
			}
			if !IsDamage(err) {
				t.Fatalf("the error is %v", err)
			}
			aside, err := SetAside(dir, start("2026-11-30T10:00:00Z"))
			if err != nil || filepath.Base(aside) != "inventory-damaged-20261130T100000.sqlite" {
				t.Fatalf("the file is set aside as %s, %v", aside, err)
			}
			if kept, err := os.ReadFile(aside); err != nil || len(kept) == 0 {
				t.Errorf("the file set aside has %d bytes, %v", len(kept), err)
			}
			if got := list(t, open1(t, dir), Filter{}); len(got) != 0 {
				t.Errorf("the new file has rows: %+v", got)
			}
			if second, err := SetAside(dir, start("2026-11-30T10:00:00Z")); err != nil || second == aside {
				t.Errorf("the second file is set aside as %s, %v", second, err)
			}
		})
	}
}

func TestADatabaseOfAnotherProgramIsNotUsed(t *testing.T) {
	dir := t.TempDir()
	db, err := sql.Open("sqlite", filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("PRAGMA application_id = 7; CREATE TABLE a (b)"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := Open(context.Background(), dir); !errors.Is(err, errForeign) || IsDamage(err) {
		t.Errorf("the error is %v", err)
	}
}

func TestTheSchemaIsUpgradedStepByStep(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	// A file of version 1, which had rows but no coverage.
	first, err := open(ctx, path, steps()[:1])
	if err != nil {
		t.Fatal(err)
	}
	w := writer{ctx: ctx, maxUses: maxUses}
	if err := transact(ctx, first.db, func(tx *sql.Tx) error {
		w.tx = tx
		return errors.Join(w.load(), w.rows("counts", []row.Row{hour("2026-11-30T10:00:00Z", 4, curl)}), w.exec("UPDATE state SET cursor = 'c'"))
	}); err != nil {
		t.Fatal(err)
	}
	first.Close()

	d := open1(t, dir)
	if n := number(t, d, "PRAGMA user_version"); n != len(steps()) {
		t.Errorf("the schema has version %d, want %d", n, len(steps()))
	}
	c := counts()
	c.Missing = []counting.Lost{{Hour: start("2026-11-30T10:00:00Z"), Number: 3}}
	if s, err := d.State(ctx); err != nil || s.Cursor != "c" {
		t.Errorf("the state is %+v, %v", s, err)
	}
	store(t, d, c, nil, State{})
	if o, err := d.Observed(ctx, Filter{}); err != nil || len(o.Uses) != 1 || o.Uses[0].Count != 4 || o.Coverage.Missing != 3 {
		t.Errorf("observed is %+v, %v", o, err)
	}
	d.Close()

	// A failed step changes nothing.
	bad := append(steps(), "CREATE TABLE further (a); INSERT INTO nowhere VALUES (1)")
	if _, err := open(ctx, path, bad); err == nil {
		t.Error("a failed step is not an error")
	}
	d = open1(t, dir)
	if n := number(t, d, "SELECT count(*) FROM sqlite_schema WHERE name = 'further'"); n != 0 {
		t.Error("part of the failed step was kept")
	}
	d.Close()

	if newer, err := open(ctx, path, append(steps(), "CREATE TABLE further (a)")); err != nil {
		t.Fatal(err)
	} else {
		newer.Close()
	}
	var of *NewerError
	if _, err := Open(ctx, dir); !errors.As(err, &of) || of.Version != len(steps())+1 {
		t.Errorf("the error for a newer version is %v", err)
	}
}

func TestTheTableOfUsesHasTheFieldsOfRows(t *testing.T) {
	d := open1(t, t.TempDir())
	var names []string
	if err := each(context.Background(), d.db, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		names = append(names, name)
		return err
	}, "SELECT name FROM pragma_table_info('uses')"); err != nil {
		t.Fatal(err)
	}
	want := []string{"id"}
	for _, f := range row.Fields() {
		want = append(want, f.Name)
	}
	if !slices.Equal(names, want) {
		t.Errorf("columns are %q, want %q", names, want)
	}
}

func TestRootReadsTheFileWithSQLite(t *testing.T) {
	tool, err := exec.LookPath("python3")
	if err != nil {
		if os.Geteuid() == 0 {
			t.Fatal("python3 is not installed: install it")
		}
		t.Skip("python3 is not installed")
	}
	dir := t.TempDir()
	d := open1(t, dir)
	store(t, d, counts(hour("2026-11-30T10:00:00Z", 4, curl)), []row.Row{hour("2026-11-30T10:00:00Z", 1, curl)}, State{})
	script := `import sqlite3, sys
db = sqlite3.connect("file:" + sys.argv[1] + "?mode=ro", uri=True)
for r in db.execute('SELECT period, hours, executable, version, "group", count, failures, first FROM inventory'): print(*r, sep="|")`
	out, err := exec.Command(tool, "-c", script, d.Path()).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if want := "2026-11-30 10:00:00|1|curl|TLS 1.3|x25519|5|2|2026-11-30 10:01:00\n"; string(out) != want {
		t.Errorf("the view inventory has %q, want %q", out, want)
	}
	if info, err := os.Stat(d.Path()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has the mode %v, %v", info.Mode(), err)
	}
	if left, err := filepath.Glob(d.Path() + "-*"); err != nil || len(left) > 0 {
		t.Errorf("the directory contains other files: %q, %v", left, err)
	}
}
