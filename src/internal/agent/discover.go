// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"

	"crypto-auditing/src/internal/probe/mappings"
)

// discover attaches to files that processes load, until ctx is done, if that is enabled.
func (a *Agent) discover(ctx context.Context) {
	if a.mapped == nil {
		return
	}
	w, err := mappings.WatchAll(a.mapped.Note)
	if err != nil {
		a.options.Log.Warn("files that processes load are not looked at", "error", err)
		return
	}
	lost := uint64(0)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-a.mapped.Changed():
			if err := a.libraries.Attach(); err != nil {
				a.options.Log.Warn("attaching to libraries", "error", err)
			}
			if n := w.Lost(); n != lost {
				a.options.Log.Warn("files that processes load were missed, too many at a time", "files", n-lost)
				lost = n
			}
		}
	}
	if err := w.Close(); err != nil {
		a.options.Log.Warn("cannot stop looking at what processes load", "error", err)
	}
}
