// SPDX-License-Identifier: Apache-2.0

package busservice

import (
	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/busservice/arguments"
	"crypto-auditing/src/internal/busservice/transport"
)

// interfaceVersion increases with every addition: 2 added notices, one of which
// ends each stream; 3 added units and sources of groups and in filters.
const interfaceVersion = uint32(3)

// property returns the value of a property.
type property func(*call) (any, error)

// propertyMethods implements the standard interface for the properties of an interface.
func propertyMethods(iface string, all map[string]property) map[string]method {
	check := func(name string) error {
		if name != iface && name != "" {
			return &transport.Error{Name: transport.UnknownInterface, Text: "there are no properties of the interface " + arguments.Clip(name)}
		}
		return nil
	}
	get := func(c *call) ([]any, error) {
		var of, name string
		if err := c.arguments(&of, &name); err != nil {
			return nil, err
		}
		if err := check(of); err != nil {
			return nil, err
		}
		p := all[name]
		if p == nil {
			return nil, &transport.Error{Name: transport.UnknownProperty, Text: "there is no property " + arguments.Clip(name)}
		}
		v, err := p(c)
		if err != nil {
			return nil, err
		}
		return []any{dbus.MakeVariant(v)}, nil
	}
	getAll := func(c *call) ([]any, error) {
		var of string
		if err := c.arguments(&of); err != nil {
			return nil, err
		}
		values := dictionary{}
		switch of {
		case introspectable, properties, "org.freedesktop.DBus.Peer":
			return []any{values}, nil // interfaces without properties
		}
		if err := check(of); err != nil {
			return nil, err
		}
		for name, p := range all {
			// Properties that are temporarily unavailable are omitted.
			if v, err := p(c); err == nil {
				values[name] = dbus.MakeVariant(v)
			}
		}
		return []any{values}, nil
	}
	set := func(c *call) ([]any, error) {
		var of, name string
		var v dbus.Variant
		if err := c.arguments(&of, &name, &v); err != nil {
			return nil, err
		}
		if err := check(of); err != nil {
			return nil, err
		}
		if all[name] == nil {
			return nil, &transport.Error{Name: transport.UnknownProperty, Text: "there is no property " + arguments.Clip(name)}
		}
		return nil, &transport.Error{Name: transport.PropertyReadOnly, Text: name + " can only be read"}
	}
	return map[string]method{"Get": {"ss", get}, "GetAll": {"s", getAll}, "Set": {"ssv", set}}
}

// brokerProperties are the properties of the broker's object.
func brokerProperties() map[string]property {
	return map[string]property{
		"Version":          func(c *call) (any, error) { return c.service.version, nil },
		"InterfaceVersion": func(*call) (any, error) { return interfaceVersion, nil },
		"Newest": func(c *call) (any, error) {
			cursor, err := c.service.broker.Newest()
			return cursor.String(), err
		},
		"Oldest": func(c *call) (any, error) {
			cursor, err := c.service.broker.Oldest()
			return cursor.String(), err
		},
		"EventsLost": func(c *call) (any, error) { return c.service.broker.EventsLost(), nil },
		"DiskUsage": func(c *call) (any, error) {
			_, bytes, err := c.service.broker.DiskUsage()
			return bytes, err
		},
		"AgentActive": func(c *call) (any, error) { return c.service.broker.AgentActive(), nil },
	}
}

// subscriptionProperties are the properties of a subscription's object.
func subscriptionProperties() map[string]property {
	return map[string]property{
		"Name":      func(c *call) (any, error) { return c.one.Name(), nil },
		"Position":  func(c *call) (any, error) { return c.one.Status().Position.String(), nil },
		"Filter":    func(c *call) (any, error) { return arguments.FilterValue(c.one.Filter()), nil },
		"Delivered": func(c *call) (any, error) { return c.one.Status().Delivered, nil },
		"Skipped":   func(c *call) (any, error) { return c.one.Status().Skipped, nil },
		"Pending":   func(c *call) (any, error) { return c.one.Status().Pending, nil },
		"Flow":      func(c *call) (any, error) { return string(c.one.Flow()), nil },
	}
}
