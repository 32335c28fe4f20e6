// SPDX-License-Identifier: Apache-2.0

package busservice

import (
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/broker/notices"
	"crypto-auditing/src/internal/event"
)

// statusOf is what GetStatus returns.
func statusOf(version string, s broker.Status) dictionary {
	d := dictionary{
		"version":       dbus.MakeVariant(version),
		"started":       dbus.MakeVariant(uint64(s.Started.UnixMicro())),
		"oldest":        dbus.MakeVariant(s.Oldest.String()),
		"newest":        dbus.MakeVariant(s.Newest.String()),
		"segments":      dbus.MakeVariant(uint64(s.Disk.Segments)),
		"disk-usage":    dbus.MakeVariant(s.Disk.Bytes),
		"disk-free":     dbus.MakeVariant(s.Disk.Free),
		"events-lost":   dbus.MakeVariant(s.Notices.EventsLost()),
		"lost":          dbus.MakeVariant(s.Notices.Lost),
		"lost-since":    dbus.MakeVariant(since(s.Notices.Since)),
		"subscriptions": dbus.MakeVariant(uint32(s.Subscriptions)),
		"attached":      dbus.MakeVariant(uint32(s.Attached)),
		"streams":       dbus.MakeVariant(uint32(s.Streams)),
		"agent-active":  dbus.MakeVariant(s.AgentActive),
		"agent-state":   dbus.MakeVariant(string(s.AgentState)),
		"agent-since":   dbus.MakeVariant(since(s.AgentSince)),
	}
	addNotices(d, &s.Notices)
	if s.StoreError != nil {
		d["store-error"] = dbus.MakeVariant(s.StoreError.Error())
	}
	if s.AgentError != nil {
		d["agent-error"] = dbus.MakeVariant(s.AgentError.Error())
	}
	if s.Agent != nil {
		d["agent"] = dbus.MakeVariant(agentOf(s.Agent))
	}
	return d
}

// unrecorded is a time in which nothing, or a library, was not recorded.
type unrecorded struct {
	From, To        uint64
	Reason, Library string
}

// addNotices adds what the log reports of itself besides losses.
func addNotices(d dictionary, n *notices.Summary) {
	list := []unrecorded{}
	for _, u := range n.Unrecorded {
		list = append(list, unrecorded{
			since(time.Unix(0, max(u.From, 0))), since(time.Unix(0, max(u.To, 0))),
			string(event.Plain(u.Reason)), string(event.Plain(u.Library)),
		})
	}
	d["unrecorded"] = dbus.MakeVariant(list)
	d["unrecorded-count"] = dbus.MakeVariant(n.UnrecordedCount)
	d["unrecorded-usec"] = dbus.MakeVariant(uint64(n.UnrecordedTotal / time.Microsecond))
	d["scanning"] = dbus.MakeVariant(n.Scanning)
	if r := n.Removed; r != nil {
		d["removed"] = dbus.MakeVariant(dictionary{
			"time":     dbus.MakeVariant(since(n.RemovedAt)),
			"user":     dbus.MakeVariant(string(event.Plain(r.User))),
			"uid":      dbus.MakeVariant(r.UID),
			"policy":   dbus.MakeVariant(string(event.Plain(r.Policy))),
			"first":    dbus.MakeVariant(r.First),
			"last":     dbus.MakeVariant(r.Last),
			"segments": dbus.MakeVariant(uint64(max(r.Segments, 0))),
			"bytes":    dbus.MakeVariant(uint64(max(r.Bytes, 0))),
		})
	}
}

// loss is what an agent has lost for one reason.
type loss struct {
	Reason       string
	Hits, Events uint64
}

func agentOf(a *broker.AgentStatus) dictionary {
	losses, libraries := []loss{}, []dictionary{}
	for _, l := range a.Lost {
		losses = append(losses, loss{l.Reason, l.Hits, l.Events})
	}
	for _, l := range a.Libraries {
		libraries = append(libraries, dictionary{
			"path":     dbus.MakeVariant(l.Path),
			"build-id": dbus.MakeVariant(l.BuildID),
			"provider": dbus.MakeVariant(l.Provider),
			"probes":   dbus.MakeVariant(append([]string{}, l.Probes...)),
			"sites":    dbus.MakeVariant(uint32(l.Sites)),
			"hits":     dbus.MakeVariant(l.Hits),
			"since":    dbus.MakeVariant(since(l.Since)),
			"replaced": dbus.MakeVariant(l.Replaced),
			"error":    dbus.MakeVariant(l.Error),
		})
	}
	return dictionary{
		"version":         dbus.MakeVariant(a.Version),
		"started":         dbus.MakeVariant(since(a.Started)),
		"profile":         dbus.MakeVariant(a.Profile),
		"log-directory":   dbus.MakeVariant(a.Directory),
		"full":            dbus.MakeVariant(a.Full),
		"hits-seen":       dbus.MakeVariant(a.HitsSeen),
		"hits":            dbus.MakeVariant(a.Hits),
		"events":          dbus.MakeVariant(a.Events),
		"groups":          dbus.MakeVariant(a.Groups),
		"chunks":          dbus.MakeVariant(a.Chunks),
		"losses":          dbus.MakeVariant(losses),
		"ring-size":       dbus.MakeVariant(a.RingSize),
		"ring-high-water": dbus.MakeVariant(a.RingHighWater),
		"cpu-usec":        dbus.MakeVariant(uint64(a.CPU / time.Microsecond)),
		"resident":        dbus.MakeVariant(a.Resident),
		"libraries":       dbus.MakeVariant(libraries),
	}
}

// since is a time in µs since the Unix epoch, 0 for none.
func since(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixMicro())
}
