// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/event"
)

// Errors that the broker answers with; errors.Is finds them in what the methods
// return.
var (
	// ErrInvalidCursor: a text is no cursor.
	ErrInvalidCursor = errors.New("invalid cursor")
	// ErrForeignCursor: a cursor is one of another log.
	ErrForeignCursor = errors.New("cursor of another log")
	// ErrInvalidFilter: a filter has a value that cannot be.
	ErrInvalidFilter = errors.New("invalid filter")
	// ErrNoSuchSubscription: there is no subscription of this name, or it is
	// not the caller's.
	ErrNoSuchSubscription = errors.New("no such subscription")
	// ErrSubscriptionExists: there is a subscription of this name with another
	// filter or other options.
	ErrSubscriptionExists = errors.New("subscription exists")
	// ErrLimitExceeded: more subscriptions, streams or bytes than one may have.
	ErrLimitExceeded = errors.New("limit exceeded")
	// ErrAgentUnavailable: the agent does not answer the broker.
	ErrAgentUnavailable = errors.New("agent unavailable")
	// ErrStoreCorrupt: the log cannot be read.
	ErrStoreCorrupt = errors.New("log is corrupt")
	// ErrInvalidArgument: an argument cannot be.
	ErrInvalidArgument = errors.New("invalid argument")
	// ErrAccessDenied: the caller may not do this. It is fs.ErrPermission, too.
	ErrAccessDenied = errors.New("access denied")
	// ErrUnreachable: there is no bus, no broker on it, or the connection to it
	// has ended.
	ErrUnreachable = errors.New("broker unreachable")
	// ErrProtocol: the broker answered what its interface does not have.
	ErrProtocol = errors.New("unexpected answer of the broker")
	// ErrClosed: the Client, Subscription or Stream has been closed.
	ErrClosed = errors.New("closed")
)

// Error is an error that came over the bus.
type Error struct {
	// Name is the D-Bus name of the error.
	Name string
	// Message says what happened, in the words of the broker.
	Message string
	kind    error // nil: no other than the name
}

func (e *Error) Error() string {
	if e.Message == "" {
		return e.Name
	}
	return e.Message
}

// Is reports whether the error is one of those of this package.
func (e *Error) Is(target error) bool {
	return target == e.kind || (target == fs.ErrPermission && e.kind == ErrAccessDenied)
}

const errorPrefix = "org.crypto_auditing.Error."

// kinds returns the errors that the D-Bus names of others stand for.
func kinds() map[string]error {
	const freedesktop = "org.freedesktop.DBus.Error."
	m := map[string]error{
		errorPrefix + "InvalidCursor": ErrInvalidCursor, errorPrefix + "ForeignCursor": ErrForeignCursor,
		errorPrefix + "InvalidFilter": ErrInvalidFilter, errorPrefix + "NoSuchSubscription": ErrNoSuchSubscription,
		errorPrefix + "SubscriptionExists": ErrSubscriptionExists, errorPrefix + "LimitExceeded": ErrLimitExceeded,
		errorPrefix + "AgentUnavailable": ErrAgentUnavailable, errorPrefix + "StoreCorrupt": ErrStoreCorrupt,
		freedesktop + "LimitsExceeded": ErrLimitExceeded,
		freedesktop + "UnknownObject":  ErrNoSuchSubscription, // the broker's own object is always there
	}
	for kind, names := range map[error]string{
		ErrAccessDenied:    "AccessDenied AuthFailed InteractiveAuthorizationRequired",
		ErrInvalidArgument: "InvalidArgs InvalidSignature",
		ErrUnreachable:     "ServiceUnknown NameHasNoOwner NoReply Timeout TimedOut Disconnected NoServer NoNetwork",
	} {
		for name := range strings.FieldsSeq(names) {
			m[freedesktop+name] = kind
		}
	}
	return m
}

// kindOf returns the error that the D-Bus name of one stands for.
func kindOf(name string) error {
	// The bus could not start the broker.
	if strings.HasPrefix(name, "org.freedesktop.DBus.Error.Spawn.") || strings.HasPrefix(name, "org.freedesktop.systemd1.") {
		return ErrUnreachable
	}
	return kinds()[name]
}

// callError returns what the error of a call is to the callers of this package.
func callError(err error) error {
	var answer dbus.Error
	var pointer *dbus.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &pointer):
		answer = *pointer
	case errors.As(err, &answer):
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	default:
		// The connection broke, or was closed while the call waited.
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	e := &Error{Name: answer.Name, kind: kindOf(answer.Name)}
	if len(answer.Body) > 0 {
		e.Message, _ = answer.Body[0].(string)
	}
	return e
}

// transient reports whether an error may be over when one tries again.
func transient(err error) bool {
	return errors.Is(err, ErrUnreachable)
}

// MissingError reports entries of the log that are missing. Reading continues
// after them.
type MissingError struct {
	// Entries is how many; 0 if that is not known, since the newest part of the
	// log cannot be read, and if Reason is "passed-over": then none is missing,
	// but a file is named as a segment of the log and is none.
	Entries uint64
	// Reason is "truncated", "corrupt", "unreadable" or "passed-over", empty
	// where the broker does not report it.
	Reason string
}

func (e *MissingError) Error() string {
	how := "are gone from the log"
	switch event.MissingReason(e.Reason) {
	case event.PassedOver:
		return "a file that is not a segment of the log was passed over: see crauctl status"
	case event.Truncated:
		how = "have been removed from the log"
	case event.Corrupt:
		how = "of the log are damaged"
	case event.Unreadable:
		how = "of the log cannot be read: see crauctl status"
	}
	if e.Entries == 0 {
		return "the newest entries " + how
	}
	return fmt.Sprintf("%d entries %s", e.Entries, how)
}

// StreamError reports a stream that ended before it was complete. One that broke
// off is io.ErrUnexpectedEOF, too.
type StreamError struct {
	// Reason is the broker's; empty if the stream broke off.
	Reason string
}

func (e *StreamError) Error() string {
	if e.Reason == "" {
		return "the stream broke off"
	}
	return "the stream ended early: " + e.Reason
}

func (e *StreamError) Unwrap() error {
	if e.Reason == "" {
		return io.ErrUnexpectedEOF
	}
	return nil
}
