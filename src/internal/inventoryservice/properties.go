// SPDX-License-Identifier: Apache-2.0

package inventoryservice

import (
	"context"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/busservice/object"
	"crypto-auditing/src/internal/wakeup"
)

// interfaceVersion increases with every addition.
const interfaceVersion = uint32(2)

// properties are the properties of the object.
func properties() map[string]object.Property[*call] {
	return map[string]object.Property[*call]{
		"Version":          func(c *call) (any, error) { return c.service.options.Version, nil },
		"InterfaceVersion": func(*call) (any, error) { return interfaceVersion, nil },
		"UpToDate":         func(c *call) (any, error) { return c.service.inventory.UpToDate(), nil },
		"Counting":         func(c *call) (any, error) { return c.service.updates.Busy(), nil },
		"Coverage": func(c *call) (any, error) {
			// A client that lists properties does not expect a prompt for a password.
			if err := c.authorise(false); err != nil {
				return nil, err
			}
			o, _, done, err := c.observe(nil)
			if err != nil {
				return nil, err
			}
			defer done()
			return documentOf(o.Coverage)
		},
	}
}

// changes announces that further entries have been counted.
type changes struct {
	service *Service
	changed wakeup.Signal
}

func newChanges(s *Service) *changes { return &changes{service: s, changed: wakeup.New()} }

// changePause is the shortest time between two announcements.
const changePause = time.Second

// check triggers a check for changes.
func (c *changes) check() { c.changed.Notify() }

// watch checks for changes, while the inventory catches up, until done is closed.
func (c *changes) watch(done chan struct{}) {
	tick := time.NewTicker(changePause)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			c.check()
		}
	}
}

// run announces changes until ctx is done. It ignores errors of the bus: a lost connection is handled
// elsewhere.
func (c *changes) run(ctx context.Context) {
	select {
	case <-c.service.ready:
	case <-ctx.Done():
		return
	}
	conn := c.service.conn
	last := c.service.inventory.UpToDate()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.changed:
		}
		now := c.service.inventory.UpToDate()
		if now == last {
			continue
		}
		last = now
		_ = conn.Emit(objectPath, interfaceName+".Changed")
		_ = conn.Emit(objectPath, object.PropertiesInterface+".PropertiesChanged", interfaceName,
			map[string]dbus.Variant{"UpToDate": dbus.MakeVariant(now)}, []string{})
		select {
		case <-ctx.Done():
			return
		case <-time.After(changePause):
		}
	}
}
