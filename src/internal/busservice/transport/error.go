// SPDX-License-Identifier: Apache-2.0

package transport

// Error names of the D-Bus specification and its implementations.
const (
	AccessDenied     = "org.freedesktop.DBus.Error.AccessDenied"
	Failed           = "org.freedesktop.DBus.Error.Failed"
	InvalidArgs      = "org.freedesktop.DBus.Error.InvalidArgs"
	LimitsExceeded   = "org.freedesktop.DBus.Error.LimitsExceeded"
	PropertyReadOnly = "org.freedesktop.DBus.Error.PropertyReadOnly"
	ServiceUnknown   = "org.freedesktop.DBus.Error.ServiceUnknown"
	UnknownInterface = "org.freedesktop.DBus.Error.UnknownInterface"
	UnknownMethod    = "org.freedesktop.DBus.Error.UnknownMethod"
	UnknownObject    = "org.freedesktop.DBus.Error.UnknownObject"
	UnknownProperty  = "org.freedesktop.DBus.Error.UnknownProperty"
)

// Error is an error with its name on the bus.
type Error struct{ Name, Text string }

func (e *Error) Error() string { return e.Text }
