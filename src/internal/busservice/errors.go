// SPDX-License-Identifier: Apache-2.0

package busservice

import (
	"errors"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/busservice/transport"
	"crypto-auditing/src/internal/logstore"
)

// errorPrefix is the prefix of this project's error names.
const errorPrefix = "org.crypto_auditing.Error."

// busError maps an error to its name on the bus.
func busError(err error) *dbus.Error {
	var failed *transport.Error
	var filter *fault.FilterError
	var argument *fault.ArgumentError
	var limit *fault.LimitError
	var store *fault.StoreError
	name := transport.Failed
	switch {
	case errors.As(err, &failed):
		name = failed.Name
	case errors.As(err, &filter):
		name = errorPrefix + "InvalidFilter"
	case errors.As(err, &argument):
		name = transport.InvalidArgs
	case errors.As(err, &limit):
		name = errorPrefix + "LimitExceeded"
	case errors.Is(err, logstore.ErrInvalidCursor):
		name = errorPrefix + "InvalidCursor"
	case errors.Is(err, logstore.ErrForeignCursor):
		name = errorPrefix + "ForeignCursor"
	case errors.Is(err, fault.ErrNoSubscription):
		name = errorPrefix + "NoSuchSubscription"
	case errors.Is(err, fault.ErrExists):
		name = errorPrefix + "SubscriptionExists"
	case errors.Is(err, fault.ErrAgentUnavailable):
		name = errorPrefix + "AgentUnavailable"
	case errors.Is(err, fault.ErrStopping):
		name = transport.ServiceUnknown
	case errors.As(err, &store):
		name = errorPrefix + "StoreCorrupt"
	}
	return dbus.NewError(name, []any{err.Error()})
}
