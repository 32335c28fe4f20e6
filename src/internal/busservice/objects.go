// SPDX-License-Identifier: Apache-2.0

package busservice

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"

	description "crypto-auditing/dbus"
	"crypto-auditing/src/internal/broker/delivery"
	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/busservice/access"
	"crypto-auditing/src/internal/busservice/object"
	"crypto-auditing/src/internal/busservice/transport"
)

// Names on the bus.
const (
	Name                  = "org.crypto_auditing.Broker"
	brokerPath            = "/org/crypto_auditing/Broker"
	subscriptionsPath     = brokerPath + "/subscription"
	brokerInterface       = "org.crypto_auditing.Broker"
	subscriptionInterface = "org.crypto_auditing.Broker.Subscription"

	properties = object.PropertiesInterface
)

// node is an object on the bus.
type node struct {
	interfaces object.Interfaces[*call]
	// check returns an error if a caller may not use the object; nil allows all.
	check func(*call) error
}

// object returns the object at a path, nil if there is none.
func (s *Service) object(path dbus.ObjectPath) *node {
	switch text := string(path); {
	case text == brokerPath:
		return &node{interfaces: s.tables.broker}
	case text == subscriptionsPath, text == "/", strings.HasPrefix(brokerPath, text+"/"):
		return &node{interfaces: s.tables.node}
	case strings.HasPrefix(text, subscriptionsPath+"/"):
		if s.subscription(path) == nil {
			return nil
		}
		return &node{interfaces: s.tables.subscription, check: ownSubscription}
	}
	return nil
}

// pathOf returns the object path of a subscription.
func pathOf(s *delivery.Subscription) dbus.ObjectPath {
	return dbus.ObjectPath(fmt.Sprintf("%s/%016x", subscriptionsPath, s.ID()))
}

// subscription returns the subscription at a path, nil if there is none.
func (s *Service) subscription(path dbus.ObjectPath) *delivery.Subscription {
	text, ok := strings.CutPrefix(string(path), subscriptionsPath+"/")
	if !ok || len(text) != 16 {
		return nil
	}
	id, err := strconv.ParseUint(text, 16, 64)
	if err != nil || fmt.Sprintf("%016x", id) != text {
		return nil
	}
	return s.broker.Find(id)
}

// ownSubscription restricts a subscription to root and to its owner: a connection
// for an ephemeral subscription, a user for a durable one.
func ownSubscription(c *call) error {
	subscription := c.service.subscription(c.path)
	c.subscription = subscription
	switch {
	case subscription == nil:
		return fault.ErrNoSubscription
	case c.caller.User == 0:
		return nil
	case subscription.Name() == "" && c.service.clients.connection(subscription) == c.sender, subscription.Name() != "" && subscription.User() == c.caller.User:
		return nil
	}
	return &transport.Error{Name: transport.AccessDenied, Text: "the subscription is not the caller's"}
}

// tables hold the methods of each kind of object by interface.
type tables struct {
	broker, subscription, node object.Interfaces[*call]
	described                  map[string]introspect.Interface
}

// newTables parses the description of the interfaces. The error names where the
// description and the implementation differ.
func newTables() (*tables, error) {
	var node introspect.Node
	if err := xml.Unmarshal([]byte(description.Introspection), &node); err != nil {
		return nil, fmt.Errorf("cannot read the description of the interfaces: %w", err)
	}
	t := &tables{described: map[string]introspect.Interface{}}
	for _, i := range node.Interfaces {
		t.described[i.Name] = i
	}
	introspection := map[string]object.Method[*call]{"Introspect": {In: "", Serve: (*call).introspect}}
	t.node = object.Interfaces[*call]{object.Introspectable: introspection}
	t.broker = object.Interfaces[*call]{
		object.Introspectable: introspection,
		properties:            object.Properties(brokerInterface, brokerProperties()),
		brokerInterface:       implemented(brokerMethods()),
	}
	t.subscription = object.Interfaces[*call]{
		object.Introspectable: introspection,
		properties:            object.Properties(subscriptionInterface, subscriptionProperties()),
		subscriptionInterface: implemented(subscriptionMethods()),
	}
	for name, interfaces := range map[string]object.Interfaces[*call]{brokerInterface: t.broker, subscriptionInterface: t.subscription} {
		described := t.described[name]
		if err := object.Compare(&described, interfaces[name]); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// implemented converts methods.
func implemented(methods map[string]method) map[string]object.Method[*call] {
	all := map[string]object.Method[*call]{}
	for name, m := range methods {
		all[name] = object.Method[*call]{In: m.in, Serve: m.serve}
	}
	return all
}

// introspect serves Introspect.
func (c *call) introspect() ([]any, error) {
	s := c.service
	node := introspect.Node{Name: string(c.path)}
	o := s.object(c.path)
	if o == nil {
		return nil, fault.ErrNoSubscription
	}
	for _, name := range []string{brokerInterface, subscriptionInterface} {
		if _, ok := o.interfaces[name]; ok {
			node.Interfaces = append(node.Interfaces, s.tables.described[name])
		}
	}
	if _, ok := o.interfaces[properties]; ok {
		node.Interfaces = append(node.Interfaces, object.PropertiesDescription())
	}
	node.Interfaces = append(node.Interfaces, introspect.IntrospectData, introspect.PeerData)
	for _, child := range s.children(string(c.path), c.caller) {
		node.Children = append(node.Children, introspect.Node{Name: child})
	}
	text, err := xml.MarshalIndent(node, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("cannot describe the object: %w", err)
	}
	return []any{introspect.IntrospectDeclarationString + string(text) + "\n"}, nil
}

// children returns the names of the nodes below a path that a caller may see.
func (s *Service) children(path string, caller access.Caller) []string {
	if path == subscriptionsPath {
		var names []string
		for _, subscription := range s.broker.Subscriptions() {
			if caller.User == 0 || subscription.User() == caller.User {
				names = append(names, fmt.Sprintf("%016x", subscription.ID()))
			}
		}
		slices.Sort(names)
		return names
	}
	if below, ok := strings.CutPrefix(subscriptionsPath, strings.TrimSuffix(path, "/")+"/"); ok {
		child, _, _ := strings.Cut(below, "/")
		return []string{child}
	}
	return nil
}
