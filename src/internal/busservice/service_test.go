// SPDX-License-Identifier: Apache-2.0

package busservice_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/broker/brokertest"
	"crypto-auditing/src/internal/busservice"
	"crypto-auditing/src/internal/busservice/bustest"
	"crypto-auditing/src/internal/busservice/marshal"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/retention"
	"crypto-auditing/src/internal/schema"
)

const (
	brokerPath  = "/org/crypto_auditing/Broker"
	brokerName  = "org.crypto_auditing.Broker"
	subName     = "org.crypto_auditing.Broker.Subscription"
	errorPrefix = "org.crypto_auditing.Error."
)

// served is a service on a private bus.
type served struct {
	bus    *bustest.Bus
	log    *brokertest.Log
	agent  *brokertest.Agent
	broker *broker.Broker
	state  string
	stop   func()
	// notes are the states sent to the service manager.
	mu    sync.Mutex
	notes []string
}

// change modifies the options of a service.
type change func(*busservice.Options, *broker.Options)

func serve(t *testing.T, changes ...change) *served {
	t.Helper()
	return serveOn(t, bustest.Start(t, bustest.Daemon), changes...)
}

func serveOn(t *testing.T, bus *bustest.Bus, changes ...change) *served {
	t.Helper()
	s := &served{bus: bus, log: brokertest.New(t), state: t.TempDir()}
	s.agent = &brokertest.Agent{Log: s.log}
	s.start(t, changes...)
	return s
}

// start starts the service; it is ready when start returns.
func (s *served) start(t *testing.T, changes ...change) {
	t.Helper()
	registry, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	ready := make(chan struct{})
	so := busservice.Options{Address: s.bus.Address, Version: "1.2", Log: log, Notify: func(state string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if strings.HasPrefix(state, "STATUS=") {
			return
		}
		if s.notes = append(s.notes, state); state == "READY=1" {
			close(ready)
		}
	}}
	bo := broker.Options{
		LogDir: s.log.Dir, StateDir: s.state, Registry: registry, Encoder: marshal.AppendGroup, OperationEncoder: marshal.InSignals, Agent: s.agent,
		Policy: retention.Policy{Reading: retention.Ignore}, StateWait: time.Minute, Log: log,
	}
	for _, c := range changes {
		c(&so, &bo)
	}
	service, err := busservice.New(so)
	if err != nil {
		t.Fatal(err)
	}
	bo.Appended = service.Appended
	b, err := broker.New(bo)
	if err != nil {
		t.Fatal(err)
	}
	s.broker = b
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- service.Serve(ctx, b) }()
	var once sync.Once
	s.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(s.stop)
	select {
	case <-ready:
	case err := <-done:
		t.Fatal("the service has ended: ", err)
	}
}

// peer is a client on the bus.
type peer struct {
	t       *testing.T
	conn    *dbus.Conn
	broker  dbus.BusObject
	signals chan *dbus.Signal
}

func (s *served) connect(t *testing.T) *peer {
	t.Helper()
	conn, err := dbus.Connect(s.bus.Address, dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	p := &peer{t: t, conn: conn, broker: conn.Object(brokerName, brokerPath), signals: make(chan *dbus.Signal, 1024)}
	conn.Signal(p.signals)
	return p
}

// call calls a method of the broker, and stores what it returns.
func (p *peer) call(method string, arguments ...any) *dbus.Call {
	return p.broker.Call(brokerName+"."+method, 0, arguments...)
}

type dict = map[string]dbus.Variant

// all makes a dictionary from names and values.
func all(pairs ...any) dict {
	d := dict{}
	for i := 0; i < len(pairs); i += 2 {
		d[pairs[i].(string)] = dbus.MakeVariant(pairs[i+1])
	}
	return d
}

type datum struct {
	Key   string
	Value dbus.Variant
}

type group struct {
	Sequence   uint64
	Context    string
	Start, End uint64
	Attributes dict
	Data       []datum
}

// page is the result of Read.
type page struct {
	groups  []group
	next    string
	missing uint64
}

func (p *peer) read(after string, filter dict, most uint32) page {
	p.t.Helper()
	var r page
	if err := p.call("Read", after, filter, most).Store(&r.groups, &r.next, &r.missing); err != nil {
		p.t.Fatal(err)
	}
	return r
}

func (p *peer) subscribe(name string, filter, options dict) dbus.ObjectPath {
	p.t.Helper()
	var path dbus.ObjectPath
	if err := p.call("Subscribe", name, filter, options).Store(&path); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// events is an Events signal.
type events struct {
	path   dbus.ObjectPath
	groups []group
	cursor string
}

// next waits for a signal with the given name, and skips others.
func (p *peer) next(name string) *dbus.Signal {
	p.t.Helper()
	late := time.After(time.Minute)
	for {
		select {
		case s, ok := <-p.signals:
			if !ok {
				p.t.Fatalf("the connection was closed while waiting for %s", name)
			}
			if s.Name == name {
				return s
			}
		case <-late:
			p.t.Fatalf("timeout waiting for the signal %s", name)
		}
	}
}

func (p *peer) nextEvents() events {
	p.t.Helper()
	s := p.next(subName + ".Events")
	e := events{path: s.Path}
	if err := dbus.Store(s.Body, &e.groups, &e.cursor); err != nil {
		p.t.Fatal(err)
	}
	return e
}

// until gathers groups up to a sequence.
func (p *peer) until(sequence uint64) []group {
	p.t.Helper()
	var got []group
	for len(got) == 0 || got[len(got)-1].Sequence < sequence {
		got = append(got, p.nextEvents().groups...)
	}
	return got
}

// errorName returns the D-Bus name of an error.
func errorName(err error) string {
	var named dbus.Error
	if errors.As(err, &named) {
		return named.Name
	}
	return fmt.Sprint(err)
}

// oddGroup returns a group with all values that are difficult on D-Bus.
func oddGroup() event.Group {
	return event.Group{
		Context: event.ContextID{0xab, 1}, Name: []byte("tls::handshake"), Executable: []byte("a\xff\\b\n"), Origin: []byte{0xca, 0xfe},
		Events: []event.Event{
			{Kind: event.NewContext, Parent: event.ContextID{7}, Origin: []byte{0xca, 0xfe}, Executable: []byte("a\xff\\b\n")},
			{Key: []byte("word"), Value: event.Value{Word: -5}},
			{Key: []byte("text"), Value: event.Value{Kind: event.String, Bytes: []byte("grün")}},
			{Key: []byte("nul"), Value: event.Value{Kind: event.String, Bytes: []byte("a\x00b")}},
			{Key: []byte("blob"), Value: event.Value{Kind: event.Blob, Bytes: []byte{0xff, 0}}},
			{Key: []byte("empty"), Value: event.Value{Kind: event.String}},
			{Key: []byte("none"), Value: event.Value{Kind: event.Blob}},
			{Key: []byte("k\x00y"), Value: event.Value{Word: 1}},
		},
	}
}

func TestGroupsAreOnTheBusAsDescribed(t *testing.T) {
	for _, kind := range []bustest.Kind{bustest.Daemon, bustest.Broker} {
		t.Run(string(kind), func(t *testing.T) {
			s := serveOn(t, bustest.Start(t, kind))
			p := s.connect(t)
			p.subscribe("", dict{}, all("after", "oldest"))
			s.log.Write(oddGroup())
			s.log.Write(event.Group{Context: event.ContextID{1}}) // empty
			last := s.log.Lose("ring-full", 9)
			s.log.Flush()
			got := p.until(last.Sequence)
			if len(got) != int(last.Sequence) {
				t.Fatalf("%d groups, want %d", len(got), last.Sequence)
			}
			odd := got[1]
			if odd.Sequence != 2 || odd.Context != "ab01"+strings.Repeat("0", 28) || odd.Start == 0 || odd.Start > uint64(time.Now().UnixMicro()) || odd.End != odd.Start {
				t.Errorf("%+v", odd)
			}
			attributes := all("parent", "07"+strings.Repeat("0", 30), "name", "tls::handshake", "origin", "cafe", "executable", `a\xff\x5cb\x0a`)
			if !reflect.DeepEqual(odd.Attributes, attributes) {
				t.Errorf("attributes %v\nwant %v", odd.Attributes, attributes)
			}
			data := []datum{
				{"word", dbus.MakeVariant(int64(-5))}, {"text", dbus.MakeVariant("grün")}, {"nul", dbus.MakeVariant([]byte("a\x00b"))},
				{"blob", dbus.MakeVariant([]byte{0xff, 0})}, {"empty", dbus.MakeVariant("")}, {"none", dbus.MakeVariant([]byte{})},
				{`k\x00y`, dbus.MakeVariant(int64(1))},
			}
			if !reflect.DeepEqual(odd.Data, data) {
				t.Errorf("data %v\nwant %v", odd.Data, data)
			}
			lost := got[len(got)-1].Attributes
			if lost["lost"].Value() != uint64(9) || lost["reason"].Value() != "ring-full" {
				t.Errorf("loss %v", lost)
			}
			if read := p.read("oldest", dict{}, 0); !reflect.DeepEqual(read.groups, got) || read.next != last.String() || read.missing != 0 {
				t.Errorf("Read returns %+v\nsignals %+v", read, got)
			}
		})
	}
}

func TestReadReturnsTheLogPageByPage(t *testing.T) {
	s := serve(t)
	r := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		s.log.Append(brokertest.Some(r, 100)...)
	}
	s.log.Rotate()
	s.log.Append(brokertest.Some(r, 100)...)
	last := s.log.Flush()
	p := s.connect(t)
	at, pages, filtered := "oldest", 0, 0
	var got []uint64
	for {
		page := p.read(at, dict{}, 700)
		for _, g := range page.groups {
			got = append(got, g.Sequence)
		}
		if page.next == at {
			break
		}
		if len(page.groups) > 700 {
			t.Fatalf("a page of %d groups", len(page.groups))
		}
		at = page.next
		pages++
	}
	if uint64(len(got)) != last.Sequence || !slices.IsSorted(got) || at != last.String() || pages < 5 {
		t.Errorf("%d groups in %d pages up to %s, want %d up to %s", len(got), pages, at, last.Sequence, last)
	}
	if page := p.read("oldest", dict{}, 5000); len(page.groups) != 1000 {
		t.Errorf("a page of %d groups, want at most 1000", len(page.groups))
	}
	for at, next := "oldest", ""; at != next; at = next {
		page := p.read(at, all("contexts", []string{"tls::*"}, "executables", []string{"curl"}), 0)
		filtered += len(page.groups)
		for _, g := range page.groups {
			if g.Attributes["executable"].Value() != "curl" || !strings.HasPrefix(g.Attributes["name"].Value().(string), "tls::") {
				t.Fatalf("%+v passes the filter", g)
			}
		}
		next = page.next
	}
	if filtered < 200 {
		t.Errorf("%d groups pass the filter, want some of %d", filtered, last.Sequence)
	}
	// Truncated entries are counted.
	var bytes uint64
	var segments uint32
	var oldest string
	if err := p.call("Truncate", all("max-size", uint64(1))).Store(&bytes, &segments, &oldest); err != nil {
		t.Fatal(err)
	}
	page := p.read("oldest", dict{}, 1)
	if segments != 1 || bytes == 0 || page.missing != 0 || page.groups[0].Sequence != 3002 {
		t.Errorf("truncated %d bytes, %d segments, up to %s; then %+v", bytes, segments, oldest, page)
	}
	store, _, _ := strings.Cut(at, "-")
	if page := p.read(store+"-0000000000000001", dict{}, 1); page.missing != 3000 || page.groups[0].Sequence != 3002 {
		t.Errorf("after a removed cursor: %+v", page)
	}
}

// endOf returns the outcome and reason of an entry that ends a stream, and empty strings
// for others.
func endOf(entry map[string]any) (outcome, reason string) {
	events, _ := entry["events"].([]any)
	for _, e := range events {
		// An event is an array of the key and the value.
		text := fmt.Sprint(e)
		if _, after, ok := strings.Cut(text, "crau::end_reason"); ok {
			reason = after
		} else if strings.Contains(text, "crau::end") {
			for _, known := range []string{"complete", "failed"} {
				if strings.Contains(text, known) {
					outcome = known
				}
			}
		}
	}
	return outcome, reason
}

// streamed reads the entries of a stream of Open. Unless done stops it, the stream must be
// complete. The entry that ends it is not returned.
func streamed(t *testing.T, f *os.File, done func(map[string]any) bool) []map[string]any {
	t.Helper()
	var got []map[string]any
	for d := cbor.NewDecoder(bufio.NewReader(f)); ; {
		var entry map[string]any
		err := d.Decode(&entry)
		if err == io.EOF {
			t.Fatal("the stream does not report how it ended")
		}
		if err != nil {
			t.Fatal(err)
		}
		if outcome, reason := endOf(entry); outcome != "" {
			if outcome != "complete" || done != nil {
				t.Fatalf("the stream ended: %s %s", outcome, reason)
			}
			if err := d.Decode(&entry); err != io.EOF {
				t.Errorf("after the end of the stream: %v, %v", entry, err)
			}
			return got
		}
		got = append(got, entry)
		if done != nil && done(entry) {
			return got
		}
	}
}

func (p *peer) open(after string, filter, options dict) *os.File {
	p.t.Helper()
	var fd dbus.UnixFD
	if err := p.call("Open", after, filter, options).Store(&fd); err != nil {
		p.t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "stream")
	p.t.Cleanup(func() { f.Close() })
	return f
}

func TestAStreamHasTheSameContentAsSignals(t *testing.T) {
	s := serve(t)
	p := s.connect(t)
	s.log.Write(oddGroup())
	s.log.Rotate()
	s.log.Append(brokertest.Some(rand.New(rand.NewPCG(3, 3)), 500)...)
	last := s.log.Lose("ring-full", 1)
	s.log.Flush()
	got := streamed(t, p.open("oldest", dict{}, dict{}), nil)
	read := p.read("oldest", dict{}, 0).groups
	if len(got) != len(read) || uint64(len(got)) != last.Sequence {
		t.Fatalf("%d groups in the stream, %d from Read, %d in the log", len(got), len(read), last.Sequence)
	}
	for i, g := range read {
		entry := got[i]
		start := (int64(entry["start"].(uint64)) + int64(entry["boot"].(uint64))) / 1000
		if entry["seq"] != g.Sequence || fmt.Sprintf("%x", entry["context"]) != g.Context || start != int64(g.Start) {
			t.Fatalf("group %d: %v\n%+v", i, entry, g)
		}
	}
	if filtered := streamed(t, p.open("oldest", all("executables", []string{"sshd"}), dict{}), nil); len(filtered) < 50 || len(filtered) > 250 {
		t.Errorf("%d groups pass a filter", len(filtered))
	}
	following := p.open("newest", dict{}, all("follow", true))
	last = s.log.Append(brokertest.Some(rand.New(rand.NewPCG(3, 4)), 3)...)
	if more := streamed(t, following, func(e map[string]any) bool { return e["seq"] == last.Sequence }); len(more) < 3 {
		t.Errorf("%d groups while following", len(more))
	}
	var before uint32
	streams := func() uint32 {
		var status dict
		if err := p.call("GetStatus").Store(&status); err != nil {
			t.Fatal(err)
		}
		return status["streams"].Value().(uint32)
	}
	if before = streams(); before != 1 {
		t.Errorf("%d streams are open, want 1", before)
	}
	following.Close()
	for deadline := time.Now().Add(time.Minute); streams() != 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a stream without a reader stays open")
		}
	}
	// The stream reports the removed part.
	if err := p.call("Truncate", all("max-size", uint64(1))).Err; err != nil {
		t.Fatal(err)
	}
	store, _, _ := strings.Cut(last.String(), "-")
	gap := streamed(t, p.open(store+"-0000000000000001", dict{}, dict{}), nil)[0]
	data := fmt.Sprint(gap["events"])
	if gap["seq"] != uint64(2) || !strings.Contains(data, "crau::missing_entries") || !strings.Contains(data, "truncated") {
		t.Errorf("the gap is %v", gap)
	}
}

func TestErrorsHaveTheirNames(t *testing.T) {
	s := serve(t)
	p := s.connect(t)
	s.log.Flush()
	p.subscribe("taken", dict{}, dict{})
	const invalidArgs = "org.freedesktop.DBus.Error.InvalidArgs"
	foreign := strings.Repeat("0", 31) + "1-0000000000000001"
	newest := p.read("newest", dict{}, 1).next
	store, _, _ := strings.Cut(newest, "-")
	cases := map[string]struct {
		method    string
		arguments []any
		want      string
	}{
		"invalid cursor":               {"Read", []any{"x", dict{}, uint32(1)}, errorPrefix + "InvalidCursor"},
		"empty cursor":                 {"Read", []any{"", dict{}, uint32(1)}, errorPrefix + "InvalidCursor"},
		"cursor of the future":         {"Read", []any{store + "-7fffffffffffffff", dict{}, uint32(1)}, errorPrefix + "InvalidCursor"},
		"foreign cursor":               {"Read", []any{foreign, dict{}, uint32(1)}, errorPrefix + "ForeignCursor"},
		"foreign in Open":              {"Open", []any{foreign, dict{}, dict{}}, errorPrefix + "ForeignCursor"},
		"foreign in Subscribe":         {"Subscribe", []any{"", dict{}, all("after", foreign)}, errorPrefix + "ForeignCursor"},
		"unknown key in filter":        {"Read", []any{"oldest", all("scope", []string{"tls"}), uint32(1)}, errorPrefix + "InvalidFilter"},
		"wrong type in filter":         {"Read", []any{"oldest", all("scopes", "tls"), uint32(1)}, errorPrefix + "InvalidFilter"},
		"invalid match":                {"Read", []any{"oldest", all("matches", []string{"tls::x"}), uint32(1)}, errorPrefix + "InvalidFilter"},
		"invalid context":              {"Read", []any{"oldest", all("contexts", []string{"a b"}), uint32(1)}, errorPrefix + "InvalidFilter"},
		"invalid build-id":             {"Read", []any{"oldest", all("origins", []string{"xyz"}), uint32(1)}, errorPrefix + "InvalidFilter"},
		"huge filter":                  {"Read", []any{"oldest", all("keys", []string{strings.Repeat("a", 1<<20)}), uint32(1)}, errorPrefix + "LimitExceeded"},
		"long filter":                  {"Read", []any{"oldest", all("keys", make([]string, 1<<20)), uint32(1)}, errorPrefix + "LimitExceeded"},
		"huge cursor":                  {"Read", []any{strings.Repeat("a", 1<<20), dict{}, uint32(1)}, errorPrefix + "LimitExceeded"},
		"huge key":                     {"Read", []any{"oldest", all(strings.Repeat("a", 1<<20), true), uint32(1)}, errorPrefix + "LimitExceeded"},
		"huge bytes":                   {"Read", []any{"oldest", all("x", make([]byte, 1<<20)), uint32(1)}, errorPrefix + "LimitExceeded"},
		"huge nested string":           {"Read", []any{"oldest", all("x", []dict{all("y", strings.Repeat("a", 1<<20))}), uint32(1)}, errorPrefix + "LimitExceeded"},
		"unknown option":               {"Open", []any{"oldest", dict{}, all("folow", true)}, invalidArgs},
		"wrong type of option":         {"Open", []any{"oldest", dict{}, all("follow", "yes")}, invalidArgs},
		"unknown flow":                 {"Subscribe", []any{"", dict{}, all("flow", "fast")}, invalidArgs},
		"batch too large":              {"Subscribe", []any{"", dict{}, all("batch", uint32(1001))}, invalidArgs},
		"window too long":              {"Subscribe", []any{"", dict{}, all("window-usec", uint64(61_000_000))}, invalidArgs},
		"bad name":                     {"Subscribe", []any{"a/b", dict{}, dict{}}, invalidArgs},
		"name taken":                   {"Subscribe", []any{"taken", all("keys", []string{"x"}), dict{}}, errorPrefix + "SubscriptionExists"},
		"after for an existing name":   {"Subscribe", []any{"taken", dict{}, all("after", "oldest")}, errorPrefix + "SubscriptionExists"},
		"no such subscription":         {"GetSubscription", []any{"none"}, errorPrefix + "NoSuchSubscription"},
		"ephemeral by name":            {"GetSubscription", []any{""}, errorPrefix + "NoSuchSubscription"},
		"unknown policy":               {"Truncate", []any{all("max_size", uint64(1))}, invalidArgs},
		"unknown reading":              {"Truncate", []any{all("reading", "maybe")}, invalidArgs},
		"unknown option of operations": {"ReadOperations", []any{"oldest", dict{}, uint32(1), all("revers", true)}, invalidArgs},
		"operations, invalid cursor":   {"ReadOperations", []any{"x", dict{}, uint32(1), dict{}}, errorPrefix + "InvalidCursor"},
		"operations, wrong filter":     {"ReadOperations", []any{"oldest", all("scope", []string{"tls"}), uint32(1), dict{}}, errorPrefix + "InvalidFilter"},
		"wrong arguments":              {"Read", []any{"oldest"}, invalidArgs},
		"unknown method":               {"Write", nil, "org.freedesktop.DBus.Error.UnknownMethod"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := p.call(c.method, c.arguments...).Err
			if errorName(err) != c.want {
				t.Errorf("%v: %s, want %s", err, errorName(err), c.want)
			}
			if len(fmt.Sprint(err)) > 600 {
				t.Errorf("the error is %d bytes long", len(fmt.Sprint(err)))
			}
		})
	}
	if err := p.conn.Object(brokerName, brokerPath+"/subscription/0000000000000001").Call(subName+".Close", 0).Err; errorName(err) != "org.freedesktop.DBus.Error.UnknownObject" {
		t.Errorf("a nonexistent object: %v", err)
	}
	if err := p.broker.Call("org.example.X.Y", 0).Err; err == nil {
		t.Error("a nonexistent interface answers")
	}
	s.agent.Down.Store(true)
	if err := p.call("Flush").Err; errorName(err) != errorPrefix+"AgentUnavailable" {
		t.Errorf("without an agent: %v", err)
	}
	os.RemoveAll(s.log.Dir)
	if err := p.call("Read", "oldest", dict{}, uint32(1)).Err; errorName(err) != errorPrefix+"StoreCorrupt" {
		t.Errorf("without a log: %v", err)
	}
}

func TestUnitsAndSourcesFilterOnTheBus(t *testing.T) {
	s := serve(t)
	p := s.connect(t)
	for i, g := range []event.Group{
		{Unit: []byte("nginx.service"), Source: []byte(event.Wire)}, {Unit: []byte("nginx.service")}, {Unit: []byte(`a\x2db.scope`), Source: []byte(event.Function)}, {},
	} {
		g.Context, g.Name = event.ContextID{byte(i + 1)}, []byte("tls::handshake")
		s.log.Write(g)
		if i == 1 {
			s.log.Rotate()
		}
	}
	s.log.Flush()
	for name, c := range map[string]struct {
		filter dict
		want   string
	}{
		"a unit":             {all("units", []string{"nginx.service"}), "12"},
		"with a backslash":   {all("units", []string{`a\x2db.scope`}), "3"},
		"the wire":           {all("sources", []string{"wire"}), "1"},
		"probes":             {all("sources", []string{"usdt"}), "24"},
		"two sources":        {all("sources", []string{"usdt", "function"}), "234"},
		"unit and source":    {all("units", []string{"nginx.service"}, "sources", []string{"usdt"}), "2"},
		"no such unit":       {all("units", []string{"sshd.service"}), ""},
		"a match on a unit":  {all("matches", []string{"crau::unit=nginx.service"}), "12"},
		"a match on probes":  {all("matches", []string{"crau::source=usdt"}), "24"},
		"a match on neither": {all("matches", []string{"crau::unit=x", "tls::group=29"}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			for _, g := range p.read("oldest", c.filter, 0).groups {
				got += strings.TrimLeft(g.Context[:2], "0")
			}
			if got != c.want {
				t.Errorf("contexts %q, want %q", got, c.want)
			}
		})
	}
	if err := p.call("Read", "oldest", all("sources", []string{"ebpf"}), uint32(0)).Err; errorName(err) != errorPrefix+"InvalidFilter" {
		t.Errorf("an unknown source: %v", err)
	}
	if version, err := p.broker.GetProperty(brokerName + ".InterfaceVersion"); err != nil || version.Value() != uint32(4) {
		t.Errorf("InterfaceVersion is %v, %v", version, err)
	}
}
