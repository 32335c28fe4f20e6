// SPDX-License-Identifier: Apache-2.0

package inventoryservice

import (
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/busservice/transport"
	"crypto-auditing/src/internal/inventory"
	"crypto-auditing/src/internal/inventory/database"
)

// errorPrefix is the prefix of this project's error names.
const errorPrefix = "org.crypto_auditing.Error."

// ErrNoPolicy is the error for the name of an unknown policy.
var ErrNoPolicy = errors.New("no such policy")

// InvalidError reports an argument that has a valid type, but an unknown value.
type InvalidError struct{ Problem string }

func (e *InvalidError) Error() string { return e.Problem }

// limitExceeded returns the error for a limit.
func limitExceeded(format string, limit int) error {
	return &transport.Error{Name: errorPrefix + "LimitExceeded", Text: fmt.Sprintf(format, limit)}
}

// invalidFilter returns the error for a filter.
func invalidFilter(text string) error {
	return &transport.Error{Name: errorPrefix + "InvalidFilter", Text: text}
}

// busError maps an error to its name on the bus.
func busError(err error) *dbus.Error {
	var named *transport.Error
	var invalid *InvalidError
	var filter *inventory.FilterError
	name := transport.Failed
	switch {
	case errors.As(err, &named):
		name = named.Name
	case errors.As(err, &invalid):
		name = transport.InvalidArgs
	case errors.As(err, &filter):
		name = errorPrefix + "InvalidFilter"
	case errors.Is(err, ErrNoPolicy):
		name = errorPrefix + "NoSuchPolicy"
	case database.IsDamage(err):
		name = errorPrefix + "StoreCorrupt"
	}
	return dbus.NewError(name, []any{err.Error()})
}
