// SPDX-License-Identifier: Apache-2.0

package window

import (
	"fmt"
	"slices"
	"testing"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/pipeline/join"
	"crypto-auditing/src/internal/probe"
	"crypto-auditing/src/internal/status"
	"crypto-auditing/src/internal/wire"
)

// seen is a handshake at a socket of the process of the tests.
func seen(at uint64, role string, version, suite, group int64) *join.Operation {
	o := &join.Operation{
		Task: 7, Context: 1<<63 | 1<<8, Start: at * timeResolution, End: (at + 1) * timeResolution, Executable: "curl", Unit: "x.service", Source: event.Wire,
		Root: wire.Context{
			Name:     "tls::handshake",
			Elements: []wire.Element{{Key: "tls::role", Text: role}, {Key: "tls::protocol_version", Word: version}, {Key: "tls::ciphersuite", Word: suite}},
			Contexts: []wire.Context{{Name: "tls::key_exchange", Elements: []wire.Element{{Key: "tls::group", Word: group}}}},
		},
		Values: join.Values{Role: role, Version: version, Suite: suite},
	}
	o.AddGroup(group)
	return o
}

// joined is what becomes of a handshake at a socket after records of a library.
func joined(t *testing.T, o *join.Operation, records ...*probe.Record) (groups []event.Group, c status.Coverage) {
	t.Helper()
	w := testWindow(t)
	w.Join(join.New())
	for _, r := range records {
		w.Take(r)
	}
	flushWindow(t, w)
	if !w.join.Offer(o) {
		w.Add(o)
	}
	for range join.MatchSettles + join.MismatchSettles {
		w.join.Settle(false, w.Add, w.Complete, w.Contradict)
	}
	if !w.Empty() {
		groups, _ = flushWindow(t, w)
	}
	for _, c := range w.join.Coverage() {
		return groups, c
	}
	return groups, status.Coverage{}
}

func TestAHandshakeSeenAtItsSocketIsAnOperationOfItsOwn(t *testing.T) {
	groups, c := joined(t, seen(10, "client", 772, 0x1301, 29))
	if len(groups) != 2 || c.Socket != 1 {
		t.Fatalf("%d groups, coverage %+v", len(groups), c)
	}
	root, inner := &groups[0], &groups[1]
	if string(root.Name) != "tls::handshake" || string(root.Executable) != "curl" || string(root.Unit) != "x.service" || string(inner.Source) != "wire" || root.Start != 10*timeResolution || root.End != 11*timeResolution {
		t.Errorf("the root is %+v", root)
	}
	if len(root.Events) != 5 || root.Events[0].Kind != event.NewContext || root.Events[0].Parent == root.Context {
		t.Errorf("the root's events are %+v", root.Events)
	}
	if string(inner.Name) != "tls::key_exchange" || inner.Events[0].Parent != root.Context || inner.Events[2].Value.Word != 29 {
		t.Errorf("the inner context is %+v", inner)
	}
}

func TestAHandshakeThatALibraryReportsIsNotWrittenTwice(t *testing.T) {
	handshake := opens(1, 1, event.NoParent, text("name", "tls::handshake_client"))
	exchange := func(groups ...int64) *probe.Record {
		r := opens(3, 2, 1, text("name", "tls::key_exchange"))
		for _, g := range groups {
			r.Elements = append(r.Elements, number("tls::group", g))
		}
		return r
	}
	version, suite := sets(2, 1, number("tls::protocol_version", 772)), sets(2, 1, number("tls::ciphersuite", 0x1301))
	other := *handshake
	other.PIDTGID = 1<<32 | 7
	for name, c := range map[string]struct {
		records []*probe.Record
		role    string
		// groups is what is written of the socket's.
		groups int
		want   status.Coverage
	}{
		"all values agree":         {[]*probe.Record{handshake, version, suite, exchange(29)}, "client", 0, status.Coverage{Matched: 1}},
		"one of the groups does":   {[]*probe.Record{handshake, version, suite, exchange(23, 29)}, "client", 0, status.Coverage{Matched: 1}},
		"without values":           {[]*probe.Record{handshake}, "client", 1, status.Coverage{Matched: 1}},
		"without the suite":        {[]*probe.Record{handshake, version, exchange(29)}, "client", 1, status.Coverage{Matched: 1}},
		"another version":          {[]*probe.Record{handshake, sets(2, 1, number("tls::protocol_version", 771))}, "client", 3, status.Coverage{Mismatched: 1}},
		"another group":            {[]*probe.Record{handshake, version, suite, exchange(23)}, "client", 3, status.Coverage{Mismatched: 1}},
		"the other role":           {[]*probe.Record{handshake, version, suite}, "server", 2, status.Coverage{Socket: 1}},
		"another process":          {[]*probe.Record{&other}, "client", 2, status.Coverage{Socket: 1}},
		"no handshake":             {[]*probe.Record{opens(1, 1, event.NoParent, text("name", "tls::handshakes"))}, "client", 2, status.Coverage{Socket: 1}},
		"the role as a value":      {[]*probe.Record{opens(1, 1, event.NoParent, text("name", "tls::handshake"), text("tls::role", "server")), version, suite}, "server", 0, status.Coverage{Matched: 1}},
		"of two the one that fits": {[]*probe.Record{handshake, sets(2, 1, number("tls::protocol_version", 771)), opens(3, 3, event.NoParent, text("name", "tls::handshake_client")), sets(4, 3, number("tls::protocol_version", 772), number("tls::ciphersuite", 0x1301))}, "client", 0, status.Coverage{Matched: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			groups, got := joined(t, seen(10, c.role, 772, 0x1301, 29), c.records...)
			c.want.Executable = "curl"
			if len(groups) != c.groups || got != c.want {
				t.Errorf("%d groups, coverage %+v; want %d, %+v", len(groups), got, c.groups, c.want)
			}
		})
	}
}

func TestAHandshakeOfALibraryIsCompletedFromItsSocket(t *testing.T) {
	groups, _ := joined(t, seen(10, "client", 772, 0x1301, 29),
		opens(1, 1, event.NoParent, text("name", "tls::handshake_client")), sets(2, 1, number("tls::protocol_version", 772)))
	if len(groups) != 1 || len(groups[0].Events) != 1 {
		t.Fatalf("got %+v", groups)
	}
	g, e := &groups[0], &groups[0].Events[0]
	if string(g.Name) != "tls::handshake_client" || string(g.Executable) != "curl" || string(g.Source) != "wire" || string(e.Key) != "tls::ciphersuite" || e.Value.Word != 0x1301 {
		t.Errorf("the group is %+v", g)
	}
}

// Which of two handshakes of a task was seen first at a socket cannot be known if
// they agree in all that the library reports.
func TestAnAmbiguousValueIsNotAdded(t *testing.T) {
	const other = 0x1302
	handshake := func(context, task uint64) *probe.Record {
		r := opens(context, context, event.NoParent, text("name", "tls::handshake_server"), number("tls::protocol_version", 772))
		r.PIDTGID = task
		return r
	}
	for name, c := range map[string]struct {
		tasks  []uint64
		suites []int64
		want   []int64
	}{
		"two suites, one task":          {[]uint64{7, 7}, []int64{0x1301, other}, nil},
		"one suite, one task":           {[]uint64{7, 7}, []int64{other, other}, []int64{other}},
		"two suites, one of three late": {[]uint64{7, 7, 7}, []int64{0x1301, other, other}, nil},
		"two suites, two tasks":         {[]uint64{7, 8}, []int64{0x1301, other}, []int64{0x1301, other}},
		"another task first":            {[]uint64{8, 7}, []int64{other, 0x1301}, []int64{other, 0x1301}},
	} {
		t.Run(name, func(t *testing.T) {
			w := testWindow(t)
			w.Join(join.New())
			for i, task := range c.tasks {
				w.Take(handshake(uint64(i+1), task))
			}
			flushWindow(t, w)
			for i, suite := range c.suites {
				o := seen(10+uint64(i), "server", 772, suite, 29)
				o.Task = c.tasks[i]
				w.join.Offer(o)
			}
			w.join.Settle(true, w.Add, w.Complete, w.Contradict)
			var got []int64
			if !w.Empty() {
				groups, _ := flushWindow(t, w)
				for i := range groups {
					got = append(got, groups[i].Events[0].Value.Word)
				}
			}
			slices.Sort(got)
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) {
				t.Errorf("the suites %x were added, want %x", got, c.want)
			}
			if n := w.join.Coverage()[0].Matched; n != uint64(len(c.suites)) {
				t.Errorf("%d of %d were matched", n, len(c.suites))
			}
		})
	}
}

// A handshake of which a library and a socket gave different values is marked in both
// contexts, but only if it is certain that they are of one handshake.
func TestAMismatchIsMarkedOnBothSidesIfItIsCertain(t *testing.T) {
	handshake := func(context, task uint64, version int64) []*probe.Record {
		opened, data := opens(context, context, event.NoParent, text("name", "tls::handshake_client")), sets(context, context, number("tls::protocol_version", version))
		opened.PIDTGID, data.PIDTGID = task, task
		return []*probe.Record{opened, data}
	}
	at := func(task uint64, version, suite int64) *join.Operation {
		o := seen(10, "client", version, suite, 29)
		o.Task = task
		return o
	}
	const mismatch = "tls::protocol_version"
	for name, c := range map[string]struct {
		records []*probe.Record
		seen    []*join.Operation
		// marks is how many contexts are marked, with what coverage.
		marks int
		want  status.Coverage
	}{
		"another version":                        {handshake(1, 7, 771), []*join.Operation{at(7, 772, 0x1301)}, 2, status.Coverage{Mismatched: 1}},
		"in another thread":                      {handshake(1, 8, 771), []*join.Operation{at(7, 772, 0x1301)}, 2, status.Coverage{Mismatched: 1}},
		"two libraries in one process":           {append(handshake(1, 7, 771), handshake(2, 7, 770)...), []*join.Operation{at(7, 772, 0x1301)}, 0, status.Coverage{Socket: 1}},
		"one of them in this thread":             {append(handshake(1, 7, 771), handshake(2, 8, 770)...), []*join.Operation{at(7, 772, 0x1301)}, 2, status.Coverage{Mismatched: 1}},
		"two sockets for one of a library":       {handshake(1, 7, 771), []*join.Operation{at(7, 772, 0x1301), at(7, 772, 0x1302)}, 0, status.Coverage{Socket: 2}},
		"beside another library's, which agrees": {handshake(1, 7, 771), []*join.Operation{at(7, 772, 0x1301), at(7, 771, 0xc02f)}, 0, status.Coverage{Matched: 1, Socket: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			w := testWindow(t)
			w.Join(join.New())
			for _, r := range c.records {
				w.Take(r)
			}
			flushWindow(t, w)
			for i, o := range c.seen {
				o.Context += uint64(i) << 8
				if !w.join.Offer(o) {
					t.Fatalf("socket %d does not wait for a library", i)
				}
			}
			for range join.MatchSettles + join.MismatchSettles {
				w.join.Settle(false, w.Add, w.Complete, w.Contradict)
			}
			groups, _ := flushWindow(t, w)
			marks := 0
			for i := range groups {
				for _, e := range groups[i].Events {
					if string(e.Key) == "tls::mismatch" {
						marks++
						if string(e.Value.Bytes) != mismatch || string(groups[i].Source) != "wire" {
							t.Errorf("%s of source %q is marked %q", groups[i].Name, groups[i].Source, e.Value.Bytes)
						}
					}
				}
			}
			got := w.join.Coverage()[0]
			c.want.Executable = "curl"
			if marks != c.marks || got != c.want {
				t.Errorf("%d contexts are marked, coverage %+v; want %d, %+v", marks, got, c.marks, c.want)
			}
		})
	}
}

func TestAHandshakeOfFunctionsGetsValuesOfTheSocket(t *testing.T) {
	of := func(context uint64, contexts ...wire.Context) *join.Operation {
		return &join.Operation{
			Task: 7, Context: 3<<62 | context<<8, Start: 10 * timeResolution, End: 11 * timeResolution, Executable: "curl", Source: event.Function, Origin: []byte{1},
			Root:   wire.Context{Name: "tls::handshake", Elements: []wire.Element{{Key: "tls::role", Text: "client"}, {Key: "tls::result", Text: "completed"}}, Contexts: contexts},
			Values: join.Values{Role: "client", Version: 771, Suite: 0xc02f},
		}
	}
	exchange := wire.Context{Name: "tls::key_exchange", Elements: []wire.Element{{Key: "tls::group", Word: 29}}}
	for name, c := range map[string]struct {
		reported []*join.Operation
		contexts []string
		resumed  bool
	}{
		"a context and an element":       {[]*join.Operation{of(1)}, []string{"tls::key_exchange"}, true},
		"an element":                     {[]*join.Operation{of(1, exchange)}, nil, true},
		"nothing if it may be another's": {[]*join.Operation{of(1), of(2)}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := testWindow(t)
			w.Join(join.New())
			for _, o := range c.reported {
				w.join.Report(o, w.RootOf(o))
			}
			o := seen(10, "client", 771, 0xc02f, 29)
			o.Root.Elements = append(o.Root.Elements, wire.Element{Key: "tls::result", Text: "inferred"}, wire.Element{Key: "tls::resumed", Word: 0})
			if !w.join.Offer(o) {
				t.Fatal("the socket does not wait for a library")
			}
			w.join.Settle(true, w.Add, w.Complete, w.Contradict)
			if w.Empty() != (c.contexts == nil && !c.resumed) {
				t.Fatalf("the window is empty: %t", w.Empty())
			}
			if w.Empty() {
				return
			}
			groups, _ := flushWindow(t, w)
			var contexts []string
			resumed := false
			for i := range groups {
				g := &groups[i]
				if string(g.Source) != "wire" {
					t.Errorf("the source is %q", g.Source)
				}
				for _, e := range g.Events {
					switch {
					case e.Kind == event.NewContext && e.Parent != w.RootOf(c.reported[0]):
						t.Errorf("%s is below %x", g.Name, e.Parent)
					case e.Kind == event.NewContext:
						contexts = append(contexts, string(g.Name))
					case string(e.Key) == "tls::resumed":
						resumed = g.Context == w.RootOf(c.reported[0])
					case string(e.Key) == "tls::result":
						t.Error("a value of the library is written again")
					}
				}
			}
			if !slices.Equal(contexts, c.contexts) || resumed != c.resumed {
				t.Errorf("added are the contexts %q and resumed: %t; want %q, %t", contexts, resumed, c.contexts, c.resumed)
			}
		})
	}
}

// Both have the context, each with something that the other lacks.
func TestAContextOfFunctionsGetsValuesOfTheSocket(t *testing.T) {
	reported := &join.Operation{
		Task: 7, Context: 3<<62 | 1<<8, Start: 10 * timeResolution, End: 11 * timeResolution, Executable: "curl", Source: event.Function, Origin: []byte{1},
		Root: wire.Context{Name: "tls::handshake", Elements: []wire.Element{{Key: "tls::role", Text: "client"}}, Contexts: []wire.Context{
			{Name: "tls::verify_cert_chain", Contexts: []wire.Context{{Name: "pk::verify"}}},
			{Name: "tls::key_exchange", Elements: []wire.Element{{Key: "tls::group", Word: 29}}, Contexts: []wire.Context{{Name: "pk::derive"}}},
			{Name: "tls::verify"}, {Name: "tls::verify"},
		}},
		Values: join.Values{Role: "client", Version: 771, Suite: 0xc02f},
	}
	w := testWindow(t)
	w.Join(join.New())
	w.join.Report(reported, w.RootOf(reported))
	o := seen(10, "client", 771, 0xc02f, 29)
	o.Root.Contexts = []wire.Context{
		{Name: "tls::key_exchange", Elements: []wire.Element{{Key: "tls::group", Word: 29}, {Key: "tls::hello_retry_group", Word: 24}}, Contexts: []wire.Context{{Name: "tls::certificate"}}},
		// To which of the two it belongs is not known.
		{Name: "tls::verify", Elements: []wire.Element{{Key: "tls::signature_algorithm", Word: 1027}}},
	}
	if !w.join.Offer(o) {
		t.Fatal("the socket does not wait for a library")
	}
	w.join.Settle(true, w.Add, w.Complete, w.Contradict)
	groups, _ := flushWindow(t, w)
	// The root, the chain and what is in it come first.
	exchange := w.cipher.ContextID(reported.Task, reported.Context+3)
	var got []string
	for i := range groups {
		g := &groups[i]
		for _, e := range g.Events {
			switch {
			case e.Kind == event.NewContext:
				got = append(got, fmt.Sprintf("new %s below the exchange: %t", g.Name, e.Parent == exchange))
			case string(e.Key) != "name":
				got = append(got, fmt.Sprintf("%s in the exchange: %t", e.Key, g.Context == exchange))
			}
		}
	}
	slices.Sort(got)
	if want := []string{"new tls::certificate below the exchange: true", "tls::hello_retry_group in the exchange: true"}; !slices.Equal(got, want) {
		t.Errorf("added is %q, want %q", got, want)
	}
}
