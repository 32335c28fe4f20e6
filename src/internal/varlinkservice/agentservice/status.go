// SPDX-License-Identifier: Apache-2.0

package agentservice

import (
	"encoding/json"
	"strings"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/status"
)

// describe completes a status by the version, and by the error that came with it.
// Names and errors, which may be any bytes, become text as the interface describes
// it.
func describe(s *status.Agent, err error, version string) {
	s.Version = version
	if err != nil {
		s.Problem = sentence(err.Error())
	}
	s.LogDirectory, s.Full = escape(s.LogDirectory), sentence(s.Full)
	for i := range s.Sources {
		o := &s.Sources[i]
		o.Error, o.Refused = sentence(o.Error), sentence(o.Refused)
	}
	for i := range s.Coverage {
		s.Coverage[i].Executable = escape(s.Coverage[i].Executable)
	}
	for i := range s.Exclusions {
		s.Exclusions[i].Rule = escape(s.Exclusions[i].Rule)
	}
	for i := range s.Libraries {
		l := &s.Libraries[i]
		l.Path, l.Provider, l.Error = escape(l.Path), escape(l.Provider), sentence(l.Error)
		names := make([]string, len(l.Probes))
		for i, name := range l.Probes {
			names[i] = escape(name)
		}
		l.Probes = names
	}
}

// statusReply is the reply to GetStatus.
type statusReply struct {
	Status json.RawMessage `json:"status"`
}

// sentence writes the text of an error, which may be several, in one line.
func sentence(text string) string { return escape(strings.ReplaceAll(text, "\n", "; ")) }

// escape writes what may be any bytes as the interface describes it.
func escape(text string) string { return event.Escaped(text) }
