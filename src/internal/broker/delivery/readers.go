// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"

	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/broker/semaphore"
	"crypto-auditing/src/internal/logstore"
)

// maxReaders is the highest number of subscriptions that read the log at the same
// time and of scanners that are kept: each may hold a chunk, some 5 MiB.
// userReaders is the highest number per user.
const (
	maxReaders  = 4
	userReaders = 3
)

// readers lends scanners to lagging subscriptions. A subscription that returns gets
// its previous scanner if no other has needed it.
type readers struct {
	source    *reading.Log
	semaphore *semaphore.PerUser
	// idle are the unused scanners, the most recently used one last.
	idle chan []lentScanner
}

// lentScanner is a scanner and its borrower.
type lentScanner struct {
	owner   *Subscription
	scanner *reading.Scanner
}

func newReaders(source *reading.Log) *readers {
	r := &readers{source: source, semaphore: semaphore.New(maxReaders, userReaders), idle: make(chan []lentScanner, 1)}
	r.idle <- nil
	return r
}

// get returns a scanner that continues after a position. It waits for a free one.
// Errors are those of reading.Log.Scanner and of ctx.
func (r *readers) get(ctx context.Context, s *Subscription, at logstore.Cursor) (*reading.Scanner, error) {
	if err := r.semaphore.Acquire(ctx, s.user); err != nil {
		return nil, err
	}
	if own := r.take(s); own != nil {
		if own.Cursor() == at {
			return own, nil
		}
		own.Close()
	}
	opened, err := r.source.Scanner(s.filter, at)
	if err != nil {
		r.semaphore.Release(s.user)
		return nil, err
	}
	return opened, nil
}

// put returns a scanner.
func (r *readers) put(s *Subscription, used *reading.Scanner) {
	idle := append(<-r.idle, lentScanner{s, used})
	var old *reading.Scanner
	if len(idle) > maxReaders {
		old, idle = idle[0].scanner, idle[1:]
	}
	r.idle <- idle
	if old != nil {
		old.Close()
	}
	r.semaphore.Release(s.user)
}

// drop closes the scanner of a subscription, if there is one.
func (r *readers) drop(s *Subscription) {
	if own := r.take(s); own != nil {
		own.Close()
	}
}

// take removes the scanner of a subscription from the idle ones.
func (r *readers) take(s *Subscription) *reading.Scanner {
	idle := <-r.idle
	var own *reading.Scanner
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
