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

// Errors that the broker reports; use errors.Is to find them in the errors of the
// methods.
var (
	// ErrInvalidCursor: the text is not a valid cursor.
	ErrInvalidCursor = errors.New("invalid cursor")
	// ErrForeignCursor: the cursor belongs to another log.
	ErrForeignCursor = errors.New("cursor of another log")
	// ErrInvalidFilter: a filter has an invalid value.
	ErrInvalidFilter = errors.New("invalid filter")
	// ErrNoSuchSubscription: the subscription does not exist or belongs to another
	// user.
	ErrNoSuchSubscription = errors.New("no such subscription")
	// ErrSubscriptionExists: a subscription of this name exists with another
	// filter or other options.
	ErrSubscriptionExists = errors.New("subscription exists")
	// ErrLimitExceeded: the limit of subscriptions, streams or bytes is reached.
	ErrLimitExceeded = errors.New("limit exceeded")
	// ErrAgentUnavailable: the agent does not answer the broker.
	ErrAgentUnavailable = errors.New("agent unavailable")
	// ErrStoreCorrupt: the log cannot be read.
	ErrStoreCorrupt = errors.New("log is corrupt")
	// ErrInvalidArgument: an argument is invalid.
	ErrInvalidArgument = errors.New("invalid argument")
	// ErrNoSuchPolicy: the machine has no crypto policy of the name.
	ErrNoSuchPolicy = errors.New("no such policy")
	// ErrAccessDenied: the caller lacks permission. It matches fs.ErrPermission, too.
	ErrAccessDenied = errors.New("access denied")
	// ErrUnreachable: there is no bus or no broker on it, or the connection was
	// lost.
	ErrUnreachable = errors.New("broker unreachable")
	// ErrProtocol: the broker's reply does not conform to its interface.
	ErrProtocol = errors.New("unexpected answer of the broker")
	// ErrClosed: the Client, Subscription or Stream is closed.
	ErrClosed = errors.New("closed")
)

// Error is an error returned over the bus.
type Error struct {
	// Name is the D-Bus name of the error.
	Name string
	// Message is the broker's description of the error.
	Message string
	kind    error // nil if only the name is known
}

func (e *Error) Error() string {
	if e.Message == "" {
		return e.Name
	}
	return e.Message
}

// Is reports whether target is the error of this package for the name.
func (e *Error) Is(target error) bool {
	return target == e.kind || (target == fs.ErrPermission && e.kind == ErrAccessDenied)
}

const errorPrefix = "org.crypto_auditing.Error."

// kinds maps D-Bus error names of other services to errors.
func kinds() map[string]error {
	const freedesktop = "org.freedesktop.DBus.Error."
	m := map[string]error{
		errorPrefix + "InvalidCursor": ErrInvalidCursor, errorPrefix + "ForeignCursor": ErrForeignCursor,
		errorPrefix + "InvalidFilter": ErrInvalidFilter, errorPrefix + "NoSuchSubscription": ErrNoSuchSubscription,
		errorPrefix + "SubscriptionExists": ErrSubscriptionExists, errorPrefix + "LimitExceeded": ErrLimitExceeded,
		errorPrefix + "AgentUnavailable": ErrAgentUnavailable, errorPrefix + "StoreCorrupt": ErrStoreCorrupt,
		errorPrefix + "NoSuchPolicy":   ErrNoSuchPolicy,
		freedesktop + "LimitsExceeded": ErrLimitExceeded,
		freedesktop + "UnknownObject":  ErrNoSuchSubscription, // the broker's own object always exists
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

// kindOf maps a D-Bus error name to an error of this package.
func kindOf(name string) error {
	// The bus could not start the broker.
	if strings.HasPrefix(name, "org.freedesktop.DBus.Error.Spawn.") || strings.HasPrefix(name, "org.freedesktop.systemd1.") {
		return ErrUnreachable
	}
	return kinds()[name]
}

// callError maps the error of a call to an error of this package.
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
		// The connection was lost or closed during the call.
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	e := &Error{Name: answer.Name, kind: kindOf(answer.Name)}
	if len(answer.Body) > 0 {
		e.Message, _ = answer.Body[0].(string)
	}
	return e
}

// transient reports whether a later attempt may succeed.
func transient(err error) bool {
	return errors.Is(err, ErrUnreachable)
}

// MissingError reports entries of the log that are missing. Reading continues
// after them.
type MissingError struct {
	// Entries is their number. It is 0 if the number is unknown, because the newest
	// part of the log cannot be read, and if Reason is "passed-over": then no entry
	// is missing, but a file that is not a segment has the name of one.
	Entries uint64
	// Reason is "truncated", "corrupt", "unreadable" or "passed-over", empty if
	// the broker does not report it.
	Reason string
}

func (e *MissingError) Error() string {
	how := "are gone from the log"
	switch event.MissingReason(e.Reason) {
	case event.PassedOver:
		return "a file that is not a segment of the log was skipped: see crauctl status"
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

// StreamError reports a stream that ended early. A stream that broke off also
// matches io.ErrUnexpectedEOF.
type StreamError struct {
	// Reason is the broker's reason; empty if the stream broke off.
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
