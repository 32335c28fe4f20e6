// SPDX-License-Identifier: Apache-2.0

package busservice_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/busservice"
	"crypto-auditing/src/internal/cli"
	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// later sets the clock ahead, so that recorded operations are complete.
func later(_ *busservice.Options, o *broker.Options) {
	o.Now = func() time.Time { return time.Now().Add(time.Hour) }
}

// operations is the result of ReadOperations.
type operations struct {
	list    []dict
	next    string
	missing uint64
}

func (p *peer) readOperations(after string, filter dict, most uint32, options dict) (o operations) {
	p.t.Helper()
	if err := p.call("ReadOperations", after, filter, most, options).Store(&o.list, &o.next, &o.missing); err != nil {
		p.t.Fatal(err)
	}
	return o
}

// allOperations reads page by page until the cursor does not move.
func (p *peer) allOperations(after string, filter dict, options dict, most func() uint32) (all []dict) {
	p.t.Helper()
	for {
		page := p.readOperations(after, filter, most(), options)
		all = append(all, page.list...)
		if page.next == after {
			return all
		}
		after = page.next
	}
}

// handshakes returns the groups of random operations, a few of which are in progress at a time.
func handshakes(r *rand.Rand, n int) (groups []event.Group) {
	text := func(s string) event.Value { return event.Value{Kind: event.String, Bytes: []byte(s)} }
	var open [][]event.Group
	ids := uint64(0)
	id := func() (c event.ContextID) {
		ids++
		for i := range 8 {
			c[i] = byte(ids >> (8 * i))
		}
		c[15] = 1
		return c
	}
	for len(groups) < n {
		if len(open) < 1+r.IntN(20) {
			root, program := id(), []byte([]string{"curl", "nginx", `odd\x`}[r.IntN(3)])
			operation := []event.Group{{Context: root, Executable: program, Events: []event.Event{
				{Kind: event.NewContext, Parent: event.ContextID{0xff}, Origin: []byte{byte(r.IntN(3) + 1)}},
				{Key: []byte("name"), Value: text([]string{"tls::handshake_client", "tls::handshake_server", "x::unknown"}[r.IntN(3)])},
				{Key: []byte("tls::protocol_version"), Value: event.Value{Word: int64(771 + r.IntN(2))}},
			}}}
			if r.IntN(8) == 0 {
				operation[0].Events = operation[0].Events[1:] // its beginning was lost
			}
			if r.IntN(2) == 0 {
				operation[0].Unit, operation[0].Source = []byte("a.service"), []byte(event.Wire)
			}
			parent := root
			for range r.IntN(12) {
				inner := id()
				operation = append(operation, event.Group{Context: inner, Executable: program, Events: []event.Event{
					{Kind: event.NewContext, Parent: parent},
					{Key: []byte("name"), Value: text([]string{"tls::key_exchange", "tls::sign", "y::z"}[r.IntN(3)])},
					{Key: []byte("tls::group"), Value: event.Value{Word: []int64{29, 4588, 99}[r.IntN(3)]}},
				}})
				if r.IntN(3) > 0 {
					parent = inner
				}
			}
			operation = append(operation, event.Group{Context: root, Name: []byte("tls::handshake_client"), Executable: program, Events: []event.Event{
				{Key: []byte("tls::ciphersuite"), Value: event.Value{Word: int64(0x1301 + r.IntN(3))}}, {Key: []byte("k"), Value: event.Value{Kind: event.Blob, Bytes: []byte{0, 0xff}}},
			}})
			open = append(open, operation)
		}
		i := r.IntN(len(open))
		groups = append(groups, open[i][0])
		if open[i] = open[i][1:]; len(open[i]) == 0 {
			open = slices.Delete(open, i, i+1)
		}
	}
	return groups
}

// tangle returns groups of few contexts, which are opened repeatedly.
func tangle(r *rand.Rand, n int) []event.Group {
	names := []string{"tls::handshake", "tls::key_exchange", "tls::sign", "pk::derive", "x::y"}
	groups := make([]event.Group, n)
	for i := range groups {
		g := &groups[i]
		g.Context, g.Executable = event.ContextID{1 + byte(r.IntN(250))}, []byte("curl")
		for range r.IntN(3) {
			g.Events = append(g.Events, event.Event{Kind: event.NewContext, Parent: event.ContextID{1 + byte(r.IntN(255))}, Origin: []byte{7}})
			g.Events = append(g.Events, event.Event{Key: []byte("name"), Value: event.Value{Kind: event.String, Bytes: []byte(names[r.IntN(5)])}})
		}
		g.Events = append(g.Events, event.Event{Key: []byte("tls::group"), Value: event.Value{Word: r.Int64N(30)}})
	}
	return groups
}

// lines returns the output of crauctl for the log, one line per operation.
func (s *served) lines(t *testing.T, arguments ...string) (lines []string) {
	t.Helper()
	var out, errs bytes.Buffer
	status := cli.Run(context.Background(), append([]string{"query", "-o", "json", "--names", "--all", "-D", s.log.Dir}, arguments...), console.Environment{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: time.Now, Location: time.UTC,
		Lookup: func(string) (string, bool) { return "", false },
	})
	if status != 0 {
		t.Fatalf("crauctl: status %d: %s", status, errs.String())
	}
	for d := json.NewDecoder(&out); d.More(); {
		d.UseNumber()
		var tree map[string]any
		if err := d.Decode(&tree); err != nil {
			t.Fatal(err)
		}
		if tree["context"] != nil {
			lines = append(lines, shownTree(tree, 0)[0])
		}
	}
	return lines
}

// shownTree formats a tree of crauctl as a line. Trees deeper than operations on the bus can be
// are formatted as further lines.
func shownTree(o map[string]any, level int) (lines []string) {
	events := o["events"].(map[string]any)
	var unit, source any = "", ""
	var data []string
	for key, value := range events {
		switch {
		case key == event.KeyUnit:
			unit = value
		case key == event.KeySource:
			source = value
		case strings.HasSuffix(key, "_name"):
			data = append(data, fmt.Sprintf("%s is %v", strings.TrimSuffix(key, "_name"), value))
		default:
			data = append(data, fmt.Sprintf("%s=%v", key, value))
		}
	}
	slices.Sort(data)
	start, _ := o["start"].(json.Number).Float64()
	var inside []string
	spans, _ := o["spans"].([]any)
	for _, inner := range spans {
		inside = append(inside, shownTree(inner.(map[string]any), level+1)...)
	}
	line := fmt.Sprintf("%v %v %v %v %v %.4f %v %v", o["context"], o["origin"], o["executable"], unit, source, math.Floor(start*1e4)/1e4, o["headless"] == true, data)
	if level >= 8 {
		return append([]string{line + "[]"}, inside...)
	}
	return []string{line + fmt.Sprint(inside)}
}

// busTree formats an operation of the bus in the same way.
func busTree(o dict) string { return busTreeIn(o, dict{}) }

// busTreeIn formats an operation inside another one, from which it inherits attributes.
func busTreeIn(o, around dict) string {
	o = maps.Clone(o)
	for _, key := range []string{"executable", "unit", "library", "origin", "source"} {
		if _, ok := o[key]; !ok && around[key].Value() != nil {
			o[key] = around[key]
		}
	}
	at := func(key string) any {
		if v, ok := o[key]; ok {
			return v.Value()
		}
		return ""
	}
	var data []string
	var list []struct {
		Key   string
		Value dbus.Variant
	}
	var names map[string]string
	var children []dict
	for key, to := range map[string]any{"data": &list, "names": &names, "children": &children} {
		if v, ok := o[key]; ok {
			if err := v.Store(to); err != nil {
				return err.Error()
			}
		}
	}
	for _, d := range list {
		data = append(data, fmt.Sprintf("%s=%v", d.Key, d.Value.Value()))
	}
	for key, name := range names {
		data = append(data, fmt.Sprintf("%s is %v", key, name))
	}
	if name := at("name"); name != "" && !slices.ContainsFunc(data, func(d string) bool { return strings.HasPrefix(d, "name=") }) {
		data = append(data, fmt.Sprintf("name=%v", name))
	}
	slices.Sort(data)
	var inside []string
	for _, inner := range children {
		inside = append(inside, busTreeIn(inner, o))
	}
	start := float64(o["start"].Value().(uint64)) / 1e6
	return fmt.Sprintf("%v %v %v %v %v %.4f %v %v", at("context"), at("origin"), at("executable"), at("unit"), at("source"), math.Floor(start*1e4)/1e4, at("orphan") == true, data) + fmt.Sprint(inside)
}

func TestOperationsOnTheBusMatchCrauctl(t *testing.T) {
	for name, groups := range map[string]func(*rand.Rand) []event.Group{
		"few":    func(r *rand.Rand) []event.Group { return handshakes(r, 300) },
		"many":   func(r *rand.Rand) []event.Group { return handshakes(r, 26_000) },
		"tangle": func(r *rand.Rand) []event.Group { return tangle(r, 3000) },
	} {
		t.Run(name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 1))
			s := serve(t, later)
			recorded := groups(r)
			// Rounding does not affect these times, and some go back. No operation pauses for
			// two seconds, after which crauctl would still continue it.
			now := logstore.SystemClock{}.Now()
			first := now.Boot - uint64(now.Offset+int64(now.Boot))%uint64(time.Millisecond)
			step := uint64(time.Millisecond)
			if name == "tangle" {
				step /= 10
			}
			for i := range recorded {
				recorded[i].Start = first + uint64(i)*step + 250_000 - uint64(r.IntN(2))*10_000_000*uint64(min(i, 20)/20)
				recorded[i].End = recorded[i].Start
			}
			for len(recorded) > 0 {
				n := min(len(recorded), 1+r.IntN(400))
				s.log.Write(recorded[:n]...)
				if recorded = recorded[n:]; r.IntN(20) == 0 {
					s.log.Rotate()
				}
			}
			s.log.Flush()
			want := s.lines(t)
			slices.Sort(want) // the order differs
			p := s.connect(t)
			var cursors [2][]string
			for i, reverse := range []bool{false, true} {
				options, from := dict{}, "oldest"
				if reverse {
					options, from = all("reverse", true), "newest"
				}
				list := p.allOperations(from, dict{}, options, func() uint32 { return uint32(r.IntN(1001)) })
				if reverse {
					slices.Reverse(list)
				}
				got := make([]string, len(list))
				for j := range list {
					got[j] = busTree(list[j])
					cursors[i] = append(cursors[i], list[j]["cursor"].Value().(string))
				}
				if !slices.IsSorted(cursors[i]) {
					t.Errorf("reverse %v: the operations are not in the order of their cursors", reverse)
				}
				slices.Sort(got)
				if len(got) != len(want) || len(want) < 10 {
					t.Errorf("reverse %v: %d operations, crauctl shows %d", reverse, len(got), len(want))
				}
				for i := range min(len(got), len(want)) {
					if got[i] != want[i] {
						t.Fatalf("reverse %v: operation %d\nis   %s\nwant %s", reverse, i, got[i], want[i])
					}
				}
			}
			if !slices.Equal(cursors[0], cursors[1]) {
				t.Error("the order differs between the directions")
			}
			if name != "few" {
				return // crauctl reads only around what it searches for, which is not exact in a tangle
			}
			for match, filter := range map[string]dict{
				"tls::group=X25519MLKEM768":   all("matches", []string{"tls::group=4588"}),
				"--executable=nginx":          all("executables", []string{"nginx"}),
				"--context=tls::sign":         all("contexts", []string{"tls::sign"}),
				"--unit=a.service":            all("units", []string{"a.service"}),
				"--source=wire":               all("sources", []string{"wire"}),
				"tls::protocol_version=0x303": all("matches", []string{"tls::protocol_version=TLS 1.2"}),
			} {
				var got []string
				for _, o := range p.allOperations("oldest", filter, dict{}, func() uint32 { return 0 }) {
					got = append(got, busTree(o))
				}
				slices.Sort(got)
				if want := slices.Sorted(slices.Values(s.lines(t, match))); !reflect.DeepEqual(got, want) {
					t.Errorf("%s: %d operations, crauctl shows %d", match, len(got), len(want))
				}
			}
		})
	}
}

// write records groups with a time in the past.
func (s *served) write(ago time.Duration, groups ...event.Group) {
	at := logstore.SystemClock{}.Now().Boot - uint64(ago)
	for i := range groups {
		groups[i].Start, groups[i].End = at, at
	}
	s.log.Write(groups...)
	s.log.Flush()
}

// opening returns a group that opens a context.
func opening(id, parent byte, name string) event.Group {
	return event.Group{Context: event.ContextID{id}, Name: []byte(name), Executable: []byte("curl"), Events: []event.Event{
		{Kind: event.NewContext, Parent: event.ContextID{parent}},
		{Key: []byte("name"), Value: event.Value{Kind: event.String, Bytes: []byte(name)}},
	}}
}

func TestAnOperationIsReturnedOnceWhenComplete(t *testing.T) {
	begin := logstore.SystemClock{}.Now()
	var now atomic.Int64 // since begin
	s := serve(t, func(_ *busservice.Options, o *broker.Options) {
		o.Now = func() time.Time { return time.Unix(0, int64(begin.Boot)+begin.Offset+now.Load()) }
	})
	write := func(at time.Duration, g event.Group) {
		g.Start = begin.Boot + uint64(at)
		g.End = g.Start
		s.log.Write(g)
		s.log.Flush()
	}
	p := s.connect(t)
	now.Store(int64(5 * time.Second))
	write(0, opening(1, 99, "tls::handshake_client"))
	write(5*time.Second, opening(2, 99, "tls::handshake_server"))
	first := p.readOperations("oldest", dict{}, 0, dict{})
	if len(first.list) != 1 || first.list[0]["name"].Value() != "tls::handshake_client" {
		t.Fatalf("%v", first.list)
	}
	if again := p.readOperations(first.next, dict{}, 0, dict{}); len(again.list) != 0 || again.next != first.next {
		t.Errorf("%v", again)
	}
	if back := p.readOperations("newest", dict{}, 0, all("reverse", true)); len(back.list) != 1 || back.list[0]["cursor"].Value() == "" {
		t.Errorf("%v", back)
	}
	now.Store(int64(8 * time.Second))
	second := p.readOperations(first.next, dict{}, 0, dict{})
	if len(second.list) != 1 || second.list[0]["name"].Value() != "tls::handshake_server" {
		t.Fatalf("%v", second.list)
	}
	if between := p.readOperations(second.list[0]["cursor"].Value().(string), dict{}, 0, dict{}); len(between.list) != 0 {
		t.Errorf("%v", between.list)
	}
	// Events after a pause are another operation, which does not delay others.
	now.Store(int64(time.Hour))
	write(30*time.Second, event.Group{Context: event.ContextID{2}, Events: []event.Event{{Key: []byte("tls::ciphersuite"), Value: event.Value{Word: 0x1301}}}})
	if third := p.readOperations(second.next, dict{}, 0, dict{}); len(third.list) != 1 || third.list[0]["orphan"].Value() != true {
		t.Errorf("%v", third.list)
	}
	if all := p.allOperations("oldest", dict{}, dict{}, func() uint32 { return 1 }); len(all) != 3 {
		t.Errorf("%d operations", len(all))
	}
}

func TestATooDeepOrTooLargeOperationIsTruncated(t *testing.T) {
	s := serve(t, later)
	for i := range 12 {
		s.write(0, opening(byte(i+1), byte(i), "x::y"))
	}
	for i := range 120 {
		g := opening(100, 99, "x::large")
		if i > 0 {
			g.Events = nil
		}
		for j := range 60 {
			g.Events = append(g.Events, event.Event{Key: fmt.Appendf(nil, "k%d", i*100+j), Value: event.Value{Kind: event.Blob, Bytes: make([]byte, 900)}})
		}
		s.write(0, g)
	}
	s.write(0, opening(101, 99, "x::small"))
	p := s.connect(t)
	list := p.allOperations("oldest", dict{}, dict{}, func() uint32 { return 0 })
	if len(list) != 3 {
		t.Fatalf("%d operations", len(list))
	}
	levels := 0
	for o, inside := list[0], []dict(nil); o["children"].Store(&inside) == nil; o, inside = inside[0], nil {
		if levels++; levels == 8 && len(inside) != 4 {
			t.Errorf("the last level has %d contexts", len(inside))
		}
		if len(inside) == 0 {
			break
		}
		if _, deeper := inside[0]["children"]; !deeper {
			break
		}
	}
	if levels != 8 || list[0]["truncated"].Value() != true {
		t.Errorf("%d levels, truncated: %v", levels, list[0]["truncated"])
	}
	if large := list[1]; large["name"].Value() != "x::large" || large["truncated"].Value() != true {
		t.Errorf("%v, truncated: %v", large["name"], large["truncated"])
	}
	if small := list[2]; small["name"].Value() != "x::small" || small["truncated"].Value() != nil {
		t.Errorf("%v", small)
	}
}

func TestOperationsCountMissingEntries(t *testing.T) {
	s := serve(t, later)
	s.write(0, opening(1, 99, "x::y"))
	begin := s.log.Flush()
	s.write(0, opening(2, 99, "x::y"), opening(3, 99, "x::y"))
	s.log.Rotate()
	s.write(0, opening(4, 99, "x::y"))
	p := s.connect(t)
	if err := p.call("Truncate", all("max-size", uint64(1))).Err; err != nil {
		t.Fatal(err)
	}
	whole := p.read(begin.String(), dict{}, 0)
	for _, options := range []dict{{}, all("reverse", true)} {
		from := begin.String()
		if len(options) > 0 {
			from = "newest"
		}
		page := p.readOperations(from, dict{}, 0, options)
		if len(page.list) != 1 || len(options) == 0 && (page.missing != whole.missing || page.missing < 2) {
			t.Errorf("%v: %d operations, %d entries are missing, Read has %d", options, len(page.list), page.missing, whole.missing)
		}
	}
}

func TestTheGoClientReadsOperations(t *testing.T) {
	s := serve(t, later)
	for _, g := range handshakes(rand.New(rand.NewPCG(1, 2)), 200) {
		s.write(0, g)
	}
	p := s.connect(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := client.Connect(ctx, client.WithAddress(s.bus.Address))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, reverse := range []bool{false, true} {
		from, options := client.Oldest, dict{}
		if reverse {
			from, options = client.Newest, all("reverse", true)
		}
		page, err := c.ReadOperations(ctx, from, client.Filter{Scopes: []string{"tls"}}, client.OperationOptions{Limit: 7, Reverse: reverse})
		if err != nil {
			t.Fatal(err)
		}
		want := p.readOperations(string(from), all("scopes", []string{"tls"}), 7, options)
		if len(page.Operations) != 7 || len(want.list) != 7 || string(page.Next) != want.next {
			t.Fatalf("%d operations, next %s, want %s", len(page.Operations), page.Next, want.next)
		}
		for i := range page.Operations {
			if got := clientTree(&page.Operations[i]); got != busTree(want.list[i]) {
				t.Errorf("is   %s\nwant %s", got, busTree(want.list[i]))
			}
			if o := &page.Operations[i]; o.Cursor == "" || o.Summary["protocol_version"] == "" && o.Name != "x::unknown" {
				t.Errorf("%+v", o)
			}
		}
	}
}

// clientTree returns an operation of the Go client in the form of busTree.
func clientTree(o *client.Operation) string {
	var data, inside []string
	for _, d := range o.Data {
		data = append(data, fmt.Sprintf("%s=%v", d.Key, d.Value))
	}
	for key, name := range o.Names {
		data = append(data, fmt.Sprintf("%s is %v", key, name))
	}
	if o.Name != "" && !slices.ContainsFunc(data, func(d string) bool { return strings.HasPrefix(d, "name=") }) {
		data = append(data, "name="+o.Name)
	}
	slices.Sort(data)
	for i := range o.Children {
		inside = append(inside, clientTree(&o.Children[i]))
	}
	start := float64(o.Start.UnixMicro()) / 1e6
	return fmt.Sprintf("%v %v %v %v %v %.4f %v %v", o.Context, o.Origin, o.Executable, o.Unit, o.Source, math.Floor(start*1e4)/1e4, o.Orphan, data) + fmt.Sprint(inside)
}
