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

// announcements is the highest number of announcements per second.
const announcements = 5

// announcer broadcasts changes: the growth of the log, and the properties that
// emit PropertiesChanged.
type announcer struct {
	service *Service

	mu      sync.Mutex
	newest  logstore.Cursor
	groups  uint64
	changed wakeup.Signal

	// The state as of the last announcement.
	oldest string
	lost   uint64
	active bool
}

func newAnnouncer(s *Service) *announcer {
	return &announcer{service: s, changed: wakeup.New()}
}

// appended records that the log has grown.
func (a *announcer) appended(newest logstore.Cursor, entries uint64) {
	a.mu.Lock()
	a.newest = newest
	a.groups += entries
	a.mu.Unlock()
	a.check()
}

// check triggers a check for changes.
func (a *announcer) check() { a.changed.Notify() }

// run sends announcements until ctx is done.
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

// remember stores the current properties as the announced ones.
func (a *announcer) remember() {
	if oldest, err := a.service.broker.Oldest(); err == nil {
		a.oldest = oldest.String()
	}
	a.lost, a.active = a.service.broker.EventsLost(), a.service.broker.AgentActive()
}

// announce sends what has changed. It ignores errors: they mean that the bus
// connection is lost, which is handled elsewhere.
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
