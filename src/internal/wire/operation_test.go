// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	gotls "crypto/tls"
	"strings"
	"testing"

	"crypto-auditing/src/internal/goldentest"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/wire"
	"crypto-auditing/src/internal/wire/wiretest"
)

// operations returns the operations of the client's and the server's side.
func operations(h *wiretest.Handshake) []wire.Context {
	var all []wire.Context
	r := wire.NewTracker(wire.DefaultLimits(), nil, func(h *wire.Handshake) { all = append(all, h.Operation()) })
	for _, f := range append(fragments(h, side{1, 7, clientTask, true}), fragments(h, side{2, 7, serverTask, false})...) {
		r.Add(&f)
	}
	r.Expire(1 << 62)
	return all
}

func TestOperationsOfRecordedHandshakes(t *testing.T) {
	var b strings.Builder
	for _, c := range wiretest.Captures(t) {
		b.WriteString("# " + c.Name + "\n")
		for _, operation := range operations(&c.Handshake) {
			b.WriteString(text(operation, 0))
		}
	}
	goldentest.Compare(t, "operations.txt", b.String())
}

func TestOperationsUseNamesOfTheRegistry(t *testing.T) {
	registry, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	var check func(wire.Context, string)
	check = func(c wire.Context, parent string) {
		context := registry.Context(c.Name)
		if context == nil {
			t.Fatalf("%s is not registered", c.Name)
		}
		if parent != "" && !registry.MayHold(parent, c.Name) {
			t.Errorf("%s may not be in %s", c.Name, parent)
		}
		for _, e := range c.Elements {
			key := registry.Key(e.Key)
			if key == nil || !context.Has(e.Key) {
				t.Errorf("%s is not registered in %s", e.Key, c.Name)
				continue
			}
			if (key.Type == "string") != (e.Text != "") {
				t.Errorf("%s of type %s is %q, %d", e.Key, key.Type, e.Text, e.Word)
			}
			if _, ok := key.Text(e.Word); key.HasNames() && !ok {
				t.Errorf("%s: %d has no name", e.Key, e.Word)
			}
		}
		for _, inner := range c.Contexts {
			check(inner, c.Name)
		}
	}
	for _, c := range wiretest.Captures(t) {
		for _, operation := range operations(&c.Handshake) {
			check(operation, "")
		}
	}
}

func TestOperationsContainNoNamesOfPeers(t *testing.T) {
	h := handshake(t, &gotls.Config{MaxVersion: gotls.VersionTLS12, NextProtos: []string{"secret-protocol"}}, &gotls.Config{NextProtos: []string{"secret-protocol"}})
	if !strings.Contains(string(h.Stream(true)), "secret.example") {
		t.Fatal("the hello has no server name")
	}
	all := operations(&h)
	for _, c := range wiretest.Captures(t) {
		all = append(all, operations(&c.Handshake)...)
	}
	for _, operation := range all {
		if s := text(operation, 0); strings.Contains(s, "secret") || strings.Contains(s, "OpenSSH_") || strings.Contains(s, "127.0.0.1") {
			t.Error(s)
		}
	}
}
