// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"path"
	"slices"
	"sync/atomic"

	"crypto-auditing/src/internal/pipeline"
	"crypto-auditing/src/internal/probe/sockets"
	"crypto-auditing/src/internal/status"
)

// socketSource is the source "wire" of an agent.
type socketSource struct {
	// source is nil if it is disabled, or unavailable because of err.
	source *sockets.Source
	err    error
	// suspects are globs of executables.
	suspects atomic.Pointer[[]string]
}

// suspect reports whether an executable is known to forward handshakes of others.
func (s *socketSource) suspect(executable string) bool {
	return slices.ContainsFunc(*s.suspects.Load(), func(glob string) bool {
		// The configuration was checked.
		ok, _ := path.Match(glob, executable)
		return ok
	})
}

// status returns the status of the source, and sets the coverage. The error describes
// missing parts.
func (s *socketSource) status(p *pipeline.Pipeline, to *status.Agent) (status.Source, error) {
	d := status.Source{Name: "wire"}
	if s.source == nil {
		d.Error = s.err.Error()
		return d, nil
	}
	d.FrontEnd = string(s.source.FrontEnd())
	for _, r := range s.source.Refused() {
		d.Refused = fmt.Sprintf("%s: %v", r.FrontEnd, r.Err)
	}
	var stats pipeline.ConnectionStats
	stats, to.Coverage = p.Connections()
	counts, err := s.source.Counts()
	d.Connections, d.NoHandshake = counts.Seen, counts.NoHandshake+stats.NoHandshake
	d.Handshakes, d.Relayed, d.Excluded = stats.Decoded+stats.Cut-stats.Excluded, stats.Relayed, stats.Excluded
	return d, err
}

// watchSockets starts to record handshakes at sockets if that is enabled. If the kernel
// does not allow it, the agent records from other sources; without another source it is
// an error.
func (a *Agent) watchSockets() error {
	if !a.options.Sockets {
		return nil
	}
	s := &a.sockets
	if s.source, s.err = sockets.Attach(a.tracer, sockets.Options{Datagrams: a.options.Datagrams}); s.err != nil {
		if a.options.Libraries == nil {
			return s.err
		}
		a.options.Log.Warn("handshakes are not recorded at sockets", "error", s.err)
		return nil
	}
	for _, r := range s.source.Refused() {
		a.options.Log.Info("a front end at sockets cannot be used", "front_end", r.FrontEnd, "reason", r.Err)
	}
	a.options.Log.Info("recording handshakes at sockets", "front_end", s.source.FrontEnd())
	a.pipeline.Watch(pipeline.Sockets{Source: s.source, Units: a.options.RecordUnit, Suspect: s.suspect})
	return nil
}
