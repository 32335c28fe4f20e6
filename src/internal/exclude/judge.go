// SPDX-License-Identifier: Apache-2.0

package exclude

// maxVerdicts limits the number of processes in each of the two generations.
const maxVerdicts = 8192

// Judge decides which programs are excluded. It is for use by one goroutine.
type Judge struct {
	set *Set
	// version identifies the rules of the verdicts.
	version *List
	// young and old cache processes, to recognise hits that open no context and do not
	// name their program. Without a cached verdict, such hits are recorded without a
	// name until the process opens a context.
	young, old map[uint32]verdict
	// short returns the name of a unit as in the log.
	short func(unit string) string
}

// verdict is the cached data of a process.
type verdict struct {
	program Program
	// rule is the rule that excludes it, nil if none does.
	rule *Rule
	// judged is set if rule is valid for program.
	judged bool
}

// NewJudge returns a judge for a set of rules. short returns the name of a unit without
// ids, as in the log.
func NewJudge(set *Set, short func(unit string) string) *Judge {
	return &Judge{set: set, young: map[uint32]verdict{}, old: map[uint32]verdict{}, short: short}
}

// any reports whether there are rules. It first drops verdicts of former rules.
func (j *Judge) any() bool {
	if version := j.set.Version(); version != j.version {
		j.version = version
		clear(j.young)
		clear(j.old)
	}
	return j.version != nil && len(*j.version) > 0
}

func (j *Judge) get(process uint32) verdict {
	v, ok := j.young[process]
	if !ok {
		v = j.old[process]
	}
	return v
}

func (j *Judge) put(process uint32, v verdict) {
	if len(j.young) >= maxVerdicts {
		j.young, j.old = j.old, j.young
		clear(j.young)
	}
	j.young[process] = v
}

// Owner records the user and unit of the program of the next named hit of a process.
func (j *Judge) Owner(process, user uint32, unit []byte) {
	if !j.any() {
		return
	}
	v := j.get(process)
	p := &v.program
	if p.Owned && p.User == user && p.Unit == string(unit) {
		return
	}
	p.Owned, p.User, p.Unit = true, user, string(unit)
	p.ShortUnit = j.short(p.Unit)
	v.judged = false
	j.put(process, v)
}

// Hit reports whether a hit of a process is excluded, and if so, counts it. named is set if
// the hit comes with the executable of its program.
func (j *Judge) Hit(process uint32, named bool, executable []byte) bool {
	switch {
	case !j.any():
		return false
	case named:
		return j.counted(j.judge(process, executable))
	}
	return j.counted(j.get(process).rule)
}

// judge returns the rule that excludes a process with that executable, nil if none does.
func (j *Judge) judge(process uint32, executable []byte) *Rule {
	v := j.get(process)
	if !v.judged || v.program.Executable != string(executable) {
		v.program.Executable = string(executable)
		v.rule, v.judged = j.version.Match(&v.program), true
		j.put(process, v)
	}
	return v.rule
}

// counted counts a hit if rule is not nil, and reports whether it did.
func (j *Judge) counted(rule *Rule) bool {
	if rule == nil {
		return false
	}
	j.set.AddHit(rule)
	return true
}

// Handshake reports whether a handshake of a program is excluded, and if so, counts it. It
// sets p.ShortUnit.
func (j *Judge) Handshake(p *Program) bool {
	if !j.any() {
		return false
	}
	p.ShortUnit = j.short(p.Unit)
	rule := j.version.Match(p)
	if rule == nil {
		return false
	}
	j.set.AddHandshake(rule)
	return true
}
