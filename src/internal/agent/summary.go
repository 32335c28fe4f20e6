// SPDX-License-Identifier: Apache-2.0

package agent

import "crypto-auditing/src/internal/loss"

// Summary is the part of a Status that is cheap enough for a line of text that is
// updated often.
type Summary struct {
	// Libraries is the number of attached files.
	Libraries int
	// Sockets reports whether handshakes are recorded at sockets.
	Sockets bool
	// Hits is the number of recorded hits.
	Hits uint64
	// Lost lists the losses by reason.
	Lost []loss.Loss
	// Full is the reason why writing to the disk fails at the moment, otherwise empty.
	Full string
}

// Summary returns the summary. It may be called from any goroutine.
func (a *Agent) Summary() Summary {
	committed := a.committer.counts()
	s := Summary{Libraries: a.libraries.Attached(), Sockets: a.sockets.source != nil, Hits: committed.hits, Lost: a.losses.List()}
	if err := a.writer.Status().Err; err != nil {
		s.Full = err.Error()
	}
	return s
}
