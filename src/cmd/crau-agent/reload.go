// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/varlink/go/varlink"

	"crypto-auditing/src/internal/config"
	api "crypto-auditing/src/internal/varlinkservice/orgcryptoauditingagent"
)

// askToReload has the agent that runs read its configuration again, and returns
// once the new one is in effect. How long that may take is the caller's, or the
// service manager's, to decide.
func askToReload(ctx context.Context, socket string) error {
	connection, err := varlink.NewConnection(ctx, "unix:"+socket)
	if err != nil {
		return fmt.Errorf("cannot reach the agent at %s: %w: is crypto-auditing-agent.socket active?", socket, err)
	}
	defer connection.Close()
	err = api.Reload().Call(ctx, connection)
	var bad *api.BadConfiguration
	var failed *api.Failed
	var unavailable *api.Unavailable
	var denied *api.PermissionDenied
	switch {
	case err == nil:
		return nil
	case errors.As(err, &bad):
		return &config.Error{File: bad.File, Line: int(bad.Line), Problem: bad.Problem}
	case errors.As(err, &failed):
		return errors.New(failed.Problem)
	case errors.As(err, &unavailable):
		return errors.New(unavailable.Reason)
	case errors.As(err, &denied):
		return fmt.Errorf("not authorised: only %s may reload the agent", denied.Allowed)
	}
	return fmt.Errorf("cannot reload the agent: %w", err)
}
