// SPDX-License-Identifier: Apache-2.0

package brokerservice

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varlink/go/varlink"

	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/broker/brokertest"
	"crypto-auditing/src/internal/broker/delivery"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/varlinkservice"
	api "crypto-auditing/src/internal/varlinkservice/orgcryptoauditingbroker"
)

// served is a broker on a socket.
type served struct {
	log      *brokertest.Log
	broker   *broker.Broker
	listener *Listener
	address  string
}

// serve serves a log to peers with a given identity.
func serve(t *testing.T, peer varlinkservice.Peer, group *uint32) *served {
	t.Helper()
	registry, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	s := &served{log: brokertest.New(t)}
	s.log.Flush()
	silent := slog.New(slog.NewTextHandler(io.Discard, nil))
	s.broker, err = broker.New(broker.Options{
		LogDir: s.log.Dir, StateDir: t.TempDir(), Registry: registry, Agent: &brokertest.Agent{Log: s.log}, Log: silent,
		Encoder: func(dst []byte, _ *event.Entry) []byte { return dst },
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "socket")
	s.address = "unix:" + path
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s.listener = NewListener(l)
	service, err := New(Options{Broker: s.broker, Group: group, Version: "7"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended, stopped := make(chan error, 1), make(chan error, 1)
	go func() { ended <- s.broker.Run(ctx, func(delivery.Sink) string { return "" }) }()
	go func() {
		stopped <- varlinkservice.New(service, varlinkservice.Options{
			Limits: Limits(), LimitError: LimitError, Log: silent,
			Peer: func(net.Conn) (varlinkservice.Peer, error) { return peer, nil },
		}).Serve(ctx, s.listener)
	}()
	t.Cleanup(func() {
		cancel()
		for _, c := range []chan error{stopped, ended} {
			if err := <-c; err != nil {
				t.Error(err)
			}
		}
	})
	return s
}

func (s *served) connect(t *testing.T) *varlink.Connection {
	t.Helper()
	c, err := varlink.NewConnection(context.Background(), s.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func pointer[T any](v T) *T { return &v }

// bounded returns a context that ends waiting for a missing reply.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestGroupsAreAsDescribed(t *testing.T) {
	s := serve(t, varlinkservice.Peer{}, nil)
	s.log.Write(event.Group{
		Context: event.ContextID{0xab}, Name: []byte("tls::handshake"), Executable: []byte("a\xff"), Origin: []byte{0xca, 0xfe},
		Events: []event.Event{
			{Kind: event.NewContext, Parent: event.ContextID{7}},
			{Key: []byte("word"), Value: event.Value{Word: -5}},
			{Key: []byte("text"), Value: event.Value{Kind: event.String, Bytes: []byte("grün")}},
			{Key: []byte("blob"), Value: event.Value{Kind: event.Blob, Bytes: []byte{0, 0xff}}},
			{Key: []byte("k\x00"), Value: event.Value{Kind: event.String}},
		},
	})
	last := s.log.Lose("ring-full", 9)
	s.log.Flush()
	groups, next, missing, _, err := api.Read().Call(bounded(t), s.connect(t), "oldest", nil, nil, nil)
	if err != nil || len(groups) != 3 || next != last.String() || missing != 0 {
		t.Fatalf("%d groups, next %s, missing %d, %v", len(groups), next, missing, err)
	}
	g := groups[1]
	if g.Sequence != 2 || g.Context != "ab"+strings.Repeat("0", 30) || *g.Parent != "07"+strings.Repeat("0", 30) || *g.Name != "tls::handshake" ||
		*g.Origin != "cafe" || *g.Executable != `a\xff` || g.Lost != nil || g.StartUSec <= 0 || g.EndUSec != g.StartUSec {
		t.Errorf("%+v", g)
	}
	blob, err := base64.StdEncoding.DecodeString(*g.Data[2].Blob)
	if err != nil || len(g.Data) != 4 || *g.Data[0].Word != -5 || *g.Data[1].Text != "grün" || string(blob) != "\x00\xff" ||
		g.Data[3].Key != `k\x00` || *g.Data[3].Text != "" {
		t.Errorf("%+v, %v", g.Data, err)
	}
	if lost := groups[2]; *lost.Lost != 9 || *lost.Reason != "ring-full" {
		t.Errorf("%+v", lost)
	}
}

func TestPagesReachTheEndAndContinue(t *testing.T) {
	s := serve(t, varlinkservice.Peer{}, nil)
	r := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		s.log.Append(brokertest.Some(r, 100)...)
	}
	last := s.log.Flush()
	c := s.connect(t)
	receive, err := api.Read().Send(bounded(t), c, varlink.More, "oldest", nil, pointer(int64(300)), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []int64
	for pages := 1; ; pages++ {
		groups, next, _, _, flags, err := receive(bounded(t))
		if err != nil || len(groups) > 300 {
			t.Fatalf("page %d of %d groups: %v", pages, len(groups), err)
		}
		for _, g := range groups {
			got = append(got, g.Sequence)
		}
		if flags&varlink.Continues == 0 {
			if next != last.String() || pages < 7 {
				t.Errorf("%d pages up to %s, want up to %s", pages, next, last)
			}
			break
		}
	}
	for i, n := range got {
		if n != int64(i+1) {
			t.Fatalf("group %d at index %d", n, i)
		}
	}
	if uint64(len(got)) != last.Sequence {
		t.Errorf("%d groups of %d", len(got), last.Sequence)
	}

	receive, err = api.Read().Send(bounded(t), c, varlink.More, last.String(), &api.Filter{Executables: &[]string{"curl"}}, nil, pointer(true))
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		s.log.Append(brokertest.Group{Executable: "other"}, brokertest.Group{Executable: "curl"})
		groups, _, _, _, flags, err := receive(bounded(t))
		if err != nil || len(groups) != 1 || *groups[0].Executable != "curl" || flags&varlink.Continues == 0 {
			t.Fatalf("round %d: %+v, %v", round, groups, err)
		}
	}
	if s.broker.Idle() || s.listener.Open() != 1 {
		t.Errorf("the broker is idle with a follower; %d connections", s.listener.Open())
	}
	c.Close()
	for deadline := time.Now().Add(time.Minute); !s.broker.Idle() || s.listener.Open() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the broker is not idle after its follower disconnected")
		}
	}
}

func TestErrorsAreAsDescribed(t *testing.T) {
	s := serve(t, varlinkservice.Peer{}, nil)
	c := s.connect(t)
	read := func(after string, f *api.Filter, most *int64, follow *bool) error {
		_, _, _, _, err := api.Read().Call(bounded(t), c, after, f, most, follow)
		return err
	}
	var cursor *api.InvalidCursor
	var foreign *api.ForeignCursor
	var filter *api.InvalidFilter
	var limit *api.LimitExceeded
	var parameter *varlink.InvalidParameter
	for name, is := range map[string]bool{
		"invalid cursor":      errors.As(read("x", nil, nil, nil), &cursor),
		"foreign cursor":      errors.As(read(strings.Repeat("0", 31)+"1-0000000000000001", nil, nil, nil), &foreign),
		"invalid build-id":    errors.As(read("oldest", &api.Filter{Origins: &[]string{"x"}}, nil, nil), &filter) && filter.Key == "origins",
		"before 1970":         errors.As(read("oldest", &api.Filter{SinceUSec: pointer(int64(-1))}, nil, nil), &filter) && filter.Key == "sinceUSec",
		"long filter":         errors.As(read("oldest", &api.Filter{Keys: &[]string{strings.Repeat("k", 20<<10)}}, nil, nil), &limit),
		"negative page size":  errors.As(read("oldest", nil, pointer(int64(-1)), nil), &parameter),
		"follow without more": errors.As(read("oldest", nil, nil, pointer(true)), &parameter),
	} {
		if !is {
			t.Errorf("%s: wrong error", name)
		}
	}
	if err := s.log.Writer.Close(); err != nil {
		t.Fatal(err)
	}
	status, err := api.GetStatus().Call(bounded(t), c)
	if err != nil || status.Version != "7" || status.Segments != 1 || status.StoreError != "" || !status.AgentActive {
		t.Errorf("status %+v, %v", status, err)
	}
}

func TestOnlyRootAndTheGroupMayCall(t *testing.T) {
	const group = 42
	members := uint32(group)
	for name, c := range map[string]struct {
		peer varlinkservice.Peer
		may  bool
	}{
		"root":                 {varlinkservice.Peer{}, true},
		"member":               {varlinkservice.Peer{UID: 7, GID: 7, Groups: []uint32{1, group}}, true},
		"primary group":        {varlinkservice.Peer{UID: 7, GID: group}, true},
		"stranger":             {varlinkservice.Peer{UID: 7, GID: 7, Groups: []uint32{1}}, false},
		"group number as user": {varlinkservice.Peer{UID: group, GID: 7}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, c.peer, &members)
			var denied *api.PermissionDenied
			_, _, _, _, err := api.Read().Call(bounded(t), s.connect(t), "oldest", nil, nil, nil)
			if c.may != (err == nil) || !c.may && !errors.As(err, &denied) {
				t.Errorf("Read: %v", err)
			}
			if _, err = api.GetStatus().Call(bounded(t), s.connect(t)); c.may != (err == nil) || !c.may && !errors.As(err, &denied) {
				t.Errorf("GetStatus: %v", err)
			}
		})
	}
}

func TestMissingEntriesAreCounted(t *testing.T) {
	s := serve(t, varlinkservice.Peer{}, nil)
	r := rand.New(rand.NewPCG(2, 2))
	first := s.log.Append(brokertest.Some(r, 100)...)
	s.log.Rotate()
	last := s.log.Append(brokertest.Some(r, 100)...)
	s.log.Flush()
	if _, err := s.log.Writer.Remove(context.Background(), first, nil); err != nil {
		t.Fatal(err)
	}
	begin := logstore.Cursor{Store: first.Store, Sequence: 1}
	groups, next, missing, _, err := api.Read().Call(bounded(t), s.connect(t), begin.String(), nil, nil, nil)
	if err != nil || missing != int64(first.Sequence-1) || groups[0].Sequence != int64(first.Sequence+1) || next != last.String() {
		t.Errorf("missing %d, %d groups up to %s, %v", missing, len(groups), next, err)
	}
}

func TestOperationsAreReturnedPageByPage(t *testing.T) {
	s := serve(t, varlinkservice.Peer{}, nil)
	const operations, most = 70, 16
	at := logstore.SystemClock{}.Now().Boot - uint64(time.Minute)
	for i := range operations {
		s.log.Write(event.Group{Context: event.ContextID{1 + byte(i)}, Start: at, End: at, Events: []event.Event{{Kind: event.NewContext, Parent: event.ContextID{255}}}})
	}
	last := s.log.Flush()
	for _, reverse := range []bool{false, true} {
		from, to := "oldest", last.String()
		if reverse {
			from = "newest"
		}
		receive, err := api.ReadOperations().Send(bounded(t), s.connect(t), varlink.More, from, nil, pointer(int64(most)), pointer(reverse))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for more := true; more; {
			list, next, missing, flags, err := receive(bounded(t))
			if err != nil || len(list) > most || missing != 0 {
				t.Fatalf("%d operations, %d missing, %v", len(list), missing, err)
			}
			for _, o := range list {
				got = append(got, o.Context)
			}
			if more = flags&varlink.Continues != 0; !more && !reverse && next != to {
				t.Errorf("ends at %s, want %s", next, to)
			}
		}
		if reverse {
			slices.Reverse(got)
		}
		if len(got) != operations || !slices.IsSorted(got) || len(slices.Compact(got)) != operations {
			t.Errorf("reverse %v: %q", reverse, got)
		}
	}
	for deadline := time.Now().Add(time.Minute); !s.broker.Idle(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the broker is not idle after the stream ended")
		}
	}
}

func TestOperationsAreTrees(t *testing.T) {
	s := serve(t, varlinkservice.Peer{}, nil)
	at := logstore.SystemClock{}.Now().Boot - uint64(time.Minute)
	open := func(id, parent byte, name string, key string, word int64) {
		s.log.Write(event.Group{Context: event.ContextID{id}, Start: at, End: at, Executable: []byte("a\xff"), Events: []event.Event{
			{Kind: event.NewContext, Parent: event.ContextID{parent}, Origin: []byte{0xca}},
			{Key: []byte("name"), Value: event.Value{Kind: event.String, Bytes: []byte(name)}},
			{Key: []byte(key), Value: event.Value{Word: word}},
		}})
	}
	open(1, 99, "tls::handshake_client", "tls::protocol_version", 772)
	open(2, 1, "tls::key_exchange", "tls::group", 4588)
	open(3, 99, "x::y", "k\x00", -1)
	last := s.log.Flush()
	c := s.connect(t)
	list, next, missing, err := api.ReadOperations().Call(bounded(t), c, "oldest", nil, nil, nil)
	if err != nil || len(list) != 2 || next != last.String() || missing != 0 {
		t.Fatalf("%d operations, next %s, missing %d, %v", len(list), next, missing, err)
	}
	o := list[0]
	if *o.Name != "tls::handshake_client" || *o.Executable != `a\xff` || *o.Origin != "ca" || o.Unit != nil || o.Orphan != nil ||
		(*o.Summary)["protocol_version"] != "TLS 1.3" || (*o.Names)["tls::protocol_version"] != "TLS 1.3" || *o.Data[0].Word != 772 {
		t.Errorf("%+v", o)
	}
	if inner := *o.Children; len(inner) != 1 || *inner[0].Name != "tls::key_exchange" || inner[0].Cursor != nil || (*inner[0].Names)["tls::group"] != "X25519MLKEM768" {
		t.Errorf("%+v", inner)
	}
	if key := list[1].Data[0].Key; key != `k\x00` {
		t.Errorf("key %s", key)
	}
	newest, before, _, err := api.ReadOperations().Call(bounded(t), c, "newest", nil, pointer(int64(1)), pointer(true))
	if err != nil || len(newest) != 1 || *newest[0].Name != "x::y" {
		t.Errorf("%+v, %v", newest, err)
	}
	older, _, _, err := api.ReadOperations().Call(bounded(t), c, before, &api.Filter{Matches: &[]string{"tls::group=4588"}}, nil, pointer(true))
	if err != nil || len(older) != 1 || *older[0].Cursor != *o.Cursor {
		t.Errorf("%+v, %v", older, err)
	}
	var denied *api.InvalidFilter
	if _, _, _, err := api.ReadOperations().Call(bounded(t), c, "oldest", &api.Filter{Contexts: &[]string{"a b"}}, nil, nil); !errors.As(err, &denied) {
		t.Errorf("%v", err)
	}
}
