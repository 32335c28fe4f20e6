// SPDX-License-Identifier: Apache-2.0

package agentservice

import (
	"encoding/json"
	"strings"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/status"
)

// describe sets the version of a status and the error that came with it. It escapes names
// and errors, which may contain any bytes, as described in the interface.
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

// sentence returns the text of an error, which may have several lines, as one line.
func sentence(text string) string { return escape(strings.ReplaceAll(text, "\n", "; ")) }

// escape escapes arbitrary bytes as described in the interface.
func escape(text string) string { return event.Escaped(text) }
