// SPDX-License-Identifier: Apache-2.0

package busservice

import (
	"context"
	"sync"

	"github.com/godbus/dbus/v5"
	"golang.org/x/time/rate"

	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/wakeup"
)

// announcements is how many there are a second at most.
const announcements = 5

// announcer tells everybody what has changed: that the log has grown, and the
// properties whose changes are told.
type announcer struct {
	service *Service

	mu      sync.Mutex
	newest  logstore.Cursor
	groups  uint64
	changed wakeup.Signal

	// What follows was told last.
	oldest string
	lost   uint64
	active bool
}

func newAnnouncer(s *Service) *announcer {
	return &announcer{service: s, changed: wakeup.New()}
}

// appended notes that the log has grown.
func (a *announcer) appended(newest logstore.Cursor, entries uint64) {
	a.mu.Lock()
	a.newest = newest
	a.groups += entries
	a.mu.Unlock()
	a.look()
}

// look has it find out what has changed.
func (a *announcer) look() { a.changed.Notify() }

// run announces until ctx is done.
func (a *announcer) run(ctx context.Context) {
	a.remember()
	limiter := rate.NewLimiter(announcements, 1)
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.changed:
		}
		if limiter.Wait(ctx) != nil {
			return
		}
		a.announce()
	}
}

// remember takes the properties as they are for known.
func (a *announcer) remember() {
	if oldest, err := a.service.broker.Oldest(); err == nil {
		a.oldest = oldest.String()
	}
	a.lost, a.active = a.service.broker.EventsLost(), a.service.broker.AgentActive()
}

// announce sends what is new. Errors mean that the bus is gone, which others
// notice.
func (a *announcer) announce() {
	a.mu.Lock()
	newest, groups := a.newest, a.groups
	a.groups = 0
	a.mu.Unlock()
	conn := a.service.conn
	if groups > 0 {
		_ = conn.Emit(brokerPath, brokerInterface+".Appended", newest.String(), groups)
	}
	changes := dictionary{}
	oldest, lost, active := a.oldest, a.lost, a.active
	a.remember()
	if a.oldest != oldest {
		changes["Oldest"] = dbus.MakeVariant(a.oldest)
	}
	if a.lost != lost {
		changes["EventsLost"] = dbus.MakeVariant(a.lost)
	}
	if a.active != active {
		changes["AgentActive"] = dbus.MakeVariant(a.active)
	}
	if len(changes) > 0 {
		_ = conn.Emit(brokerPath, properties+".PropertiesChanged", brokerInterface, changes, []string{})
	}
}
