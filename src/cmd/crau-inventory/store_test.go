// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/busservice/bustest"
	"crypto-auditing/src/internal/config"
	"crypto-auditing/src/internal/inventory"
	"crypto-auditing/src/internal/schema"
)

func TestTheInventoryAnswersWithoutABrokerAndReportsIt(t *testing.T) {
	bus := bustest.Start(t, bustest.Daemon)
	broker, err := client.Connect(t.Context(), client.WithAddress(bus.Address))
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	registry, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	conf := config.DefaultInventory()
	conf.StateDir = t.TempDir()
	s, err := open(t.Context(), &conf, bus.Address, broker, registry, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.CatchUp(t.Context()); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("the error of CatchUp is %v", err)
	}
	o, err := s.Observed(t.Context(), inventory.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if unseen := strings.Join(o.Coverage.Unseen, "\n"); !strings.Contains(unseen, "The broker does not answer") {
		t.Errorf("the coverage lists as unseen\n%s", unseen)
	}
}
