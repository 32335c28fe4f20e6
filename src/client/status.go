// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"fmt"
	"strings"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/status"
)

// Status is the status of broker, agent and log.
type Status struct {
	status.Broker
	// Oldest and Newest are cursors at the ends of the log.
	Oldest, Newest Cursor
}

// Parts of a Status. Fields that only the agent itself could provide are zero: its
// log, its latencies, the causes of losses, how it attaches to a library, its
// problem.
type (
	// AgentStatus is the status of the agent.
	AgentStatus = status.Agent
	// Library is a file with probes, Loss the losses for one reason.
	Library = status.Library
	Loss    = status.Loss
	// Unrecorded is a time without recording, Removal the removal of a part of the
	// log.
	Unrecorded = status.Unrecorded
	Removal    = status.Removal
)

// Status returns the status of broker, agent and log.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var m map[string]dbus.Variant
	if err := c.query(ctx, brokerPath, brokerInterface+".GetStatus", nil, &m); err != nil {
		return Status{}, fmt.Errorf("cannot get the status: %w", err)
	}
	var s Status
	if err := status.FromBus(m, &s.Broker); err != nil {
		return s, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	s.Oldest, s.Newest = Cursor(s.Broker.Oldest), Cursor(s.Broker.Newest)
	if !s.AgentActive {
		s.Agent = nil
	}
	return s, nil
}

// property gets a property of an object.
func (c *Client) property(ctx context.Context, path dbus.ObjectPath, ofInterface, name string, to any) error {
	var v dbus.Variant
	if err := c.query(ctx, path, propertiesInterface+".Get", []any{ofInterface, name}, &v); err != nil {
		return err
	}
	if err := v.Store(to); err != nil {
		return fmt.Errorf("%w: property %s: %w", ErrProtocol, name, err)
	}
	return nil
}

// interfaceVersion returns the version of the broker's interface.
func (c *Client) interfaceVersion(ctx context.Context) (uint32, error) {
	var version uint32
	err := c.property(ctx, brokerPath, brokerInterface, "InterfaceVersion", &version)
	return version, err
}

// Newest returns the cursor of the newest entry of the log.
func (c *Client) Newest(ctx context.Context) (Cursor, error) { return c.end(ctx, "Newest") }

// Oldest returns the cursor before the oldest entry of the log.
func (c *Client) Oldest(ctx context.Context) (Cursor, error) { return c.end(ctx, "Oldest") }

func (c *Client) end(ctx context.Context, name string) (Cursor, error) {
	var cursor Cursor
	if err := c.property(ctx, brokerPath, brokerInterface, name, &cursor); err != nil {
		return "", fmt.Errorf("cannot get the %s cursor: %w", strings.ToLower(name), err)
	}
	return cursor, nil
}
