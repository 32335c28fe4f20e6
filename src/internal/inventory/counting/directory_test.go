// SPDX-License-Identifier: Apache-2.0

package counting_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/inventory/counting"
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/logstore"
)

// clock is a clock that a test sets.
type clock struct{ boot uint64 }

func (c *clock) Now() logstore.Moment { return logstore.Moment{Boot: c.boot, Offset: boot} }

// writeLog writes a log with one signature in each hour, and returns its directory.
func writeLog(t *testing.T, hours int) string {
	t.Helper()
	dir := t.TempDir()
	c := &clock{boot: uint64(time.Hour)}
	w, err := logstore.Open(context.Background(), dir, logstore.Options{
		EntryLen: event.Len, SegmentSize: 1 << 30, SyncInterval: -1, Clock: c,
		Metadata: func(now logstore.Moment) []byte {
			return event.AppendMetadata(nil, now.Offset/int64(time.Second), now.Boot)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	add := func(raw []byte, at uint64) {
		b := logstore.Batch{Entries: raw, First: at, Last: at, Events: 1}
		b.End()
		if event.MayBeMetadata(raw) {
			b.Notice = true
		}
		if _, err := w.Append(b); err != nil {
			t.Fatal(err)
		}
	}
	add(event.AppendLibrary(nil, &event.Library{Name: "libcrypto.so.3", BuildID: []byte("1")}, c.boot), c.boot)
	for n := range hours {
		c.boot = uint64(n+1) * uint64(time.Hour)
		g := groups("pk::sign .executable=signer .origin=1 pk::algorithm=RSA")[0]
		g.Context[9] = byte(n)
		g.Start, g.End = c.boot, c.boot
		add(event.Append(nil, &g), c.boot)
	}
	if _, err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestALogDirectoryIsCountedWithoutADatabase(t *testing.T) {
	dir := writeLog(t, 10)
	start := time.Unix(0, boot).UTC()
	for name, c := range map[string]struct {
		since, until time.Time
		want         uint64
	}{
		"all":            {want: 10},
		"from an hour":   {since: start.Add(4 * time.Hour), want: 7},
		"until an hour":  {until: start.Add(4 * time.Hour), want: 3},
		"of a period":    {since: start.Add(2 * time.Hour), until: start.Add(4 * time.Hour), want: 2},
		"after its end":  {since: start.Add(400 * time.Hour)},
		"before its end": {until: start},
	} {
		t.Run(name, func(t *testing.T) {
			var read, total uint64
			o, err := counting.Directory(context.Background(), dir, registry(t), counting.Selection{Since: c.since, Until: c.until}, func(done, of uint64) { read, total = done, of })
			if err != nil {
				t.Fatal(err)
			}
			if c.want == 0 {
				if len(o.Uses) != 0 {
					t.Errorf("uses are %+v", o.Uses)
				}
				return
			}
			if len(o.Uses) != 1 || o.Uses[0].Count != c.want || o.Uses[0].Executable != "signer" || o.Uses[0].Library != "libcrypto.so.3" {
				t.Errorf("uses are %+v, want %d signatures", o.Uses, c.want)
			}
			if read == 0 || read > total {
				t.Errorf("progress is %d of %d", read, total)
			}
			cover := &o.Coverage
			if cover.Empty() || len(cover.Chain) != 64 || cover.Last == 0 || cover.Missing != 0 {
				t.Errorf("its coverage is %+v", cover)
			}
			if !c.since.IsZero() && cover.From.Before(c.since) || !c.until.IsZero() && cover.To.After(c.until) {
				t.Errorf("its period is %s to %s", cover.From, cover.To)
			}
		})
	}
}

func TestOnlySelectedUsesAreObserved(t *testing.T) {
	dir := writeLog(t, 10)
	for program, want := range map[string]int{"signer": 1, "other": 0} {
		keep := func(u *row.Use) bool { return u.Executable == program }
		o, err := counting.Directory(context.Background(), dir, registry(t), counting.Selection{Keep: keep}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(o.Uses) != want || len(o.Coverage.Libraries) != want || o.Coverage.Empty() {
			t.Errorf("%s has %d uses, the coverage is %+v", program, len(o.Uses), o.Coverage)
		}
	}
}

func TestEntriesThatAreDamagedCountAsMissing(t *testing.T) {
	dir := writeLog(t, 10)
	files, err := filepath.Glob(filepath.Join(dir, "audit-*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 0xff
	if err := os.WriteFile(files[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := counting.Directory(context.Background(), dir, registry(t), counting.Selection{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Uses) != 1 || o.Coverage.Missing == 0 || o.Uses[0].Count+o.Coverage.Missing != 10 {
		t.Errorf("uses are %+v, missing are %d of 10", o.Uses, o.Coverage.Missing)
	}
}

func TestAMissingDirectoryIsAnError(t *testing.T) {
	_, err := counting.Directory(context.Background(), filepath.Join(t.TempDir(), "none"), registry(t), counting.Selection{}, nil)
	if err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("the error is %v", err)
	}
}

func TestEntriesOfAnySourceAreCounted(t *testing.T) {
	list := groups("pk::sign pk::algorithm=RSA")
	list[0].Start, list[0].End = uint64(time.Hour), uint64(time.Hour)
	n := 0
	next := func(g *event.Group) (int64, error) {
		switch n++; n {
		case 1: // metadata of the log, without a time
			_, err := event.Decode(event.AppendMetadata(nil, boot/int64(time.Second), 0), g)
			return boot, err
		case 2:
			*g = list[0]
			return boot, nil
		case 3:
			return 0, &counting.MissingError{Entries: 4, Err: io.ErrUnexpectedEOF}
		}
		return 0, io.EOF
	}
	o, err := counting.Files(context.Background(), next, registry(t), counting.Selection{})
	if err != nil || len(o.Uses) != 1 || o.Uses[0].Count != 1 || o.Coverage.Missing != 4 {
		t.Errorf("observed is %+v, %v", o, err)
	}
	if at := time.Unix(0, boot+int64(time.Hour)).UTC(); !o.Coverage.From.Equal(at) || !o.Coverage.To.Equal(at) {
		t.Errorf("the period is %s to %s, want %s", o.Coverage.From, o.Coverage.To, at)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := counting.Files(ctx, next, registry(t), counting.Selection{}); err == nil {
		t.Error("reading continues after its context was cancelled")
	}
}
