// SPDX-License-Identifier: Apache-2.0

// Package fault has the errors of the broker that transports translate into
// their own.
package fault

import (
	"errors"
	"fmt"
)

// ErrNoSubscription says that there is no such subscription, or that it is not
// the caller's.
var ErrNoSubscription = errors.New("no such subscription")

// ErrExists says that there is a subscription of that name with another filter
// or other options.
var ErrExists = errors.New("there is a subscription of this name, with another filter or other options")

// ErrAgentUnavailable says that the agent does not answer.
var ErrAgentUnavailable = errors.New("the agent does not answer")

// ErrLeaving says that the broker is about to end.
var ErrLeaving = errors.New("the broker is stopping")

// FilterError says what is wrong with a filter.
type FilterError struct{ Key, Problem string }

func (e *FilterError) Error() string {
	return fmt.Sprintf("invalid filter: %s: %s", e.Key, e.Problem)
}

// ArgumentError says what is wrong with an argument that is no filter.
type ArgumentError struct{ Argument, Problem string }

func (e *ArgumentError) Error() string { return e.Argument + ": " + e.Problem }

// LimitError says which limit a caller has reached.
type LimitError struct {
	// What is limited, in the plural.
	What string
	Max  int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("limit exceeded: no more than %d %s", e.Max, e.What)
}

// StoreError says that the log cannot be read.
type StoreError struct{ Err error }

func (e *StoreError) Error() string { return "cannot read the log: " + e.Err.Error() }

func (e *StoreError) Unwrap() error { return e.Err }
