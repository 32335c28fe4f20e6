// SPDX-License-Identifier: Apache-2.0

package busservice

import (
	"errors"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/logstore"
)

// Names of errors.
const (
	errorPrefix = "org.crypto_auditing.Error."

	errorAccessDenied     = "org.freedesktop.DBus.Error.AccessDenied"
	errorFailed           = "org.freedesktop.DBus.Error.Failed"
	errorInvalidArgs      = "org.freedesktop.DBus.Error.InvalidArgs"
	errorLimits           = "org.freedesktop.DBus.Error.LimitsExceeded"
	errorServiceUnknown   = "org.freedesktop.DBus.Error.ServiceUnknown"
	errorReadOnly         = "org.freedesktop.DBus.Error.PropertyReadOnly"
	errorUnknownInterface = "org.freedesktop.DBus.Error.UnknownInterface"
	errorUnknownMethod    = "org.freedesktop.DBus.Error.UnknownMethod"
	errorUnknownObject    = "org.freedesktop.DBus.Error.UnknownObject"
	errorUnknownProperty  = "org.freedesktop.DBus.Error.UnknownProperty"
)

// failure is an error that already has a name.
type failure struct{ name, text string }

func (f *failure) Error() string { return f.text }

func invalid(text string) error { return &failure{errorInvalidArgs, text} }

// busError gives an error its name on the bus.
func busError(err error) *dbus.Error {
	var failed *failure
	var filter *fault.FilterError
	var argument *fault.ArgumentError
	var limit *fault.LimitError
	var store *fault.StoreError
	name := errorFailed
	switch {
	case errors.As(err, &failed):
		name = failed.name
	case errors.As(err, &filter):
		name = errorPrefix + "InvalidFilter"
	case errors.As(err, &argument):
		name = errorInvalidArgs
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
	case errors.Is(err, fault.ErrLeaving):
		name = errorServiceUnknown
	case errors.As(err, &store):
		name = errorPrefix + "StoreCorrupt"
	}
	return dbus.NewError(name, []any{err.Error()})
}
