// SPDX-License-Identifier: Apache-2.0

package agentclient

import (
	"errors"
	"fmt"

	"github.com/varlink/go/varlink"

	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/logstore"
	api "crypto-auditing/src/internal/varlinkservice/orgcryptoauditingagent"
)

// DeniedError reports that the caller lacks permission.
type DeniedError struct {
	// Allowed describes the permitted callers.
	Allowed string
}

func (e *DeniedError) Error() string { return "the agent lets only " + e.Allowed + " do that" }

// FailedError reports that the call failed in the agent.
type FailedError struct{ Problem string }

func (e *FailedError) Error() string { return "the agent failed: " + e.Problem }

// ConfigurationError reports an error in the agent's configuration.
type ConfigurationError struct {
	// File is the path. Line counts from 1; it is 0 if the error does not belong to
	// one line.
	File    string
	Line    int
	Problem string
}

func (e *ConfigurationError) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Problem
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Problem)
}

// LimitError reports that a limit of the agent is reached.
type LimitError struct {
	Limit   string
	Maximum int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("it has reached a limit, %d %s", e.Maximum, e.Limit)
}

// UnavailableError reports that the agent cannot do this now.
type UnavailableError struct{ Reason string }

func (e *UnavailableError) Error() string { return e.Reason }

// UnknownError is an error that is not part of the interface.
type UnknownError struct{ Name string }

func (e *UnknownError) Error() string { return e.Name }

// ErrNotAgent reports that the listener is not an agent, or one of another version.
var ErrNotAgent = errors.New("it is not the agent, or one of another version")

// answer maps an error of a call to an error of this package.
func answer(err error) error {
	var failed *api.Failed
	var bad *api.BadConfiguration
	var foreign *api.ForeignCursor
	var lagging *api.Lagging
	var denied *api.PermissionDenied
	var all *api.RemovesAll
	var limit *api.LimitExceeded
	var unavailable *api.Unavailable
	var noInterface *varlink.InterfaceNotFound
	var noMethod *varlink.MethodNotFound
	var other *varlink.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &failed):
		return &FailedError{failed.Problem}
	case errors.As(err, &bad):
		return &ConfigurationError{File: bad.File, Line: int(bad.Line), Problem: bad.Problem}
	case errors.As(err, &foreign):
		return fmt.Errorf("%w: %s", logstore.ErrForeignCursor, foreign.Cursor)
	case errors.As(err, &all):
		return errors.New("the agent does not remove the whole log without force")
	case errors.As(err, &denied):
		return &DeniedError{denied.Allowed}
	case errors.As(err, &lagging):
		return errors.New("the client did not read in time")
	case errors.As(err, &limit):
		err = &LimitError{limit.Limit, limit.Maximum}
	case errors.As(err, &unavailable):
		err = &UnavailableError{unavailable.Reason}
	case errors.As(err, &noInterface), errors.As(err, &noMethod):
		err = ErrNotAgent
	case errors.As(err, &other):
		err = &UnknownError{other.Name}
	}
	return fmt.Errorf("%w: %w", fault.ErrAgentUnavailable, err)
}
