// SPDX-License-Identifier: Apache-2.0

// Package fault defines the errors of the broker that transports translate into
// their own.
package fault

import (
	"errors"
	"fmt"
)

// ErrNoSubscription indicates that the subscription does not exist or belongs to
// another user.
var ErrNoSubscription = errors.New("no such subscription")

// ErrExists indicates that a subscription of that name exists with another filter
// or other options.
var ErrExists = errors.New("there is a subscription of this name, with another filter or other options")

// ErrAgentUnavailable indicates that the agent does not answer.
var ErrAgentUnavailable = errors.New("the agent does not answer")

// ErrStopping indicates that the broker is stopping.
var ErrStopping = errors.New("the broker is stopping")

// FilterError reports an invalid filter.
type FilterError struct{ Key, Problem string }

func (e *FilterError) Error() string {
	return fmt.Sprintf("invalid filter: %s: %s", e.Key, e.Problem)
}

// ArgumentError reports an invalid argument other than a filter.
type ArgumentError struct{ Argument, Problem string }

func (e *ArgumentError) Error() string { return e.Argument + ": " + e.Problem }

// LimitError reports the limit that a caller has reached.
type LimitError struct {
	// The limited resource, in the plural.
	Resource string
	Max      int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("limit exceeded: no more than %d %s", e.Max, e.Resource)
}

// StoreError reports that the log cannot be read.
type StoreError struct{ Err error }

func (e *StoreError) Error() string { return "cannot read the log: " + e.Err.Error() }

func (e *StoreError) Unwrap() error { return e.Err }
