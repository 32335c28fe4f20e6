// SPDX-License-Identifier: Apache-2.0

package inventoryservice_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	description "crypto-auditing/dbus"
	"crypto-auditing/src/client"
	reader "crypto-auditing/src/client/inventory"
	"crypto-auditing/src/internal/busservice/bustest"
	"crypto-auditing/src/internal/inventory"
	"crypto-auditing/src/internal/inventory/coverage"
	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/inventoryservice"
	"crypto-auditing/src/internal/schema"
)

const (
	name = "org.crypto_auditing.Inventory"
	path = dbus.ObjectPath("/org/crypto_auditing/Inventory")
)

// fake is an inventory in memory.
type fake struct {
	mu     sync.Mutex
	rows   []row.Row
	cursor string
	// catch, if set, is called by CatchUp.
	catch func(context.Context) error
	asked []inventory.Filter
	by    []string
}

func (f *fake) CatchUp(ctx context.Context) error {
	if f.catch != nil {
		return f.catch(ctx)
	}
	return nil
}

func (f *fake) UpToDate() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cursor
}

func (f *fake) moveTo(cursor string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cursor = cursor
}

func (f *fake) List(_ context.Context, filter inventory.Filter, after string, limit int) ([]row.Row, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, filter)
	first := 0
	if after != "" {
		if _, err := fmt.Sscanf(after, "%d", &first); err != nil {
			return nil, "", &inventory.FilterError{Problem: "not a position"}
		}
	}
	rows := f.rows[first:]
	if len(rows) <= limit {
		return rows, "", nil
	}
	return rows[:limit], fmt.Sprint(first + limit), nil
}

func (f *fake) Summarize(_ context.Context, by []string, filter inventory.Filter) ([]row.Row, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked, f.by = append(f.asked, filter), by
	return slices.Clone(f.rows), nil
}

// questions returns the filters of all calls, and the keys of the last call of Summarize.
func (f *fake) questions() ([]inventory.Filter, []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked), f.by
}

func (f *fake) Observed(_ context.Context, filter inventory.Filter) (*observed.Observed, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, filter)
	return &observed.Observed{Uses: f.rows, Coverage: coverage.Coverage{From: filter.Since, To: filter.Until, Sources: []string{"wire"}, Last: 7}}, nil
}

// answers implements the answers for the tests.
type answers struct{ export func(io.Writer) error }

func (answers) Policies() ([]string, error) { return []string{"DEFAULT", "FUTURE"}, nil }

func (answers) Report(o *observed.Observed, options inventoryservice.ReportOptions) (any, error) {
	if slices.Contains(options.Profiles, "none") {
		return nil, &inventoryservice.InvalidError{Problem: "there is no profile none"}
	}
	return map[string]any{
		"uses": len(o.Uses), "profiles": options.Profiles, "anonymous": options.Anonymous, "share": 0.5, "nothing": nil, "complete": true,
		"programs": []any{map[string]any{"executable": "curl\x00", "verdict": "unknown"}, nil, "text"},
	}, nil
}

func (answers) CheckPolicy(_ *observed.Observed, policy string) (any, error) {
	if policy != "FUTURE" {
		return nil, fmt.Errorf("%w: %s", inventoryservice.ErrNoPolicy, policy)
	}
	return map[string]string{"policy": policy}, nil
}

func (answers) Formats() []string { return []string{"observed-json", "report-html"} }

func (a answers) Export(w io.Writer, format string, o *observed.Observed, _ inventoryservice.ReportOptions) error {
	switch {
	case a.export != nil:
		return a.export(w)
	case format == "observed-json":
		return observed.Write(w, o)
	}
	_, err := io.WriteString(w, "<html>")
	return err
}

// served is a service that runs on a private bus.
type served struct {
	bus  *bustest.Bus
	fake *fake
	done chan error
	stop context.CancelFunc
}

func serve(t *testing.T, f *fake, change func(*inventoryservice.Options)) *served {
	t.Helper()
	return serveOn(t, bustest.Start(t, bustest.Daemon), f, change)
}

// serveOn starts a service, which is ready when it returns and ends with the test.
func serveOn(t *testing.T, bus *bustest.Bus, f *fake, change func(*inventoryservice.Options)) *served {
	t.Helper()
	registry, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	o := inventoryservice.Options{
		Address: bus.Address, Version: "1.2", Registry: registry, Answers: answers{},
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Notify: func(state string) {
			if state == "READY=1" {
				close(ready)
			}
		},
	}
	if change != nil {
		change(&o)
	}
	service, err := inventoryservice.New(o)
	if err != nil {
		t.Fatal(err)
	}
	s := &served{bus: bus, fake: f, done: make(chan error, 1)}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go func() { s.done <- service.Serve(ctx, f) }()
	t.Cleanup(func() {
		stop()
		if err := <-s.done; err != nil {
			t.Error(err)
		}
		close(s.done)
	})
	select {
	case <-ready:
	case err := <-s.done:
		t.Fatal("the service has exited: ", err)
	}
	return s
}

// client connects the Go client.
func (s *served) client(t *testing.T) reader.Inventory {
	t.Helper()
	c, err := client.Connect(t.Context(), client.WithAddress(s.bus.Address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return reader.Of(c)
}

// call calls a method and returns the error's name, empty for none.
func (s *served) call(t *testing.T, method string, arguments ...any) (body []any, failed string) {
	t.Helper()
	conn, err := dbus.Connect(s.bus.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	call := conn.Object(name, path).Call(method, 0, arguments...)
	var answer dbus.Error
	if errors.As(call.Err, &answer) {
		return nil, answer.Name
	}
	if call.Err != nil {
		t.Fatal(call.Err)
	}
	return call.Body, ""
}

func handshake(executable, version, group string, count uint64) row.Row {
	start := time.Date(2026, 11, 30, 10, 0, 0, 0, time.UTC)
	return row.Row{
		Start: start, Length: time.Hour, Count: count, Failures: 1, Relays: 2,
		First: start.Add(time.Minute), Last: start.Add(2 * time.Minute),
		Use: row.Use{
			Executable: executable, Unit: "a.service", LibraryID: "0a", Library: "libssl.so.3", Source: "usdt",
			Operation: row.TLSHandshake, Role: "client",
			Parameters: row.Parameters{
				Version: version, Suite: "TLS_AES_256_GCM_SHA384", Group: group, PeerSignature: "rsa_pss_rsae_sha256", Bits: 2048,
			},
		},
	}
}

func TestRowsHaveNamesAndNumbers(t *testing.T) {
	s := serve(t, &fake{rows: []row.Row{handshake("curl", "TLS 1.3", "x25519", 3)}}, nil)
	body, failed := s.call(t, name+".List", map[string]dbus.Variant{}, "", uint32(0))
	if failed != "" {
		t.Fatal(failed)
	}
	rows, _ := body[0].([]map[string]dbus.Variant)
	if len(rows) != 1 || body[1] != "" {
		t.Fatalf("the answer is %v", body)
	}
	got := map[string]any{}
	for key, v := range rows[0] {
		got[key] = v.Value()
	}
	const us = 1796032800_000000 // 2026-11-30 10:00
	want := map[string]any{
		"start": uint64(us), "length": uint64(3600_000000), "count": uint64(3), "failures": uint64(1), "relays": uint64(2),
		"first": uint64(us + 60_000000), "last": uint64(us + 120_000000),
		"executable": "curl", "unit": "a.service", "library_id": "0a", "library": "libssl.so.3", "source": "usdt",
		"operation": "tls::handshake", "role": "client", "version": "TLS 1.3", "version_number": uint32(772),
		"suite": "TLS_AES_256_GCM_SHA384", "suite_number": uint32(0x1302), "group": "x25519", "group_number": uint32(29),
		"peer_signature": "rsa_pss_rsae_sha256", "peer_signature_number": uint32(0x804), "bits": uint32(2048),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the row is\n%v\nwant\n%v", got, want)
	}
}

func TestTheClientReadsRowsAndSums(t *testing.T) {
	f := &fake{cursor: "at"}
	for i := range 25 {
		f.rows = append(f.rows, handshake(fmt.Sprintf("program%02d", i), "TLS 1.2", "secp256r1", uint64(i+1)))
	}
	s := serve(t, f, nil)
	c := s.client(t)
	filter := reader.Filter{Values: map[string][]string{"version": {"TLS 1.2", ""}}, Since: time.Unix(5, 0), Until: time.Unix(9, 0)}
	var all []reader.Row
	for after := ""; ; {
		rows, next, err := c.Rows(t.Context(), filter, after, 10)
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, rows...); next == "" {
			break
		}
		after = next
	}
	if !reflect.DeepEqual(all, f.rows) {
		t.Errorf("the rows are\n%v\nwant\n%v", all, f.rows)
	}
	want := inventory.Filter{Fields: filter.Values, Since: time.Unix(5, 0).UTC(), Until: time.Unix(9, 0).UTC()}
	asked, _ := f.questions()
	for _, got := range asked {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("the inventory was asked for %+v, want %+v", got, want)
		}
	}
	sums, err := c.Summarize(t.Context(), []string{"group", "day", "executable"}, reader.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if _, by := f.questions(); !slices.Equal(by, []string{"day", "executable", "group"}) || len(sums) != 25 || sums[0].Count != 25 || sums[24].Count != 1 {
		t.Errorf("by %v: %d sums, from %d to %d", by, len(sums), sums[0].Count, sums[len(sums)-1].Count)
	}
	if cursor, err := c.Cursor(t.Context()); err != nil || cursor != "at" {
		t.Errorf("the inventory is up to date to %q, %v", cursor, err)
	}
}

func TestPagesWithLargeRowsAreShorter(t *testing.T) {
	f := &fake{}
	long := strings.Repeat("x", 20_000)
	for range 600 {
		f.rows = append(f.rows, handshake(long, "TLS 1.3", "x25519", 1))
	}
	s := serve(t, f, nil)
	c := s.client(t)
	n := 0
	for after := ""; ; {
		rows, next, err := c.Rows(t.Context(), reader.Filter{}, after, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n += len(rows); next == "" {
			break
		}
		after = next
	}
	if n != 600 {
		t.Errorf("%d of 600 rows are listed", n)
	}
	if _, err := c.Summarize(t.Context(), nil, reader.Filter{}); !errors.Is(err, client.ErrLimitExceeded) {
		t.Errorf("sums of 12 MiB: %v", err)
	}
}

func TestDocumentsAreTheJSONOfTheAnswers(t *testing.T) {
	s := serve(t, &fake{rows: []row.Row{handshake("curl", "TLS 1.3", "x25519", 3)}}, nil)
	c := s.client(t)
	got, err := c.Report(t.Context(), reader.ExportOptions{Profiles: []string{"nist"}, Anonymous: true})
	want := map[string]any{
		"uses": int64(1), "profiles": []any{"nist"}, "anonymous": true, "share": 0.5, "complete": true,
		"programs": []any{map[string]any{"executable": `curl\x00`, "verdict": "unknown"}, "text"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("the report is\n%v, %v\nwant\n%v", got, err, want)
	}
	if _, err := c.Report(t.Context(), reader.ExportOptions{Profiles: []string{"none"}}); !errors.Is(err, client.ErrInvalidArgument) {
		t.Errorf("an unknown profile: %v", err)
	}
	if got, err := c.CheckPolicy(t.Context(), "FUTURE", time.Time{}, time.Time{}); err != nil || got["policy"] != "FUTURE" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := c.CheckPolicy(t.Context(), "PAST", time.Time{}, time.Time{}); !errors.Is(err, client.ErrNoSuchPolicy) {
		t.Errorf("an unknown policy: %v", err)
	}
	if got, err := c.Policies(t.Context()); err != nil || !slices.Equal(got, []string{"DEFAULT", "FUTURE"}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestAllObservationsAreExported(t *testing.T) {
	f := &fake{}
	// More than fits in a pipe.
	for i := range 5000 {
		f.rows = append(f.rows, handshake(fmt.Sprint("program", i), "TLS 1.3", "x25519", 1))
	}
	s := serve(t, f, nil)
	since, until := time.Unix(100, 0).UTC(), time.Unix(200, 0).UTC()
	got, err := s.client(t).Observed(t.Context(), reader.ExportOptions{Since: since, Until: until, Executables: []string{"program1", "program2"}, Units: []string{"a.service"}})
	if err != nil {
		t.Fatal(err)
	}
	filter := inventory.Filter{Since: since, Until: until, Fields: map[string][]string{"executable": {"program1", "program2"}, "unit": {"a.service"}}}
	if asked, _ := f.questions(); !reflect.DeepEqual(asked, []inventory.Filter{filter}) {
		t.Errorf("the inventory is asked for %+v, want %+v", asked, filter)
	}
	want, _ := f.Observed(t.Context(), filter)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%d uses of %d, coverage %+v", len(got.Uses), len(want.Uses), got.Coverage)
	}
	document, err := s.client(t).Export(t.Context(), "report-html", reader.ExportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer document.Close()
	if text, err := io.ReadAll(document); err != nil || string(text) != "<html>" {
		t.Errorf("the document is %q, %v", text, err)
	}
}

func TestDocumentsThatAreNotReadAreBounded(t *testing.T) {
	large := strings.Repeat("x", 1<<20)
	s := serve(t, &fake{}, func(o *inventoryservice.Options) {
		o.Answers = answers{export: func(w io.Writer) error { _, err := io.WriteString(w, large); return err }}
	})
	c := s.client(t)
	var open []io.ReadCloser
	for range 2 {
		d, err := c.Export(t.Context(), "report-html", reader.ExportOptions{})
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, d)
	}
	if _, err := c.Export(t.Context(), "report-html", reader.ExportOptions{}); !errors.Is(err, client.ErrLimitExceeded) {
		t.Errorf("a third document: %v", err)
	}
	open[0].Close()
	if text, err := io.ReadAll(open[1]); err != nil || len(text) != len(large) {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	open[1].Close()
	for end := time.Now().Add(time.Minute); ; {
		d, err := c.Export(t.Context(), "report-html", reader.ExportOptions{})
		if err == nil {
			d.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after reading: %v", err)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestADocumentThatIsTooLargeIsAnError(t *testing.T) {
	s := serve(t, &fake{}, func(o *inventoryservice.Options) {
		o.Answers = answers{export: func(w io.Writer) error {
			_, err := w.Write(make([]byte, 64<<20))
			return err
		}}
	})
	if _, err := s.client(t).Export(t.Context(), "report-html", reader.ExportOptions{}); !errors.Is(err, client.ErrLimitExceeded) {
		t.Errorf("64 MiB: %v", err)
	}
}

func TestWrongArgumentsAreErrors(t *testing.T) {
	type dict = map[string]dbus.Variant
	option := func(key string, value any) dict { return dict{key: dbus.MakeVariant(value)} }
	s := serve(t, &fake{}, nil)
	const invalid = "org.freedesktop.DBus.Error.InvalidArgs"
	for title, c := range map[string]struct {
		method    string
		arguments []any
		want      string
	}{
		"an unknown key of a filter":  {"List", []any{option("colour", []string{"red"}), "", uint32(0)}, "org.crypto_auditing.Error.InvalidFilter"},
		"a string for a list":         {"List", []any{option("group", "x25519"), "", uint32(0)}, "org.crypto_auditing.Error.InvalidFilter"},
		"an invalid position":         {"List", []any{dict{}, "x", uint32(0)}, "org.crypto_auditing.Error.InvalidFilter"},
		"a string for a time":         {"Summarize", []any{[]string{}, option("since", "today")}, "org.crypto_auditing.Error.InvalidFilter"},
		"sums by an unknown key":      {"Summarize", []any{[]string{"colour"}, dict{}}, invalid},
		"an unknown format":           {"Export", []any{"pdf", dict{}}, invalid},
		"an unknown option":           {"Report", []any{option("colour", "red")}, invalid},
		"profiles of an observation":  {"Export", []any{"observed-json", option("profiles", []string{"nist"})}, invalid},
		"arguments of another type":   {"List", []any{"x"}, invalid},
		"an unknown method":           {"Delete", nil, "org.freedesktop.DBus.Error.UnknownMethod"},
		"arguments that are too long": {"Export", []any{strings.Repeat("x", 80<<10), dict{}}, "org.crypto_auditing.Error.LimitExceeded"},
		"a message that is too long":  {"Export", []any{strings.Repeat("x", 200<<10), dict{}}, "org.crypto_auditing.Error.LimitExceeded"},
	} {
		t.Run(title, func(t *testing.T) {
			if _, failed := s.call(t, name+"."+c.method, c.arguments...); failed != c.want {
				t.Errorf("the error is %q, want %q", failed, c.want)
			}
		})
	}
}

func TestCallsWaitForCountingWithALimit(t *testing.T) {
	counted := make(chan struct{})
	f := &fake{}
	f.catch = func(ctx context.Context) error {
		select {
		case <-counted:
			f.moveTo("after")
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	s := serve(t, f, func(o *inventoryservice.Options) { o.Wait = 50 * time.Millisecond })
	c := s.client(t)
	// The log is not counted in time: the answer uses the counts so far.
	if _, err := c.Summarize(t.Context(), nil, reader.Filter{}); err != nil {
		t.Fatal(err)
	}
	changed := make(chan *dbus.Signal, 10)
	conn, err := dbus.Connect(s.bus.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.AddMatchSignal(dbus.WithMatchObjectPath(path)); err != nil {
		t.Fatal(err)
	}
	conn.Signal(changed)
	close(counted)
	for _, want := range []string{name + ".Changed", "org.freedesktop.DBus.Properties.PropertiesChanged"} {
		if got := <-changed; got.Name != want {
			t.Errorf("the signal is %s, want %s", got.Name, want)
		}
	}
	if cursor, err := c.Cursor(t.Context()); err != nil || cursor != "after" {
		t.Errorf("the inventory is up to date to %q, %v", cursor, err)
	}
}

func TestACallWaitsWhileTheInventoryCounts(t *testing.T) {
	const store = "0123456789abcdef0123456789abcdef-"
	at := func(n int) string { return fmt.Sprintf("%s%016x", store, n) }
	f := &fake{}
	failed := make(chan struct{})
	f.catch = func(ctx context.Context) error {
		for n := 1; n <= 3; n++ { // each step takes longer than a call waits
			select {
			case <-failed:
				return errors.New("the broker does not answer")
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
			f.moveTo(at(n))
		}
		return ctx.Err()
	}
	s := serve(t, f, func(o *inventoryservice.Options) { o.Wait = 10 * time.Millisecond })
	serveBroker(t, s.bus, at(3))
	var steps []uint64
	complete, err := s.client(t).Wait(t.Context(), func(counted, newest uint64) {
		if steps = append(steps, counted); newest != 3 {
			t.Errorf("the newest entry is %d", newest)
		}
	})
	if err != nil || !complete || len(steps) == 0 || !slices.IsSorted(steps) {
		t.Errorf("complete %v after %v, %v", complete, steps, err)
	}
	close(failed)
	f.moveTo(at(2))
	if complete, err := s.client(t).Wait(t.Context(), nil); err != nil || complete {
		t.Errorf("without a broker: complete %v, %v", complete, err)
	}
}

// serveBroker serves the property Newest of the broker until the test ends.
func serveBroker(t *testing.T, bus *bustest.Bus, newest string) {
	t.Helper()
	conn, err := dbus.Connect(bus.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	get := map[string]any{"Get": func(string, string) (dbus.Variant, *dbus.Error) { return dbus.MakeVariant(newest), nil }}
	if err := conn.ExportMethodTable(get, "/org/crypto_auditing/Broker", "org.freedesktop.DBus.Properties"); err != nil {
		t.Fatal(err)
	}
	if reply, err := conn.RequestName("org.crypto_auditing.Broker", dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(reply, err)
	}
}

func TestTheServiceExitsWhenIdleButNotWhileCounting(t *testing.T) {
	counting := make(chan struct{})
	f := &fake{catch: func(ctx context.Context) error {
		select {
		case <-counting:
		case <-ctx.Done():
		}
		return nil
	}}
	s := serve(t, f, func(o *inventoryservice.Options) { o.Idle = 10 * time.Millisecond })
	select {
	case err := <-s.done:
		t.Fatalf("the service exited while it counted: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	close(counting)
	if err := <-s.done; err != nil {
		t.Error(err)
	}
	s.done <- nil // for the cleanup
}

// asOther makes the test program call a method as another user and print the result.
const asOther = "CRAU_TEST_INVENTORY_CALL"

func TestMain(m *testing.M) {
	if call := os.Getenv(asOther); call != "" {
		words := strings.Split(call, " ")
		conn, err := dbus.Connect(words[0])
		if err == nil {
			var arguments []any
			if words[1] == "org.freedesktop.DBus.Properties.Get" {
				arguments = []any{name, words[2]}
			}
			err = conn.Object(name, path).Call(words[1], 0, arguments...).Err
		}
		var answer dbus.Error
		switch {
		case errors.As(err, &answer):
			fmt.Println(answer.Name)
		case err != nil:
			fmt.Println(err)
		default:
			fmt.Println("ok")
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// callAs calls a method as another user with a supplementary group.
func callAs(t *testing.T, bus *bustest.Bus, user, group uint32, words ...string) string {
	t.Helper()
	// Only root may access the directory of the test.
	program := filepath.Join(bus.Dir, "test")
	if _, err := os.Stat(program); err != nil {
		text, err := os.ReadFile(os.Args[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(program, text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.Command(program)
	command.Env = append(os.Environ(), asOther+"="+strings.Join(append([]string{bus.Address}, words...), " "), "GORACE=atexit_sleep_ms=0")
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user, Groups: []uint32{group}}}
	output, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(output))
}

func TestAccessRequiresPermissionToReadTheLog(t *testing.T) {
	const group, nobody, denied = 4242, 65534, "org.freedesktop.DBus.Error.AccessDenied"
	members := uint32(group)
	for _, kind := range []bustest.Kind{bustest.Daemon, bustest.Broker} {
		t.Run(string(kind), func(t *testing.T) {
			s := serveOn(t, bustest.Start(t, kind), &fake{}, func(o *inventoryservice.Options) { o.Group = &members })
			for words, stranger := range map[string]string{
				name + ".ListPolicies":                                 denied,
				"org.freedesktop.DBus.Properties.Get Coverage":         denied,
				"org.freedesktop.DBus.Properties.Get UpToDate":         "ok",
				"org.freedesktop.DBus.Introspectable.Introspect":       "ok",
				"org.freedesktop.DBus.Properties.Get Version":          "ok",
				"org.freedesktop.DBus.Properties.Get NoSuch":           "org.freedesktop.DBus.Error.UnknownProperty",
				"org.freedesktop.DBus.Properties.Get InterfaceVersion": "ok",
			} {
				if got := callAs(t, s.bus, nobody, nobody, strings.Fields(words)...); got != stranger {
					t.Errorf("a stranger calls %s: %s, want %s", words, got, stranger)
				}
				member := stranger
				if member == denied {
					member = "ok"
				}
				if got := callAs(t, s.bus, nobody, group, strings.Fields(words)...); got != member {
					t.Errorf("a member of the group calls %s: %s, want %s", words, got, member)
				}
			}
		})
	}
}

func TestTheCoverageIsADictionary(t *testing.T) {
	s := serve(t, &fake{}, nil)
	body, failed := s.call(t, "org.freedesktop.DBus.Properties.Get", name, "Coverage")
	if failed != "" {
		t.Fatal(failed)
	}
	got, _ := body[0].(dbus.Variant).Value().(map[string]dbus.Variant)
	if got["last"].Value() != int64(7) || got["sources"].String() != `[<"wire">]` {
		text, _ := json.Marshal(got)
		t.Errorf("the coverage is %s", text)
	}
}

func TestTheDescriptionOfRowsHasAllFields(t *testing.T) {
	for _, f := range row.Fields() {
		signature := "` s"
		if f.IsNumber() {
			signature = "` u"
		}
		if !strings.Contains(description.Inventory, "`"+f.Name+signature) {
			t.Errorf("the description has no key `%s`", f.Name)
		}
	}
}
