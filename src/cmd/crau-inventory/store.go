// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"crypto-auditing/src/client"
	"crypto-auditing/src/client/hold"
	"crypto-auditing/src/internal/config"
	"crypto-auditing/src/internal/inventory"
	"crypto-auditing/src/internal/inventory/database"
	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/program"
	"crypto-auditing/src/internal/schema"
)

// subscription is the name of the durable subscription that holds the log.
const subscription = "inventory"

// store is the inventory of the log that a broker serves.
type store struct {
	*inventory.Inventory
	broker *client.Client
	// hold, if set, has the broker keep the log after held.
	hold *hold.Hold
	held string
}

// open opens the inventory.
func open(ctx context.Context, conf *config.Inventory, address string, broker *client.Client, registry *schema.Registry, log *slog.Logger) (*store, error) {
	i, err := inventory.Open(ctx, inventory.Config{
		Directory: conf.StateDir, Registry: registry, Retention: conf.Retention.Duration,
		Status: inventory.BrokerStatus(broker),
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
	s := &store{Inventory: i, broker: broker}
	if conf.Hold {
		s.hold = &hold.Hold{Client: broker, Name: subscription, Connect: func(ctx context.Context) (*client.Client, error) {
			return client.Connect(ctx, client.WithAddress(address))
		}}
	}
	return s, nil
}

// CatchUp implements inventoryservice.Inventory. The log is held after what is counted.
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
