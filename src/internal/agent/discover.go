// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"time"

	"crypto-auditing/src/internal/attach"
	"crypto-auditing/src/internal/boottime"
	"crypto-auditing/src/internal/discover"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/loss"
	"crypto-auditing/src/internal/opener"
	"crypto-auditing/src/internal/probe"
	"crypto-auditing/src/internal/probe/mappings"
)

// openerPause is the interval at which an opener that was missing is looked for.
const openerPause = 3 * time.Second

// processes find files through the processes that use them.
type processes struct {
	mapped *attach.Mapped
	// foreign and lister are nil if the kernel cannot list mappings.
	foreign *attach.Foreign
	lister  *mappings.Lister
}

// newProcesses returns the finders of an agent.
func (a *Agent) newProcesses() *processes {
	sources := a.sources()
	check := func(path string) error { return probe.Check(path, sources) }
	p := &processes{mapped: attach.NewMapped(func(path string) bool { return check(path) == nil })}
	var err error
	if p.lister, err = mappings.NewLister(); err != nil {
		a.options.Log.Warn("files in other mount namespaces are not examined", "error", err)
		return p
	}
	p.foreign = attach.NewForeign(attach.ForeignOptions{
		List: p.lister.List,
		Connect: func() (attach.Opener, error) {
			c, err := opener.Dial(a.options.Opener)
			if err != nil {
				return nil, err
			}
			return c, nil
		},
		Check: check, Near: p.mapped.Note, Usual: discover.Usual{}.Has, Log: a.options.Log,
		Missed: func(name string, since uint64) {
			a.miss(loss.Unrecorded{Reason: event.LibraryAdded, Library: name, Start: since, End: boottime.Now()})
		},
	})
	return p
}

// finder adds the finders to another.
func (p *processes) finder(other discover.Finder) discover.Finder {
	all := discover.All{other, p.mapped}
	if p.foreign != nil {
		all = append(all, p.foreign)
	}
	return all
}

// note notes a mapping.
func (p *processes) note(m mappings.Mapping) {
	p.mapped.Note(m)
	if p.foreign != nil {
		p.foreign.Note(m)
	}
}

// close closes the files. They must not be attached any more.
func (p *processes) close() {
	if p.foreign != nil {
		p.foreign.Close()
		p.lister.Close()
	}
}

// discover attaches to files that processes load, until ctx is done, if that is enabled.
func (a *Agent) discover(ctx context.Context) {
	if a.processes == nil {
		return
	}
	w, err := mappings.WatchAll(a.processes.note)
	if err != nil {
		a.options.Log.Warn("files that processes load are not examined", "error", err)
		return
	}
	lost := uint64(0)
	logged := ""
	var foreign <-chan struct{}
	if a.processes.foreign != nil {
		foreign = a.processes.foreign.Changed()
	}
	var retry <-chan time.Time
	for ctx.Err() == nil {
		if retry == nil && a.processes.foreign != nil && a.processes.foreign.Without() {
			retry = time.After(openerPause)
		}
		select {
		case <-ctx.Done():
			continue
		case <-retry:
			retry = nil
			if opener.Active(a.options.Opener) {
				a.processes.foreign.Retry()
			}
			continue
		case <-foreign:
			if !a.processes.foreign.Search() {
				continue
			}
		case <-a.processes.mapped.Changed():
		}
		if err := a.libraries.Attach(); err != nil && err.Error() != logged {
			logged = err.Error()
			a.options.Log.Warn("attaching to libraries", "error", err)
		}
		if n := w.Lost(); n != lost {
			a.options.Log.Warn("files that processes load were missed, too many at a time", "files", n-lost)
			lost = n
			if a.processes.foreign != nil {
				a.processes.foreign.Retry()
			}
		}
	}
	if err := w.Close(); err != nil {
		a.options.Log.Warn("cannot stop watching which files processes load", "error", err)
	}
}
