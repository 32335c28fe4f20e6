// SPDX-License-Identifier: Apache-2.0

package agent

import "crypto-auditing/src/internal/loss"

// Summary is the part of a Status that costs next to nothing, for a line of
// text that is renewed often.
type Summary struct {
	// Libraries is the number of files attached to.
	Libraries int
	// Sockets: handshakes are recorded at sockets.
	Sockets bool
	// Hits were recorded.
	Hits uint64
	// Lost lists the losses by reason.
	Lost []loss.Loss
	// Full says why the disk takes nothing at the moment; empty: it does.
	Full string
}

// Summary returns how things are now. It may be called from any goroutine.
func (a *Agent) Summary() Summary {
	committed := a.committer.counts()
	s := Summary{Libraries: a.libraries.Attached(), Sockets: a.sockets.source != nil, Hits: committed.hits, Lost: a.losses.List()}
	if err := a.writer.Status().Err; err != nil {
		s.Full = err.Error()
	}
	return s
}
