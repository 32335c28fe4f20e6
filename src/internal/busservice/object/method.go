// SPDX-License-Identifier: Apache-2.0

package object

import (
	"fmt"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"

	"crypto-auditing/src/internal/busservice/dictionary"
	"crypto-auditing/src/internal/busservice/transport"
)

// Standard interfaces.
const (
	Introspectable      = "org.freedesktop.DBus.Introspectable"
	PropertiesInterface = "org.freedesktop.DBus.Properties"
	peer                = "org.freedesktop.DBus.Peer"
)

// Call is a method call in progress, as a service represents it.
type Call interface {
	// Arguments decodes the arguments into values of the given types.
	Arguments(targets ...any) error
}

// Method serves a method; In is the signature of its arguments.
type Method[C Call] struct {
	In    string
	Serve func(C) ([]any, error)
}

// Interfaces are the methods of an object, by interface and name.
type Interfaces[C Call] map[string]map[string]Method[C]

// Find returns the method that a message calls.
func (o Interfaces[C]) Find(message *dbus.Message) (m Method[C], err error) {
	iface, _ := message.Headers[dbus.FieldInterface].Value().(string)
	name, _ := message.Headers[dbus.FieldMember].Value().(string)
	signature, _ := message.Headers[dbus.FieldSignature].Value().(dbus.Signature)
	found := false
	if iface == "" {
		// A call without an interface is for the first one that has the method.
		for _, methods := range o {
			if m, found = methods[name]; found {
				break
			}
		}
	} else {
		methods, exists := o[iface]
		if !exists {
			return m, &transport.Error{Name: transport.UnknownInterface, Text: "the object has no interface " + dictionary.Clip(iface)}
		}
		m, found = methods[name]
	}
	switch {
	case !found:
		return m, &transport.Error{Name: transport.UnknownMethod, Text: "the interface has no method " + dictionary.Clip(name)}
	case signature.String() != m.In:
		return m, &transport.Error{Name: transport.InvalidArgs, Text: "the arguments of " + name + " are of the types " + m.In + ", not " + dictionary.Clip(signature.String())}
	}
	return m, nil
}

// Compare returns an error if methods differ from the description of their interface.
func Compare[C Call](described *introspect.Interface, methods map[string]Method[C]) error {
	name := described.Name
	if len(described.Methods) != len(methods) {
		return fmt.Errorf("cannot serve %s: %d methods are described, %d implemented", name, len(described.Methods), len(methods))
	}
	for _, m := range described.Methods {
		in := ""
		for _, a := range m.Args {
			if a.Direction != "out" {
				in += a.Type
			}
		}
		if implemented, ok := methods[m.Name]; !ok || implemented.In != in {
			return fmt.Errorf("cannot serve %s: %s(%s) is described, and not implemented", name, m.Name, in)
		}
	}
	return nil
}
