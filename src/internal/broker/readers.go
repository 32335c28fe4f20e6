// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"

	"crypto-auditing/src/internal/logstore"
)

// maxReaders is how many subscriptions read the log at the same time, and how
// many scanners are kept: each may hold a chunk, some 5 MiB. userReaders is how
// many may be a user's.
const (
	maxReaders  = 4
	userReaders = 3
)

// readers lends scanners to subscriptions that are behind. One that comes back
// finds its own again if no other has needed it.
type readers struct {
	dir    string
	health *health
	turns  *Turns
	// idle are the scanners that nobody uses, the one used last at the end.
	idle chan []lent
}

// lent is a scanner and whose it is.
type lent struct {
	owner   *Subscription
	scanner *scanner
}

func newReaders(dir string, h *health) *readers {
	r := &readers{dir: dir, health: h, turns: NewTurns(maxReaders, userReaders), idle: make(chan []lent, 1)}
	r.idle <- nil
	return r
}

// get returns a scanner behind a position. It waits for its turn. The errors
// are those of openScanner and of ctx.
func (r *readers) get(ctx context.Context, s *Subscription, at logstore.Cursor) (*scanner, error) {
	if err := r.turns.Get(ctx, s.user); err != nil {
		return nil, err
	}
	if own := r.take(s); own != nil {
		if own.cursor() == at {
			return own, nil
		}
		own.close()
	}
	opened, err := openScanner(r.dir, r.health, s.filter, at)
	if err != nil {
		r.turns.Put(s.user)
		return nil, err
	}
	return opened, nil
}

// put gives a scanner back.
func (r *readers) put(s *Subscription, used *scanner) {
	idle := append(<-r.idle, lent{s, used})
	var old *scanner
	if len(idle) > maxReaders {
		old, idle = idle[0].scanner, idle[1:]
	}
	r.idle <- idle
	if old != nil {
		old.close()
	}
	r.turns.Put(s.user)
}

// drop closes the scanner of a subscription, if there is one.
func (r *readers) drop(s *Subscription) {
	if own := r.take(s); own != nil {
		own.close()
	}
}

// take takes the scanner of a subscription out of the idle ones.
func (r *readers) take(s *Subscription) *scanner {
	idle := <-r.idle
	var own *scanner
	for i := range idle {
		if idle[i].owner == s {
			own = idle[i].scanner
			idle = append(idle[:i:i], idle[i+1:]...)
			break
		}
	}
	r.idle <- idle
	return own
}
