// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	"crypto-auditing/src/internal/config"
	"crypto-auditing/src/internal/varlinkservice/agentclient"
)

// requestReload makes the running agent reload its configuration, and returns when that is in
// effect. An error in the configuration is a *config.Error. The service uses it for
// systemctl reload because, unlike a signal, it reports the result.
func requestReload(ctx context.Context, socket string) error {
	err := agentclient.Client{Path: socket}.Reload(ctx)
	var bad *agentclient.ConfigurationError
	var failed *agentclient.FailedError
	var denied *agentclient.DeniedError
	var unavailable *agentclient.UnavailableError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &bad):
		return &config.Error{File: bad.File, Line: bad.Line, Problem: bad.Problem}
	case errors.As(err, &failed):
		return errors.New(failed.Problem)
	case errors.As(err, &unavailable):
		return unavailable
	case errors.As(err, &denied):
		return fmt.Errorf("not authorised: only %s may reload the agent", denied.Allowed)
	}
	return fmt.Errorf("cannot reload the agent: %w: is crypto-auditing-agent.socket active?", err)
}
