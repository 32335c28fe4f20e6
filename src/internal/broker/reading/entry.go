// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"errors"
	"fmt"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// Form appends an entry in the form of a transport to dst. The entry is valid until
// it returns. What it appends is
// kept and may be joined with other entries in any order; it must not depend
// on where it stands.
type Form func(dst []byte, e *event.Entry) []byte

// The reasons for a Gap, besides those for which a log has no entries.
const (
	// Slow: the client did not answer in time.
	Slow event.MissingReason = "slow"
	// StateLost: how far the subscription had got could not be restored.
	StateLost event.MissingReason = "state-lost"
	// LogReplaced: the log is another one.
	LogReplaced event.MissingReason = "log-replaced"
)

// Gap is a part of the log that was passed over.
type Gap struct {
	// From is the position before and To that behind it.
	From, To logstore.Cursor
	// Entries is how many there are in between. 0 with Unreadable: how many is
	// not known, since the newest segment cannot be read; they follow once it
	// can be. 0 with PassedOver.
	Entries uint64
	Reason  event.MissingReason
}

// Note reports whether nothing is known to be missing.
func (g *Gap) Note() bool {
	return g.Entries == 0 && (g.Reason == event.Unreadable || g.Reason == event.PassedOver)
}

// Open reports whether it is not known what is missing: the newest segment
// cannot be read.
func (g *Gap) Open() bool { return g.Entries == 0 && g.Reason == event.Unreadable }

func (g *Gap) Error() string {
	return fmt.Sprintf("%d entries from %v to %v are passed over: %s", g.Entries, g.From, g.To, g.Reason)
}

// AsGap returns the gap that err is, nil if it is none.
func AsGap(err error) *Gap {
	var gap *Gap
	if errors.As(err, &gap) {
		return gap
	}
	return nil
}

// Between returns the number of entries between two positions of one store.
// After a crash of the machine the sequence numbers jump by 2^32, which is more
// than a log has entries.
func Between(from, to uint64) uint64 {
	if to <= from {
		return 0
	}
	const jump = 1 << 32
	return (to - from) & (jump - 1)
}
