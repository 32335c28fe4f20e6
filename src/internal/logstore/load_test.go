// SPDX-License-Identifier: Apache-2.0

package logstore_test

import (
	"bufio"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/frame"
)

// load makes batches as the agent does from a recorded TLS 1.3 handshake that is
// repeated with fresh context ids.
type load struct {
	steps  []step
	random *rand.Rand
	now    uint64
	values int // of one handshake; Batch.Events also counts new contexts
}

// step is a record of the recording: a value, perhaps of a new context.
type step struct {
	after   uint64 // nanoseconds since the previous step
	context string
	parent  string
	opens   bool
	key     []byte
	value   event.Value
}

var recorded = regexp.MustCompile(`^([0-9]+)\.([0-9]{6}) .* (new_context_with_data|data) +ctx=([0-9a-f]+)(?: parent=([0-9a-f]+))? \[([0-9]+)/[0-9]+\] (\S+) = (?:"(.*)"|word (-?[0-9]+).*)$`)

func newLoad(tb testing.TB) *load {
	tb.Helper()
	f, err := os.Open("../../../tests/data/probe-traces/gnutls-tls13-p256.txt")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	l := &load{random: rand.New(rand.NewPCG(1, 2)), now: 1e12}
	var last uint64
	for lines := bufio.NewScanner(f); lines.Scan(); {
		m := recorded.FindStringSubmatch(lines.Text())
		if m == nil {
			tb.Fatalf("cannot parse %q", lines.Text())
		}
		at, err := strconv.ParseUint(m[1]+m[2]+"000", 10, 64)
		if err != nil {
			tb.Fatal(err)
		}
		s := step{context: m[4], parent: m[5], opens: m[3] != "data" && m[6] == "1", key: []byte(m[7])}
		if m[9] != "" {
			if s.value.Word, err = strconv.ParseInt(m[9], 10, 64); err != nil {
				tb.Fatal(err)
			}
		} else {
			s.value = event.Value{Kind: event.String, Bytes: []byte(m[8])}
		}
		if last != 0 {
			s.after = at - last
		}
		last = at
		l.steps = append(l.steps, s)
	}
	l.values = len(l.steps)
	return l
}

// batch makes the batch of a flush window with some handshakes of one program, at the
// rate of a busy machine.
func (l *load) batch(handshakes int, executable string) logstore.Batch {
	var b logstore.Batch
	b.First = l.now
	terms := map[uint64]bool{}
	for range handshakes {
		l.handshake(&b, executable, terms)
	}
	b.Last = l.now
	for term := range terms {
		b.Terms = append(b.Terms, term)
	}
	return b
}

type context struct {
	id    event.ContextID
	name  []byte
	group int // in groups, -1 for none
}

func (l *load) handshake(b *logstore.Batch, executable string, terms map[uint64]bool) {
	origin := []byte("\x5a\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff\x01\x02\x03\x04")
	contexts := map[string]*context{}
	find := func(name string) *context {
		c := contexts[name]
		if c == nil {
			c = &context{group: -1}
			for i := range c.id {
				c.id[i] = byte(l.random.Uint32())
			}
			contexts[name] = c
		}
		return c
	}
	var groups []event.Group
	for _, s := range l.steps {
		l.now += s.after + l.random.Uint64N(2000)
		c := find(s.context)
		if s.opens {
			g := event.Group{Context: c.id, Start: l.now, Origin: origin, Executable: []byte(executable)}
			e := event.Event{Kind: event.NewContext, Origin: origin, Executable: []byte(executable)}
			if strings.Trim(s.parent, "f") != "" {
				e.Parent = find(s.parent).id
			}
			g.Events = append(g.Events, e)
			c.group, c.name = len(groups), nil
			groups = append(groups, g)
		}
		if c.group < 0 {
			continue // the recording begins in the middle
		}
		g := &groups[c.group]
		g.End = l.now
		g.Events = append(g.Events, event.Event{Key: s.key, Value: s.value})
		if string(s.key) == "name" {
			g.Name = s.value.Bytes
			terms[logstore.TermHash(logstore.Name, s.value.Bytes)] = true
		}
		terms[logstore.TermHash(logstore.Key, s.key)] = true
	}
	terms[logstore.TermHash(logstore.Executable, executable)] = true
	for i := range groups {
		b.Entries = event.Append(b.Entries, &groups[i])
		b.End()
		b.Events += uint32(len(groups[i].Events))
	}
}

// eventTerms returns Options.Terms for event groups, for one goroutine.
func eventTerms() frame.TermsFunc {
	g := new(event.Group)
	return func(terms, values []uint64, entry []byte) (allTerms, allValues []uint64) {
		if _, err := event.Decode(entry, g); err != nil {
			return terms, values
		}
		return groupTerms(terms, g), values
	}
}

func groupTerms(dst []uint64, g *event.Group) []uint64 {
	if len(g.Name) > 0 {
		dst = append(dst, logstore.TermHash(logstore.Name, g.Name))
	}
	if len(g.Executable) > 0 {
		dst = append(dst, logstore.TermHash(logstore.Executable, g.Executable))
	}
	for i := range g.Events {
		if g.Events[i].Kind == event.Data {
			dst = append(dst, logstore.TermHash(logstore.Key, g.Events[i].Key))
		}
	}
	return dst
}

func eventOptions() logstore.Options {
	return logstore.Options{
		EntryLen:     event.Len,
		Metadata:     func(now logstore.Moment) []byte { return event.AppendMetadata(nil, now.Offset/1e9, now.Boot) },
		Terms:        eventTerms(),
		SyncInterval: -1,
		QueueSize:    64 << 20,
	}
}

func fail(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
