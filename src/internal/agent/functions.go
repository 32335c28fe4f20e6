// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"encoding/hex"

	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/function"
	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/pipeline"
	"crypto-auditing/src/internal/provider"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/status"
)

// functionSource is the source "function" of an agent.
type functionSource struct {
	// source is nil if it is disabled, or unavailable because of err.
	source *function.Source
	err    error
}

// recordFunctions starts to record calls of functions if that is enabled. If the kernel
// does not allow it, the agent records from other sources; without another source it is
// an error.
func (a *Agent) recordFunctions() error {
	if !a.options.Functions {
		return nil
	}
	f := &a.functions
	registry, err := schema.Builtin()
	if err != nil {
		return err
	}
	if f.err = a.tracer.LoadFunctions(); f.err != nil {
		if !a.options.Probes && a.sockets.source == nil {
			return f.err
		}
		a.options.Log.Warn("functions of libraries are not recorded", "error", f.err)
		if !a.options.Probes {
			// No other source uses files.
			a.options.Libraries = nil
		}
		return nil
	}
	f.source = function.New()
	a.pipeline.Functions(f.source, registry, a.options.RecordUnit, func(q *function.QuarantineError) {
		message.LibraryFailed.Log(a.options.Log, "library", q.BuildID, "error", q)
		// Detaching waits for the kernel.
		go a.libraries.Refuse(function.Name, q.BuildID, q)
	})
	return nil
}

// Sources returns the sources that plan sites in libraries, for checks.
func Sources(probes, functions bool) (sources []capture.Source) {
	if probes {
		sources = append(sources, provider.Source())
	}
	if functions {
		sources = append(sources, function.New().Capture())
	}
	return sources
}

// sources returns the sources that plan sites in libraries. The functions of a library
// with probes are not recorded.
func (a *Agent) sources() (sources []capture.Source) {
	if a.options.Probes {
		sources = append(sources, provider.Source())
	}
	if a.functions.source != nil {
		sources = append(sources, a.functions.source.Capture())
	}
	return sources
}

// status returns the status of the source, and sets how many values of each library were
// verified.
func (f *functionSource) status(p *pipeline.Pipeline, to *status.Agent) status.Source {
	d := status.Source{Name: function.Name}
	if f.source == nil {
		d.Error = f.err.Error()
		return d
	}
	d.FrontEnd = to.Profile
	stats := p.FunctionStats()
	d.Handshakes, d.Operations, d.Dropped = stats.Handshakes, stats.Operations, stats.Refused+stats.Unreadable
	for i := range to.Libraries {
		l := &to.Libraries[i]
		if id, err := hex.DecodeString(l.BuildID); err == nil && l.Provider == function.Name {
			standing := f.source.Standing(id)
			l.Verified = standing.Agreed
		}
	}
	return d
}
