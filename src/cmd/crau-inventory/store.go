// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"crypto-auditing/src/client"
	"crypto-auditing/src/client/hold"
	"crypto-auditing/src/internal/config"
	"crypto-auditing/src/internal/inventory"
	"crypto-auditing/src/internal/inventory/database"
	"crypto-auditing/src/internal/inventory/kerneluse"
	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/program"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/status"
)

// subscription is the name of the durable subscription that holds the log.
const subscription = "inventory"

// store is the inventory of the log that a broker serves.
type store struct {
	*inventory.Inventory
	broker *client.Client
	// hold, if set, makes the broker keep the log after held.
	hold *hold.Hold
	held string
	// silent is set while the broker does not report its status.
	silent atomic.Bool
	log    *slog.Logger
}

// open opens the inventory.
func open(ctx context.Context, conf *config.Inventory, address string, broker *client.Client, registry *schema.Registry, log *slog.Logger) (*store, error) {
	s := &store{broker: broker, log: log}
	i, err := inventory.Open(ctx, inventory.Config{
		Directory: conf.StateDir, Registry: registry, Retention: conf.Retention.Duration,
		Status: s.status,
		Kernel: func() []string { return kerneluse.Find(os.DirFS("/sys")) },
		Damaged: func(err error, path string) {
			message.InventoryDamaged.Log(log, "file", path, "error", err)
		},
	})
	var newer *database.NewerError
	if errors.As(err, &newer) {
		err = program.Permanent(err)
	}
	if err != nil {
		return nil, err
	}
	s.Inventory = i
	if conf.Hold {
		s.hold = &hold.Hold{Client: broker, Name: subscription, Connect: func(ctx context.Context) (*client.Client, error) {
			return client.Connect(ctx, client.WithAddress(address))
		}}
	}
	return s, nil
}

// status returns the status of the broker, nil if it does not report it: earlier counts are available
// nevertheless.
func (s *store) status(ctx context.Context) (*status.Broker, error) {
	now, err := inventory.BrokerStatus(s.broker)(ctx)
	s.silent.Store(err != nil)
	if err != nil && ctx.Err() == nil {
		s.log.Error("cannot ask the broker for its status", "error", err)
		return nil, nil
	}
	return now, err
}

// Observed implements inventoryservice.Inventory.
func (s *store) Observed(ctx context.Context, f inventory.Filter) (*observed.Observed, error) {
	o, err := s.Inventory.Observed(ctx, f)
	if err == nil && s.silent.Load() {
		o.Coverage.Unseen = append(o.Coverage.Unseen, "The broker does not answer: it is unknown what is recorded now, and entries may not be counted.")
	}
	return o, err
}

// CatchUp implements inventoryservice.Inventory. It also holds the log after the counted entries.
func (s *store) CatchUp(ctx context.Context) error {
	if err := s.Inventory.CatchUp(ctx, inventory.Broker(s.broker)); err != nil {
		return err
	}
	at := s.UpToDate()
	if s.hold == nil || at == "" || at == s.held {
		return nil
	}
	if err := s.hold.MoveTo(ctx, client.Cursor(at)); err != nil {
		return fmt.Errorf("what is appended to the log may be removed before it is counted: %w", err)
	}
	s.held = at
	return nil
}
