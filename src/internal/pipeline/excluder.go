// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"crypto-auditing/src/internal/exclude"
	"crypto-auditing/src/internal/probe"
	"crypto-auditing/src/internal/wire"
)

// maxVerdicts bounds the processes that are remembered, of two generations each.
const maxVerdicts = 8192

// excluder finds out what programs are not recorded. It belongs to one goroutine.
type excluder struct {
	set *exclude.Set
	// version is of the rules by which the verdicts were made.
	version *exclude.List
	// young and old remember processes, so that hits that open no context, and do
	// not name their program, are known. What is forgotten is recorded without a
	// name until the process opens a context.
	young, old map[uint32]verdict
	units      *unitNames
}

// verdict is what is known of a process.
type verdict struct {
	program exclude.Program
	// rule excludes it; nil: none does.
	rule *exclude.Rule
	// judged: rule was looked for, for this program.
	judged bool
}

func newExcluder(set *exclude.Set) *excluder {
	return &excluder{set: set, young: map[uint32]verdict{}, old: map[uint32]verdict{}, units: newUnitNames()}
}

// any reports whether there are rules, after it has forgotten the verdicts of others.
func (e *excluder) any() bool {
	if version := e.set.Version(); version != e.version {
		e.version = version
		clear(e.young)
		clear(e.old)
	}
	return e.version != nil && len(*e.version) > 0
}

func (e *excluder) get(process uint32) verdict {
	v, ok := e.young[process]
	if !ok {
		v = e.old[process]
	}
	return v
}

func (e *excluder) put(process uint32, v verdict) {
	if len(e.young) >= maxVerdicts {
		e.young, e.old = e.old, e.young
		clear(e.young)
	}
	e.young[process] = v
}

// owner notes whose program opens a context next.
func (e *excluder) owner(o *probe.Owner) {
	if !e.any() {
		return
	}
	v := e.get(o.Process)
	if p := &v.program; p.Owned && p.User == o.User && p.Unit == string(o.Unit) {
		return
	}
	unit := string(o.Unit)
	v.program.Owned, v.program.User, v.program.Unit, v.program.ShortUnit = true, o.User, unit, e.units.without(unit)
	v.judged = false
	e.put(o.Process, v)
}

// hit reports whether a hit is excluded, and counts it then.
func (e *excluder) hit(r *probe.Record) bool {
	if !e.any() {
		return false
	}
	process := uint32(r.PIDTGID >> 32)
	if !r.NewContext {
		v := e.get(process)
		return e.counted(v.rule)
	}
	return e.counted(e.judge(process, r.Executable))
}

// call reports whether a call of a function is excluded, and counts it then.
func (e *excluder) call(c *probe.Call) bool {
	return e.any() && e.counted(e.judge(uint32(c.PIDTGID>>32), c.Executable))
}

// judge returns the rule that excludes a process of that executable, nil if none does.
func (e *excluder) judge(process uint32, executable []byte) *exclude.Rule {
	v := e.get(process)
	if !v.judged || v.program.Executable != string(executable) {
		v.program.Executable = string(executable)
		v.rule, v.judged = e.version.Match(&v.program), true
		e.put(process, v)
	}
	return v.rule
}

// counted counts a hit that a rule excludes; nil: none does.
func (e *excluder) counted(rule *exclude.Rule) bool {
	if rule == nil {
		return false
	}
	e.set.AddHit(rule)
	return true
}

// handshake reports whether a handshake at a socket is excluded, and counts it then.
func (e *excluder) handshake(h *wire.Handshake) bool {
	if !e.any() {
		return false
	}
	// The names come with the user.
	rule := e.version.Match(&exclude.Program{
		Executable: h.Executable, Owned: h.Executable != "", User: h.User, Unit: h.Unit, ShortUnit: e.units.without(h.Unit),
	})
	if rule == nil {
		return false
	}
	e.set.AddHandshake(rule)
	return true
}
