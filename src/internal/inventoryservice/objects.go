// SPDX-License-Identifier: Apache-2.0

package inventoryservice

import (
	"encoding/xml"
	"fmt"
	"strings"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"

	description "crypto-auditing/dbus"
	"crypto-auditing/src/internal/busservice/object"
)

// tables contain the methods of the object, and of its parent nodes.
type tables struct {
	object, node object.Interfaces[*call]
	described    introspect.Interface
}

// newTables parses the description of the interface. It returns an error if the description and the
// implementation differ.
func newTables() (*tables, error) {
	var node introspect.Node
	if err := xml.Unmarshal([]byte(description.Inventory), &node); err != nil || len(node.Interfaces) != 1 {
		return nil, fmt.Errorf("cannot read the description of the interface: %w", err)
	}
	t := &tables{described: node.Interfaces[0]}
	introspection := map[string]object.Method[*call]{"Introspect": {In: "", Serve: (*call).introspect}}
	t.node = object.Interfaces[*call]{object.Introspectable: introspection}
	t.object = object.Interfaces[*call]{
		object.Introspectable:      introspection,
		object.PropertiesInterface: object.Properties(interfaceName, properties()),
		interfaceName:              methods(),
	}
	return t, object.Compare(&t.described, t.object[interfaceName])
}

// at returns the interfaces of the object at a path, nil if there is none.
func (t *tables) at(path dbus.ObjectPath) object.Interfaces[*call] {
	switch text := string(path); {
	case text == objectPath:
		return t.object
	case text == "/", strings.HasPrefix(objectPath, text+"/"):
		return t.node
	}
	return nil
}

// introspect serves Introspect.
func (c *call) introspect() ([]any, error) {
	node := introspect.Node{Name: string(c.path)}
	if c.path == objectPath {
		node.Interfaces = append(node.Interfaces, c.service.tables.described, object.PropertiesDescription())
	} else {
		below := strings.TrimPrefix(objectPath, strings.TrimSuffix(string(c.path), "/")+"/")
		child, _, _ := strings.Cut(below, "/")
		node.Children = []introspect.Node{{Name: child}}
	}
	node.Interfaces = append(node.Interfaces, introspect.IntrospectData, introspect.PeerData)
	text, err := xml.MarshalIndent(node, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("cannot describe the object: %w", err)
	}
	return []any{introspect.IntrospectDeclarationString + string(text) + "\n"}, nil
}
