// SPDX-License-Identifier: Apache-2.0

package busservice_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"math"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/varlink/go/varlink"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/cli"
	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/varlinkservice"
	"crypto-auditing/src/internal/varlinkservice/brokerservice"
	api "crypto-auditing/src/internal/varlinkservice/orgcryptoauditingbroker"
)

// oddities returns groups that interfaces could show differently.
func oddities() []event.Group {
	nul := event.Value{Kind: event.String, Bytes: []byte("a\x00b")}
	text := event.Value{Kind: event.String, Bytes: []byte("grün")}
	id := func(n byte) event.ContextID { return event.ContextID{n} }
	return []event.Group{
		oddGroup(),
		// A later group of the same context.
		{Context: event.ContextID{0xab, 1}, Name: []byte("tls::handshake"), Executable: []byte("a\xff\\b\n"), Origin: []byte{0xca, 0xfe},
			Events: []event.Event{{Key: []byte("tls::protocol_version"), Value: event.Value{Word: 772}}}},
		{Context: id(7), Name: []byte("tls::handshake"), Unit: []byte(`a\x2db@c.service`), Source: []byte(event.Wire), Events: []event.Event{
			{Kind: event.NewContext, Parent: id(7)}, {Key: []byte("k"), Value: text},
		}},
		// As in logs of the public project: only the first event has the attributes.
		{Context: id(2), Events: []event.Event{
			{Kind: event.NewContext, Parent: id(2), Origin: []byte{1, 2}, Executable: []byte("back\\slash")},
			{Key: []byte("name"), Value: event.Value{Kind: event.String, Bytes: []byte("a\x00name")}},
		}},
		{Context: id(3), Name: []byte("nul\x00 tab\t back\\slash"), Events: []event.Event{
			{Kind: event.NewContext, Parent: id(3)},
			{Key: []byte("tab\tback\\slash"), Value: text}, {Key: []byte("del\x7f\u0085"), Value: nul},
			{Key: []byte("negative"), Value: event.Value{Word: math.MinInt64}},
			{Key: []byte("cut"), Value: event.Value{Kind: event.Blob, Bytes: []byte("plain text"), Truncated: true}},
		}},
		// Times out of range.
		{Context: id(4), Start: 1 << 63, End: math.MaxUint64, Events: []event.Event{{Kind: event.NewContext, Parent: id(4)}}},
		{Context: id(5), Start: math.MaxInt64, End: math.MaxInt64, Events: []event.Event{{Key: []byte("k"), Value: text}}},
		{Context: id(6), Start: 1, End: math.MaxUint64, Events: []event.Event{{Key: []byte("k"), Value: text}}},
	}
}

// canonical returns groups of the Go client with times in µs, as on the bus.
func canonical(groups []client.Group) []client.Group {
	all := make([]client.Group, len(groups))
	for i, g := range groups {
		for _, t := range []*time.Time{&g.Start, &g.End, &g.UnrecordedSince, &g.UnrecordedUntil} {
			if !t.IsZero() {
				*t = time.UnixMicro(t.UnixMicro()).UTC()
			}
		}
		all[i] = g
	}
	return all
}

// fromVarlink converts a group from varlink to one of the Go client.
func fromVarlink(t *testing.T, v api.Group) client.Group {
	t.Helper()
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	at := func(us *int64) (at time.Time) {
		if us != nil {
			at = time.UnixMicro(*us).UTC()
		}
		return at
	}
	g := client.Group{
		Sequence: uint64(v.Sequence), Context: v.Context, Start: at(&v.StartUSec), End: at(&v.EndUSec),
		Opens: v.Parent != nil, Parent: text(v.Parent), Name: text(v.Name), Origin: text(v.Origin), Executable: text(v.Executable),
		Unit: text(v.Unit), Source: text(v.Source), Reason: text(v.Reason), UnrecordedSince: at(v.UnrecordedSinceUSec), UnrecordedUntil: at(v.UnrecordedUntilUSec),
		Data: []client.Datum{},
	}
	if v.Lost != nil {
		g.Lost = uint64(*v.Lost)
	}
	for _, d := range v.Data {
		datum := client.Datum{Key: d.Key}
		switch {
		case d.Word != nil:
			datum.Value = *d.Word
		case d.Text != nil:
			datum.Value = *d.Text
		default:
			blob, err := base64.StdEncoding.DecodeString(text(d.Blob))
			if err != nil {
				t.Fatal(err)
			}
			datum.Value = blob
		}
		g.Data = append(g.Data, datum)
	}
	return g
}

// overVarlink reads the log of a broker over varlink.
func overVarlink(t *testing.T, b *broker.Broker) []client.Group {
	t.Helper()
	path := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	service, err := brokerservice.New(brokerservice.Options{Broker: b})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- varlinkservice.New(service, varlinkservice.Options{
			Limits: brokerservice.Limits(), LimitError: brokerservice.LimitError,
			Peer: func(net.Conn) (varlinkservice.Peer, error) { return varlinkservice.Peer{}, nil },
		}).Serve(ctx, brokerservice.NewListener(l))
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	c, err := varlink.NewConnection(ctx, "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	groups, _, _, _, err := api.Read().Call(ctx, c, "oldest", nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := []client.Group{}
	for _, g := range groups {
		all = append(all, fromVarlink(t, g))
	}
	return all
}

func TestAGroupIsTheSameOverEveryInterface(t *testing.T) {
	s := serve(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := client.Connect(ctx, client.WithAddress(s.bus.Address))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	subscription, err := c.Subscribe(ctx, client.SubscribeOptions{After: client.Oldest})
	if err != nil {
		t.Fatal(err)
	}
	defer subscription.Close()
	for _, g := range oddities() {
		s.log.Write(g)
	}
	now := logstore.SystemClock{}.Now().Boot
	for _, notice := range [][]byte{
		event.AppendLoss(nil, &event.Loss{Events: 3, Reason: "nul\x00", Place: "kernel", Start: now, End: now}),
		event.AppendLibraryUnrecorded(nil, event.LibraryAdded, "lib\\x.so", []byte{7}, now, now),
		event.AppendLibraryUnrecorded(nil, event.LibraryAdded, "later.so", nil, now, math.MaxUint64),
	} {
		var g event.Group
		if _, err := event.Decode(notice, &g); err != nil {
			t.Fatal(err)
		}
		s.log.Write(g)
	}
	last := s.log.Flush().Sequence

	read, err := c.Read(ctx, client.Oldest, client.Filter{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := canonical(read.Groups)
	if len(want) != int(last) || len(want) < 10 {
		t.Fatalf("%d groups, want %d", len(want), last)
	}
	ways := map[string][]client.Group{"varlink": overVarlink(t, s.broker)}
	for g, err := range c.Groups(ctx, client.Oldest, client.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		ways["Open"] = append(ways["Open"], g)
	}
	for n := uint64(0); n < last; {
		batch, err := subscription.Next(ctx)
		if err != nil || batch.Skipped != nil {
			t.Fatalf("%+v, %v", batch, err)
		}
		ways["signals"] = append(ways["signals"], batch.Groups...)
		n = batch.Groups[len(batch.Groups)-1].Sequence
	}
	for way, groups := range ways {
		if len(groups) != len(want) {
			t.Errorf("%s: %d groups, want %d", way, len(groups), len(want))
			continue
		}
		for i, g := range canonical(groups) {
			if !reflect.DeepEqual(g, want[i]) {
				t.Errorf("%s has %+v\nRead    %+v", way, g, want[i])
			}
		}
	}
	// Check the values, and not only that all are the same.
	if unit := want[3]; unit.Unit != `a\x2db@c.service` || unit.Source != "wire" {
		t.Errorf("%+v", unit)
	}
	nul, odd, late := want[4], want[5], want[6]
	if nul.Executable != `back\x5cslash` || nul.Origin != "0102" || !reflect.DeepEqual(nul.Data[0].Value, []byte("a\x00name")) {
		t.Errorf("%+v", nul)
	}
	if odd.Name != `nul\x00 tab\x09 back\x5cslash` || odd.Data[0] != (client.Datum{Key: `tab\x09back\x5cslash`, Value: "grün"}) {
		t.Errorf("%+v", odd)
	}
	if epoch := time.UnixMicro(0); !late.Start.Equal(epoch) || !late.End.Equal(epoch) {
		t.Errorf("%+v", late)
	}
	compareWithCrauctl(t, s, want)
}

// compareWithCrauctl compares groups with the trees of crauctl, whose contexts have one or
// two groups here.
func compareWithCrauctl(t *testing.T, s *served, groups []client.Group) {
	t.Helper()
	var out, errs bytes.Buffer
	status := cli.Run(context.Background(), []string{"query", "-o", "json"}, console.Environment{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: time.Now, Location: time.UTC,
		Lookup: func(name string) (string, bool) { return s.bus.Address, name == "DBUS_SYSTEM_BUS_ADDRESS" },
	})
	if status != 0 {
		t.Fatalf("crauctl: status %d: %s", status, errs.String())
	}
	type span struct {
		Context, Origin, Executable string
		Start, End                  float64
		Events                      map[string]any
	}
	shown := map[string]span{}
	for d := json.NewDecoder(&out); d.More(); {
		var tree span
		if err := d.Decode(&tree); err != nil {
			t.Fatal(err)
		}
		if tree.Context != "" {
			shown[tree.Context] = tree
		}
	}
	for _, g := range groups {
		if g.IsMetadata() {
			continue
		}
		tree, ok := shown[g.Context]
		if !ok || tree.Executable != g.Executable || tree.Origin != g.Origin {
			t.Errorf("crauctl shows %+v\nRead has   %+v", tree, g)
		}
		seconds := func(at time.Time) float64 { return float64(at.UnixMicro()) / 1e6 }
		if (g.Opens || len(g.Data) == 1 && g.Name == "") && (math.Abs(tree.Start-seconds(g.Start)) > 1e-5 || math.Abs(tree.End-seconds(g.End)) > 1e-5) {
			t.Errorf("crauctl: %v to %v\nRead     %v to %v", tree.Start, tree.End, g.Start, g.End)
		}
		for _, d := range g.Data {
			// The form of the public project has arrays of bytes, and strings that hold NUL.
			value, ok := tree.Events[d.Key]
			if !ok {
				t.Errorf("crauctl shows no %q: %v", d.Key, tree.Events)
			}
			if word, is := d.Value.(int64); is && value != float64(word) {
				t.Errorf("crauctl: %q is %v, want %v", d.Key, value, word)
			}
			if text, is := d.Value.(string); is && value != text {
				t.Errorf("crauctl: %q is %v, want %q", d.Key, value, text)
			}
		}
	}
}
