// SPDX-License-Identifier: Apache-2.0

package busservice

import (
	"crypto-auditing/src/internal/busservice/arguments"
	"crypto-auditing/src/internal/busservice/object"
)

// interfaceVersion increases with every addition: 2 added notices, one of which
// ends each stream; 3 added units and sources of groups and in filters; 4 added
// ReadOperations and subscriptions to operations.
const interfaceVersion = uint32(4)

// property returns the value of a property.
type property = object.Property[*call]

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
		"Name":      func(c *call) (any, error) { return c.subscription.Name(), nil },
		"Position":  func(c *call) (any, error) { return c.subscription.Status().Position.String(), nil },
		"Filter":    func(c *call) (any, error) { return arguments.FilterValue(c.subscription.Filter()), nil },
		"Delivered": func(c *call) (any, error) { return c.subscription.Status().Delivered, nil },
		"Skipped":   func(c *call) (any, error) { return c.subscription.Status().Skipped, nil },
		"Pending":   func(c *call) (any, error) { return c.subscription.Status().Pending, nil },
		"Flow":      func(c *call) (any, error) { return string(c.subscription.Flow()), nil },
		"Form":      func(c *call) (any, error) { return string(c.subscription.Form()), nil },
	}
}
