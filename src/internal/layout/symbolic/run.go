// SPDX-License-Identifier: Apache-2.0

package symbolic

import (
	"debug/elf"
	"fmt"
	"slices"

	"crypto-auditing/src/internal/layout/code"
	"crypto-auditing/src/internal/layout/image"
)

// Limits on one execution.
const (
	maxSteps = 6000
	maxPaths = 96
	// maxPathSteps bounds the instructions of one path, maxVisits the number of times a
	// path may fork at one instruction, as in loops.
	maxPathSteps = 1500
	maxVisits    = 2
	// maxStores bounds the recorded stores of a path, maxCells the memory cells with a
	// known value.
	maxStores = 64
	maxCells  = 256
	// maxFrames bounds the depth of nested calls.
	maxFrames = 8
	// maxKnown bounds the symbols in memory that an execution begins with.
	maxKnown = 1 << 13
	// maxTargets bounds the resolved targets in memory.
	maxTargets = 1 << 12
)

// stackFailure is the function that the stack protector calls to end the program.
const stackFailure = "__stack_chk_fail"

// Options are the options of Execute.
type Options struct {
	// Depth is the depth to which calls are followed, at most 8: zero follows none.
	Depth int
	// Fixed are arguments with known numbers.
	Fixed map[int]int64
	// Assume decides conditions in advance: it returns whether the condition holds, and
	// whether it is decided. It is called before a path forks.
	Assume func(Condition) (holds, known bool)
	// Memory decides in advance the content of memory: it returns the number, and whether it
	// is decided.
	Memory func(addr Value, width int) (n int64, known bool)
	// Steps bounds the instructions of the execution, if it is less than the usual bound:
	// for long functions of which the first instructions suffice. Zero is the usual bound.
	Steps int
}

// machine executes instructions.
type machine interface {
	step(*run, *state)
	// result is the register of a function's result, arguments are the registers of its
	// arguments, stack is the stack pointer.
	result() int
	arguments() [6]int
	stack() int
	// registers is the number of registers.
	registers() int
	// saved reports whether functions preserve a register.
	saved(int) bool
}

// cell is memory with a known value.
type cell struct {
	addr, value Value
	width       int
}

// state is the state of a path.
type state struct {
	pc        uint64
	registers [32]Value
	cells     []cell
	// flags are the values that were compared last; its relation is zero if they are not
	// known.
	flags      Condition
	conditions []Condition
	calls      []Call
	stores     []Store
	// frames are the return addresses of the calls that are followed, visits the addresses
	// after the instructions at which the path forked.
	frames []uint64
	visits []uint64
	// done: the path has ended; tail and err become the fields of Path.
	done, tail bool
	err        string
}

func (s *state) fail(format string, args ...any) { s.done, s.err = true, fmt.Sprintf(format, args...) }

// extend appends to a list of a path. It reserves less than append does, as forks copy these
// lists often.
func extend[T any](list []T, added T) []T {
	if n := len(list); n == cap(list) {
		list = append(make([]T, 0, n+n/4+2), list...)
	}
	return append(list, added)
}

// clone copies the parts that either path may change. Append-only lists are shared up to
// their present length: only s, which keeps their capacity, may append to them in place.
func (s *state) clone() *state {
	c := *s
	c.cells = slices.Clone(s.cells)
	c.conditions = slices.Clip(s.conditions)
	c.calls = slices.Clip(s.calls)
	c.stores = slices.Clip(s.stores)
	c.visits = slices.Clip(s.visits)
	c.frames = slices.Clone(s.frames)
	return &c
}

// Interpreter executes functions of one file. It is not safe for concurrent use.
type Interpreter struct {
	values
	image   *image.Image
	machine machine
	// targets are the resolved targets of jumps and calls.
	targets map[uint64]resolved
	// clobbered are the unknown values of the registers after a number of calls, which is
	// the index. Paths share them: no value of a path is compared with one of another path.
	clobbered [][]symbol
	// paths is the memory for the paths of the next execution.
	paths []Path
}

// New returns an interpreter for the functions of m.
func New(m *image.Image) *Interpreter {
	e := &Interpreter{values: values{known: map[symbol]*symbol{}}, image: m, targets: map[uint64]resolved{}, machine: arm64{}}
	if m.Machine != elf.EM_AARCH64 {
		e.machine = &amd64{decoded: map[uint64]*code.AMD64{}}
	}
	return e
}

// run is one execution.
type run struct {
	*Interpreter
	options Options
	entry   uint64
	steps   int
	// started is the number of paths.
	started int
	work    []*state
}

// Execute executes the function at entry. A path that could not be followed to its end has
// the reason as Err; the others are valid.
func (e *Interpreter) Execute(entry uint64, options Options) []Path {
	r := &run{Interpreter: e, options: options, entry: entry, started: 1}
	if len(e.known) > maxKnown {
		e.known = map[symbol]*symbol{}
	}
	r.options.Depth = min(options.Depth, maxFrames)
	if options.Steps <= 0 || options.Steps > maxSteps {
		r.options.Steps = maxSteps
	}
	s := &state{pc: entry}
	r.clobberRegisters(s, func(int) bool { return false })
	for i, register := range e.machine.arguments() {
		if n, ok := options.Fixed[i]; ok {
			s.registers[register] = constant(n)
		} else {
			s.registers[register] = r.argument(i)
		}
	}
	s.registers[e.machine.stack()] = r.value(symbol{kind: kindStack})
	r.work = append(r.work, s)

	e.paths = e.paths[:0]
	for len(r.work) > 0 {
		// The path with the fewest decisions first, so that the error paths of a long
		// function do not use up the budget of the short ones.
		next := 0
		for i, w := range r.work {
			if len(w.conditions) < len(r.work[next].conditions) {
				next = i
			}
		}
		s := r.work[next]
		r.work = slices.Delete(r.work, next, next+1)
		for n := 0; !s.done; n++ {
			if r.steps++; r.steps > r.options.Steps || n > maxPathSteps {
				s.fail("it has too many instructions")
				break
			}
			e.machine.step(r, s)
		}
		e.paths = append(e.paths, Path{
			Result: s.registers[e.machine.result()], Conditions: s.conditions,
			Calls: s.calls, Stores: s.stores, Tail: s.tail, Err: s.err,
		})
	}
	paths := slices.Clone(e.paths)
	clear(e.paths)
	return paths
}

// read returns the value of memory if the path knows it, else a load.
func (r *run) read(s *state, addr Value, width int) Value {
	if addr.symbol == nil {
		if v, ok := r.image.Constant(uint64(addr.number), width); ok {
			return constant(int64(v))
		}
	}
	for i := len(s.cells) - 1; i >= 0; i-- {
		if c := &s.cells[i]; c.addr == addr && c.width >= width {
			return r.cut(c.value, width)
		}
	}
	if r.options.Memory != nil {
		if n, known := r.options.Memory(addr, width); known {
			return r.cut(constant(n), width)
		}
	}
	return r.load(width, addr)
}

// write stores a value and forgets overlapping values. Memory with another symbol in its
// address is assumed not to overlap.
func (r *run) write(s *state, addr Value, width int, v Value) {
	v = r.cut(v, width)
	s.cells = slices.DeleteFunc(s.cells, func(c cell) bool {
		return c.addr.symbol == addr.symbol && c.addr.number < addr.number+int64(width) && addr.number < c.addr.number+int64(c.width)
	})
	if len(s.cells) < maxCells {
		s.cells = append(s.cells, cell{addr, v, width})
	} else {
		s.fail("it writes to too many places")
	}
	if !onStack(addr) && len(s.stores) < maxStores {
		s.stores = extend(s.stores, Store{addr, width, v})
	}
}

func onStack(addr Value) bool { return addr.symbol != nil && addr.symbol.kind == kindStack }

// fork splits a path by a condition, unless the condition is known, and continues each
// with then, which is passed whether the condition holds.
func (r *run) fork(s *state, c Condition, then func(*state, bool)) {
	c.X, c.Y = r.cut(c.X, c.Width), r.cut(c.Y, c.Width)
	if yes, ok := c.decide(); ok {
		then(s, yes)
		return
	}
	opposite := c.not()
	for _, known := range s.conditions {
		if known == c || known == opposite {
			then(s, known == c)
			return
		}
	}
	if r.options.Assume != nil {
		if holds, known := r.options.Assume(c); known {
			if !holds {
				c = opposite
			}
			s.conditions = extend(s.conditions, c)
			then(s, holds)
			return
		}
	}
	visits := 0
	for _, pc := range s.visits {
		if pc == s.pc {
			visits++
		}
	}
	if s.visits = extend(s.visits, s.pc); visits >= maxVisits {
		s.fail("it is in a loop")
		return
	}
	if r.started >= maxPaths {
		s.fail("there are too many paths")
		return
	}
	r.started++
	other := s.clone()
	other.conditions = extend(other.conditions, opposite)
	s.conditions = extend(s.conditions, c)
	r.work = append(r.work, other)
	then(other, false)
	then(s, true)
}

// ret returns from the function, or from a followed call.
func (r *run) ret(s *state) {
	n := len(s.frames)
	if n == 0 {
		s.done = true
		return
	}
	s.pc, s.frames = s.frames[n-1], s.frames[:n-1]
}

// record adds a call to the path.
func (r *run) record(s *state, c Call) {
	for i, register := range r.machine.arguments() {
		c.Arguments[i] = s.registers[register]
	}
	if c.Name == "" && c.Target != 0 {
		c.Name = r.image.Name(c.Target)
	}
	s.calls = extend(s.calls, c)
}

// clobber forgets all values that an unknown call may change.
func (r *run) clobber(s *state) {
	r.clobberRegisters(s, r.machine.saved)
	s.registers[r.machine.result()] = r.value(symbol{kind: kindResult, number: len(s.calls)})
	s.flags = Condition{}
	s.cells = slices.DeleteFunc(s.cells, func(c cell) bool { return !onStack(c.addr) })
}

// clobberRegisters makes all registers unknown except those that are kept.
func (r *run) clobberRegisters(s *state, kept func(int) bool) {
	n := r.machine.registers()
	for len(r.clobbered) <= len(s.calls) {
		r.clobbered = append(r.clobbered, nil)
	}
	unknown := r.clobbered[len(s.calls)]
	if unknown == nil {
		unknown = make([]symbol, n)
		for i := range unknown {
			unknown[i] = symbol{kind: kindUnknown, number: len(s.calls)*n + i}
		}
		r.clobbered[len(s.calls)] = unknown
	}
	for i := range n {
		if !kept(i) {
			s.registers[i] = Value{symbol: &unknown[i]}
		}
	}
}

// call continues in the called function, or after the call at next.
func (r *run) call(s *state, target, next uint64) {
	target, name := r.follow(target)
	r.record(s, Call{Target: target, Name: name})
	if name == stackFailure {
		s.fail("it does not return")
		return
	}
	if target != 0 && len(s.frames) < r.options.Depth {
		s.frames = append(s.frames, next)
		s.pc = target
		return
	}
	r.clobber(s)
	s.pc = next
}

// callUnknown executes a call of a function outside the file or by a pointer.
func (r *run) callUnknown(s *state, c Call, next uint64) {
	r.record(s, c)
	if c.Name == stackFailure {
		s.fail("it does not return")
		return
	}
	r.clobber(s)
	s.pc = next
}

// exit ends the path with a jump to a function outside the file or by a pointer.
func (r *run) exit(s *state, c Call) {
	r.record(s, c)
	r.clobber(s)
	if len(s.frames) > 0 {
		r.ret(s)
		return
	}
	s.done, s.tail = true, true
}

// jump continues within the function, or leaves it. A target without a symbol is assumed
// to be a part of this function, and is followed.
func (r *run) jump(s *state, target uint64) {
	to, name := r.follow(target)
	switch {
	case to == 0:
		r.exit(s, Call{Name: name})
	case to != target || r.image.IsStart(to) && to != r.entry:
		r.enter(s, to)
	default:
		s.pc = to
	}
}

// jumpByPointer continues at a target that is not part of the instruction: within the
// function, as by the table of a switch, or in the function whose code begins there.
func (r *run) jumpByPointer(s *state, target uint64) {
	if start, _, err := r.image.Extent(target); err == nil && start == target && target != r.entry {
		r.enter(s, target)
		return
	}
	r.jump(s, target)
}

// enter leaves for another function of the file, or follows it.
func (r *run) enter(s *state, target uint64) {
	if len(s.frames) >= r.options.Depth {
		r.exit(s, Call{Target: target})
		return
	}
	r.record(s, Call{Target: target})
	s.pc = target
}

// slot returns the target of a jump or a call by the slot at addr, which the dynamic
// linker fills. known is false if addr is not such a slot.
func (r *run) slot(addr Value) (target uint64, name string, known bool) {
	n, ok := addr.Constant()
	if !ok {
		return 0, "", false
	}
	return r.image.Slot(n)
}

// resolved is the function that a jump or a call leads to: zero and the name if it is in
// another file.
type resolved struct {
	addr uint64
	name string
}

// follow resolves a jump target: through a linker stub to a function of this file or of
// another one.
func (e *Interpreter) follow(target uint64) (to uint64, name string) {
	known, ok := e.targets[target]
	if !ok {
		known = resolved{addr: target}
		if !e.image.IsStart(target) {
			if to, name, ok := e.image.Stub(target); ok {
				known = resolved{to, name}
			}
		}
		if len(e.targets) >= maxTargets {
			clear(e.targets)
		}
		e.targets[target] = known
	}
	return known.addr, known.name
}
