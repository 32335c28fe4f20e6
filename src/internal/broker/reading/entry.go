// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"errors"
	"fmt"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// Entry is an entry of the log on its way to those who asked for it. It is
// valid until the function that it is given to returns.
type Entry struct {
	Sequence uint64
	// Group is the entry, Raw its bytes in the log.
	Group *event.Group
	Raw   []byte
	// Boot is the time of boot, in ns since the Unix epoch, to which its times
	// are relative.
	Boot int64
}

// Form appends an entry in the form of a transport to dst. What it appends is
// kept and may be joined with other entries in any order; it must not depend
// on where it stands.
type Form func(dst []byte, e *Entry) []byte

// Reason is why entries were passed over.
type Reason string

// The reasons.
const (
	// Slow: the client did not answer in time.
	Slow Reason = "slow"
	// Truncated: the entries have been removed.
	Truncated Reason = "truncated"
	// Corrupt: the entries are damaged.
	Corrupt Reason = "corrupt"
	// Unreadable: their segment cannot be opened or read.
	Unreadable Reason = "unreadable"
	// PassedOver: nothing is missing, but there is a file that is named as a
	// segment of the log and is none.
	PassedOver Reason = "passed-over"
	// StateLost: how far the subscription had got could not be restored.
	StateLost Reason = "state-lost"
	// LogReplaced: the log is another one.
	LogReplaced Reason = "log-replaced"
)

// Gap is a part of the log that was passed over.
type Gap struct {
	// From is the position before and To that behind it.
	From, To logstore.Cursor
	// Entries is how many there are in between. 0 with Unreadable: how many is
	// not known, since the newest segment cannot be read; they follow once it
	// can be. 0 with PassedOver.
	Entries uint64
	Reason  Reason
}

// Note reports whether nothing is known to be missing.
func (g *Gap) Note() bool {
	return g.Entries == 0 && (g.Reason == Unreadable || g.Reason == PassedOver)
}

// Open reports whether it is not known what is missing: the newest segment
// cannot be read.
func (g *Gap) Open() bool { return g.Entries == 0 && g.Reason == Unreadable }

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
