// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/hex"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestRecordedHandshakesAreRecordedEventByEvent(t *testing.T) {
	needRecording(t)
	for _, name := range []string{"gnutls-tls12", "gnutls-tls13-p256", "openssl-tls12", "openssl-tls13-x25519"} {
		for _, site := range []string{"crau", "sdt"} {
			t.Run(name+" through "+site+" sites", func(t *testing.T) {
				const handshakes = 5
				a := startAgent(t, setup{libraries: []string{publisher("libreplay.so")}})
				fired := publish(t, "replay", "--library", publisher("libreplay.so"), "--site", site,
					"--count", "5", trace(name))
				log := check(t, a, a.stop(t, patience), fired.done)
				hits := slices.Repeat(readTrace(t, name), handshakes)
				if total, _ := firedBy(hits); total != fired.done {
					t.Fatalf("the trace has %+v, replay counted %+v", total, fired.done)
				}
				compareHits(t, log, hits, "replay", buildID(t, publisher("libreplay.so")))
				compareAttributes(t, log)
			})
		}
	}
}

func TestAContextOpenedAgainBeginsAnotherGroup(t *testing.T) {
	a := startAgent(t, setup{libraries: []string{publisher("libreplay.so")}})
	fired := publish(t, "replay", "--library", publisher("libreplay.so"), "--count", "2", trace("gnutls-tls13-p256"))
	log := check(t, a, a.stop(t, patience), fired.done)
	handshakes := map[string]int{}
	for i := range log {
		if g := &log[i]; g.opens() != nil && g.value("name") == "tls::handshake_client" {
			handshakes[g.id()]++
		}
	}
	if len(handshakes) != 1 {
		t.Fatalf("the two handshakes have %d ids, want one", len(handshakes))
	}
	opened := 0
	for _, h := range readTrace(t, "gnutls-tls13-p256") {
		if h.opens() && string(h.Values[0].Bytes.bytes) == "tls::handshake_client" {
			opened++
		}
	}
	for id, n := range handshakes {
		if n != 2*opened || opened == 0 {
			t.Errorf("%d groups open %s, want twice %d", n, id, opened)
		}
	}
}

func TestAContextCanBeItsOwnParent(t *testing.T) {
	a := startAgent(t, setup{libraries: []string{publisher("libreplay.so")}})
	fired := publish(t, "replay", "--library", publisher("libreplay.so"), trace("openssl-tls13-x25519"))
	log := check(t, a, a.stop(t, patience), fired.done)
	var own []string
	for i := range log {
		if g := &log[i]; g.opens() != nil && bytes.Equal(g.opens().Parent, g.Context) {
			own = append(own, g.value("name").(string))
		}
	}
	for _, name := range []string{"tls::handshake", "tls::key_exchange", "tls::sign", "pk::derive"} {
		if !slices.Contains(own, name) {
			t.Errorf("no context %s is its own parent", name)
		}
	}
}

func TestParentAndChildrenOfAForkDoNotShareContexts(t *testing.T) {
	const children = 10
	a := startAgent(t, setup{libraries: []string{publisher("hostile")}})
	fired := publish(t, "hostile", "--fork", "--count", "10")
	log := check(t, a, a.stop(t, patience), fired.done)

	// By context of the log: the names and numbers with which it was opened, the values of
	// "hostile::more", and the parents.
	type use struct {
		names   []string
		numbers []int64
		more    []int64
		parents [][]byte
	}
	uses := map[string]*use{}
	for i := range log {
		g := &log[i]
		if g.metadata() {
			continue
		}
		u := uses[g.id()]
		if u == nil {
			u = &use{}
			uses[g.id()] = u
		}
		if n := g.opens(); n != nil {
			u.names = append(u.names, g.value("name").(string))
			u.numbers = append(u.numbers, g.value("hostile::number").(int64))
			u.parents = append(u.parents, n.Parent)
		}
		for _, e := range g.Events {
			if e.Data != nil && *e.Data.Key == "hostile::more" {
				u.more = append(u.more, e.Data.Value.(int64))
			}
		}
	}
	if want := 1 + 2*children; len(uses) != want {
		t.Fatalf("the log has %d contexts, want %d", len(uses), want)
	}
	found := map[string]int{}
	for id, u := range uses {
		if len(u.names) != 1 {
			t.Errorf("context %s was opened as %v, want once", id, u.names)
			continue
		}
		found[u.names[0]]++
		switch u.names[0] {
		case "hostile::parent":
			if want := []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}; !slices.Equal(u.more, want) {
				t.Errorf("the parent's context has the data %v, want %v", u.more, want)
			}
		case "hostile::child":
			if !slices.Equal(u.more, u.numbers) {
				t.Errorf("the context of child %d has the data %v", u.numbers[0], u.more)
			}
		case "hostile::grandchild":
			var parent *use
			for other, v := range uses {
				if other == hex.EncodeToString(u.parents[0]) {
					parent = v
				}
			}
			if parent == nil || !slices.Equal(parent.names, []string{"hostile::child"}) || parent.numbers[0] != u.numbers[0] {
				t.Errorf("the parent of the second context of child %d is not its first", u.numbers[0])
			}
		}
	}
	if found["hostile::parent"] != 1 || found["hostile::child"] != children || found["hostile::grandchild"] != children {
		t.Errorf("found %v", found)
	}
}

func TestProgramsExecutedInTheSameProcessAreRecorded(t *testing.T) {
	a := startAgent(t, setup{libraries: []string{publisher("hostile")}})
	fired := publish(t, "hostile", "--exec", "--count", "10")
	log := check(t, a, a.stop(t, patience), fired.done)
	opened := 0
	for i := range log {
		if g := &log[i]; g.opens() != nil && g.value("name") == "hostile::program" {
			opened++
		}
	}
	if opened != 10 {
		t.Errorf("%d programs opened their context, want 10", opened)
	}
}

func TestAChainOfAThousandContextsKeepsItsOrder(t *testing.T) {
	const depth = 1000
	a := startAgent(t, setup{libraries: []string{publisher("hostile")}})
	fired := publish(t, "hostile", "--deep", "--count", "1000")
	log := check(t, a, a.stop(t, patience), fired.done)
	number := map[string]int64{}
	last := int64(0)
	for i := range log {
		g := &log[i]
		if g.metadata() || g.opens() == nil {
			continue
		}
		n := g.value("hostile::number").(int64)
		number[g.id()] = n
		if n != last+1 || n > 1 && number[hex.EncodeToString(g.opens().Parent)] != n-1 {
			t.Fatalf("context %d follows %d and is a child of %d", n, last, number[hex.EncodeToString(g.opens().Parent)])
		}
		last = n
	}
	if last != depth {
		t.Errorf("the chain ends at %d, want %d", last, depth)
	}
	compareAttributes(t, log)
}

func TestAProbeOnAFiveByteNopDoesNotHarmForkedChildren(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("other architectures have no such instruction")
	}
	file := compile(t, "five")
	a := startAgent(t, setup{libraries: []string{file}})
	if output, err := exec.Command(file).CombinedOutput(); err != nil {
		t.Errorf("the program or its child failed: %v\n%s", err, output)
	}
	// On a kernel where such a probe is fatal, the agent skips it and logs that.
	fired := number{4, 4}
	if strings.Contains(a.stderr.String(), "five-byte no-operation") {
		fired = number{2, 2}
	}
	check(t, a, a.stop(t, patience), fired)
}
