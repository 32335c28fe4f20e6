// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/inventory/coverage"
	"crypto-auditing/src/internal/status"
)

// Cover completes the coverage of a period that extends to now from the status of broker and agent:
// what is recorded at present, and what no source can capture. s is nil without a status; kernel are
// the known uses of the kernel.
func Cover(c *coverage.Coverage, s *status.Broker, kernel []string, now time.Time) {
	unseen := "No source records the cryptography of the kernel: WireGuard, IPsec, disk encryption, kernel TLS."
	if len(kernel) > 0 {
		unseen += " This machine uses " + strings.Join(kernel, ", ") + "."
	}
	c.Unseen = append(c.Unseen, unseen)
	switch {
	case s == nil:
		return
	case s.Agent == nil && s.AgentActive:
		c.Unseen = append(c.Unseen, fmt.Sprintf("The agent does not report its sources: %s.", cmp.Or(s.AgentError, "it does not answer")))
		return
	case s.Agent == nil:
		if !s.AgentSince.IsZero() && s.AgentSince.Before(now) {
			c.Down = append(c.Down, coverage.Span{From: s.AgentSince, To: now, Reason: "agent-" + cmp.Or(s.AgentState, "stopped")})
		}
		c.Unseen = append(c.Unseen, "The agent does not run: nothing is recorded now.")
		return
	}
	a := s.Agent
	active := map[string]bool{}
	c.Sources = []string{}
	for i := range a.Sources {
		if source := &a.Sources[i]; source.FrontEnd != "" {
			c.Sources = append(c.Sources, source.Name)
			active[source.Name] = true
		}
	}
	for _, off := range []struct {
		source event.Source
		text   string
	}{
		{event.USDT, "The source usdt is off: what libraries with probes report is not recorded."},
		{event.Wire, "The source wire is off: handshakes of programs whose libraries are not watched are not recorded."},
		{event.Function, "The source function is off: operations with keys, and signatures inside TLS 1.3, of libraries without probes are not recorded."},
	} {
		if !active[string(off.source)] {
			c.Unseen = append(c.Unseen, off.text)
		}
	}
	for i := range a.Exclusions {
		if e := &a.Exclusions[i]; e.Handshakes+e.Hits > 0 {
			c.Unseen = append(c.Unseen, fmt.Sprintf("The rule %q excludes programs: %d handshakes and %d probe hits were not recorded since %s.",
				e.Rule, e.Handshakes, e.Hits, a.Started.UTC().Format(time.DateTime)))
		} else {
			c.Unseen = append(c.Unseen, fmt.Sprintf("The rule %q excludes programs.", e.Rule))
		}
	}
	watched(c, a)
}

// watched adds the libraries that the agent watches.
func watched(c *coverage.Coverage, a *status.Agent) {
	for i := range a.Libraries {
		l := &a.Libraries[i]
		if l.Error != "" {
			c.Unseen = append(c.Unseen, fmt.Sprintf("The library %s is not recorded: %s.", l.Path, l.Error))
		}
		if l.Since.IsZero() || l.BuildID == "" {
			continue
		}
		if slices.ContainsFunc(c.Libraries, func(known coverage.Library) bool { return known.ID == l.BuildID }) {
			continue
		}
		c.Libraries = append(c.Libraries, coverage.Library{ID: l.BuildID, Name: path.Base(l.Path)})
	}
}
