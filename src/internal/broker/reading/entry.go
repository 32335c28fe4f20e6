// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"errors"
	"fmt"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// Encoder appends an entry, in the encoding of a transport, to dst. The entry is valid
// until it returns. The output is retained and may be joined with other entries in
// any order; it must not depend on its offset.
type Encoder func(dst []byte, e *event.Entry) []byte

// The reasons for a Gap, besides the reasons for missing entries of a log.
const (
	// Slow: the client did not answer in time.
	Slow event.MissingReason = "slow"
	// StateLost: the position of the subscription could not be restored.
	StateLost event.MissingReason = "state-lost"
	// LogReplaced: the log was replaced by another one.
	LogReplaced event.MissingReason = "log-replaced"
)

// Gap is a skipped part of the log.
type Gap struct {
	// From is the position before it, To the one after it.
	From, To logstore.Cursor
	// Entries is the number of entries in between. It is 0 with Unreadable if the
	// newest segment cannot be read: the number is unknown, and the entries follow
	// once it can be read. It is also 0 with PassedOver.
	Entries uint64
	Reason  event.MissingReason
}

// Note reports whether no entries are known to be missing.
func (g *Gap) Note() bool {
	return g.Entries == 0 && (g.Reason == event.Unreadable || g.Reason == event.PassedOver)
}

// Open reports whether the extent is unknown, because the newest segment cannot be
// read.
func (g *Gap) Open() bool { return g.Entries == 0 && g.Reason == event.Unreadable }

func (g *Gap) Error() string {
	return fmt.Sprintf("%d entries from %v to %v were skipped: %s", g.Entries, g.From, g.To, g.Reason)
}

// AsGap returns the gap in err, nil if there is none.
func AsGap(err error) *Gap {
	var gap *Gap
	if errors.As(err, &gap) {
		return gap
	}
	return nil
}

// Between returns the number of entries between two positions of one store. After a
// crash of the machine sequence numbers jump by 2^32, which exceeds the number of
// entries of any log.
func Between(from, to uint64) uint64 {
	if to <= from {
		return 0
	}
	const jump = 1 << 32
	return (to - from) & (jump - 1)
}
