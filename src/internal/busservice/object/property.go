// SPDX-License-Identifier: Apache-2.0

package object

import (
	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"

	"crypto-auditing/src/internal/busservice/dictionary"
	"crypto-auditing/src/internal/busservice/transport"
)

// Property returns the value of a property.
type Property[C Call] func(C) (any, error)

// Properties implements the standard interface for the properties of an interface. They can only be
// read. GetAll omits those whose value is an error.
func Properties[C Call](iface string, all map[string]Property[C]) map[string]Method[C] {
	check := func(name string) error {
		if name != iface && name != "" {
			return &transport.Error{Name: transport.UnknownInterface, Text: "there are no properties of the interface " + dictionary.Clip(name)}
		}
		return nil
	}
	find := func(requested, name string) (Property[C], error) {
		if err := check(requested); err != nil {
			return nil, err
		}
		if p := all[name]; p != nil {
			return p, nil
		}
		return nil, &transport.Error{Name: transport.UnknownProperty, Text: "there is no property " + dictionary.Clip(name)}
	}
	get := func(c C) ([]any, error) {
		var requested, name string
		if err := c.Arguments(&requested, &name); err != nil {
			return nil, err
		}
		p, err := find(requested, name)
		if err != nil {
			return nil, err
		}
		v, err := p(c)
		if err != nil {
			return nil, err
		}
		return []any{dbus.MakeVariant(v)}, nil
	}
	getAll := func(c C) ([]any, error) {
		var requested string
		if err := c.Arguments(&requested); err != nil {
			return nil, err
		}
		values := map[string]dbus.Variant{}
		switch requested {
		case Introspectable, PropertiesInterface, peer:
			return []any{values}, nil // interfaces without properties
		}
		if err := check(requested); err != nil {
			return nil, err
		}
		for name, p := range all {
			if v, err := p(c); err == nil {
				values[name] = dbus.MakeVariant(v)
			}
		}
		return []any{values}, nil
	}
	set := func(c C) ([]any, error) {
		var requested, name string
		var v dbus.Variant
		if err := c.Arguments(&requested, &name, &v); err != nil {
			return nil, err
		}
		if _, err := find(requested, name); err != nil {
			return nil, err
		}
		return nil, &transport.Error{Name: transport.PropertyReadOnly, Text: name + " can only be read"}
	}
	return map[string]Method[C]{"Get": {"ss", get}, "GetAll": {"s", getAll}, "Set": {"ssv", set}}
}

// PropertiesDescription is the description of the standard interface.
func PropertiesDescription() introspect.Interface {
	return introspect.Interface{
		Name: PropertiesInterface,
		Methods: []introspect.Method{
			{Name: "Get", Args: []introspect.Arg{
				{Name: "interface", Type: "s", Direction: "in"}, {Name: "property", Type: "s", Direction: "in"}, {Name: "value", Type: "v", Direction: "out"},
			}},
			{Name: "GetAll", Args: []introspect.Arg{
				{Name: "interface", Type: "s", Direction: "in"}, {Name: "properties", Type: "a{sv}", Direction: "out"},
			}},
			{Name: "Set", Args: []introspect.Arg{
				{Name: "interface", Type: "s", Direction: "in"}, {Name: "property", Type: "s", Direction: "in"}, {Name: "value", Type: "v", Direction: "in"},
			}},
		},
		Signals: []introspect.Signal{{Name: "PropertiesChanged", Args: []introspect.Arg{
			{Name: "interface", Type: "s"}, {Name: "changed", Type: "a{sv}"}, {Name: "invalidated", Type: "as"},
		}}},
	}
}
