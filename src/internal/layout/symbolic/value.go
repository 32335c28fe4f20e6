// SPDX-License-Identifier: Apache-2.0

// Package symbolic executes functions of an ELF file on symbols instead of values: no code
// of the file runs. The result is a list of paths, each with its return value,
// conditions, calls and stores.
//
// It is designed for small accessor functions. Anything unsupported ends a path with an
// error. Steps and paths are bounded to limit the cost of hostile code. Loops are followed
// twice; unknown calls are assumed to change all memory except the stack.
package symbolic

import (
	"fmt"
	"iter"
	"strings"
)

// kind is the kind of a symbol.
type kind uint8

const (
	kindArgument kind = iota
	kindLoad
	kindOperation
	kindStack
	kindResult
	kindUnknown
)

// operation is the computation of a symbol of kindOperation.
type operation uint8

const (
	opAdd operation = 1 + iota
	opSub
	opAnd
	opOr
	opXor
	opShl
	opShr
	opSar
	opRor
	opMul
	opTrunc
	opSignExtend
)

func (o operation) String() string {
	return [...]string{"", "add", "sub", "and", "or", "xor", "shl", "shr", "sar", "ror", "mul", "trunc", "sext"}[o]
}

// symbol is the unknown part of a value. Equal symbols of an execution are the same pointer.
type symbol struct {
	kind  kind
	op    operation
	width uint8
	// number is the number of the argument or of the call whose result it is, or makes
	// unknown symbols distinct.
	number int
	x, y   Value
}

// Value is a symbol plus a number, or only a number. Values of an execution are equal if they
// compare equal.
type Value struct {
	symbol *symbol
	number int64
}

// constant returns a number as a value.
func constant(n int64) Value { return Value{number: n} }

// Constant returns the value as a number; ok is false if it has a symbol.
func (v Value) Constant() (uint64, bool) { return uint64(v.number), v.symbol == nil }

// Load returns the address and the width of the memory that the value was read from; ok is
// false if it was not read from memory.
func (v Value) Load() (addr Value, width int, ok bool) {
	if v.symbol == nil || v.number != 0 || v.symbol.kind != kindLoad {
		return Value{}, 0, false
	}
	return v.symbol.x, int(v.symbol.width), true
}

// Argument returns the index of the argument that the value is, and the offset added to
// it; ok is false if the value is something else.
func (v Value) Argument() (index int, offset int64, ok bool) {
	if v.symbol == nil || v.symbol.kind != kindArgument {
		return 0, 0, false
	}
	return v.symbol.number, v.number, true
}

// Result returns the call whose result the value is, as an index of Path.Calls; ok is false
// if the value is something else.
func (v Value) Result() (call int, ok bool) {
	if v.symbol == nil || v.number != 0 || v.symbol.kind != kindResult {
		return 0, false
	}
	return v.symbol.number - 1, true
}

// Base returns the value without its offset, and the offset.
func (v Value) Base() (Value, int64) { return Value{symbol: v.symbol}, v.number }

// Uncut returns the value before truncation or sign extension, which do not change its
// origin.
func (v Value) Uncut() Value {
	for v.symbol != nil && v.number == 0 && v.symbol.kind == kindOperation && (v.symbol.op == opTrunc || v.symbol.op == opSignExtend) {
		v = v.symbol.x
	}
	return v
}

// Reads returns the values that were read from memory to compute the value.
func (v Value) Reads() iter.Seq[Value] {
	return func(yield func(Value) bool) { v.reads(maxText, yield) }
}

func (v Value) reads(depth int, yield func(Value) bool) bool {
	s := v.symbol
	if s == nil || depth == 0 {
		return true
	}
	if s.kind == kindLoad && !yield(Value{symbol: s}) {
		return false
	}
	return s.x.reads(depth-1, yield) && s.y.reads(depth-1, yield)
}

// maxText bounds the depth of a formatted value: a value that was repeatedly added to
// itself would have a text of any length.
const maxText = 8

// String formats the value for messages.
func (v Value) String() string { return v.text(maxText) }

func (v Value) text(depth int) string {
	if v.symbol == nil {
		return fmt.Sprintf("%#x", v.number)
	}
	text := v.symbol.text(depth)
	if v.number == 0 {
		return text
	}
	return fmt.Sprintf("%s%+#x", text, v.number)
}

func (s *symbol) text(depth int) string {
	if depth == 0 {
		return "…"
	}
	switch s.kind {
	case kindArgument:
		return fmt.Sprintf("arg%d", s.number)
	case kindLoad:
		return fmt.Sprintf("[%s]:%d", s.x.text(depth-1), s.width)
	case kindOperation:
		return fmt.Sprintf("%s%d(%s, %s)", s.op, s.width, s.x.text(depth-1), s.y.text(depth-1))
	case kindStack:
		return "sp"
	case kindResult:
		return fmt.Sprintf("result%d", s.number)
	}
	return fmt.Sprintf("unknown%d", s.number)
}

// values creates symbols without duplicates.
type values struct {
	known map[symbol]*symbol
	// free is memory for symbols: one allocation serves many.
	free []symbol
}

const symbolsAtOnce = 64

func (p *values) add(s symbol) *symbol {
	if len(p.free) == 0 {
		p.free = make([]symbol, symbolsAtOnce)
	}
	added := &p.free[0]
	p.free = p.free[1:]
	*added = s
	return added
}

func (p *values) value(s symbol) Value {
	known, ok := p.known[s]
	if !ok {
		known = p.add(s)
		p.known[*known] = known
	}
	return Value{symbol: known}
}

func (p *values) argument(n int) Value { return p.value(symbol{kind: kindArgument, number: n}) }
func (p *values) load(width int, addr Value) Value {
	return p.value(symbol{kind: kindLoad, width: uint8(width), x: addr})
}

func (p *values) operation(op operation, x, y Value, width int) Value {
	return p.value(symbol{kind: kindOperation, op: op, width: uint8(width), x: x, y: y})
}

// unknown returns a value that is equal to no other, hence it is not looked up. Its number,
// for messages, is not unique.
func (p *values) unknown() Value {
	return Value{symbol: p.add(symbol{kind: kindUnknown, number: len(p.known)})}
}

// mask returns a mask of width bytes.
func mask(width int) uint64 {
	if width >= 8 {
		return ^uint64(0)
	}
	return 1<<(8*width) - 1
}

// width returns the number of low bytes outside of which the value is zero.
func (v Value) width() int {
	if v.symbol == nil {
		switch u := uint64(v.number); {
		case u < 1<<8:
			return 1
		case u < 1<<16:
			return 2
		case u < 1<<32:
			return 4
		}
		return 8
	}
	if v.number != 0 {
		return 8
	}
	switch s := v.symbol; {
	case s.kind == kindLoad, s.kind == kindOperation && s.op == opTrunc:
		return int(s.width)
	case s.kind == kindOperation && s.op == opAnd && s.y.symbol == nil:
		return s.y.width()
	}
	return 8
}

// cut truncates a value to its low bytes, zero-extended.
func (p *values) cut(v Value, width int) Value {
	switch {
	case width >= 8:
		return v
	case v.symbol == nil:
		return constant(int64(uint64(v.number) & mask(width)))
	case v.width() <= width:
		return v
	}
	if addr, _, ok := v.Load(); ok {
		return p.load(width, addr)
	}
	// The low part of a register of which only the low part was written.
	if s := v.symbol; v.number == 0 && s.kind == kindOperation && s.op == opOr {
		if lowZero(s.y, width) {
			return p.cut(s.x, width)
		}
		if lowZero(s.x, width) {
			return p.cut(s.y, width)
		}
	}
	return p.operation(opTrunc, v, Value{}, width)
}

// lowZero reports whether the low bytes of a value are known to be zero.
func lowZero(v Value, width int) bool {
	s := v.symbol
	return s != nil && v.number == 0 && s.kind == kindOperation && s.op == opAnd && s.y.symbol == nil && uint64(s.y.number)&mask(width) == 0
}

// signExtend sign-extends a value.
func (p *values) signExtend(v Value, from, to int) Value {
	v = p.cut(v, from)
	if v.symbol == nil {
		shift := uint(64 - 8*from)
		return p.cut(constant(v.number<<shift>>shift), to)
	}
	return p.cut(p.operation(opSignExtend, v, Value{}, from), to)
}

// binary computes x op y at a width in bytes.
func (p *values) binary(op operation, x, y Value, width int) Value {
	x, y = p.cut(x, width), p.cut(y, width)
	if x.symbol == nil && y.symbol != nil && (op == opAdd || op == opAnd || op == opOr || op == opXor || op == opMul) {
		x, y = y, x
	}
	switch {
	case x.symbol == nil && y.symbol == nil:
		return p.cut(constant(int64(compute(op, uint64(x.number), uint64(y.number), width))), width)
	case y.symbol == nil:
		if v, ok := p.withConstant(op, x, y.number, width); ok {
			return v
		}
	case x == y && (op == opXor || op == opSub):
		return constant(0)
	case x == y && (op == opAnd || op == opOr):
		return x
	case op == opSub && x.symbol == y.symbol:
		return p.cut(constant(x.number-y.number), width)
	}
	return p.operation(op, x, y, width)
}

// withConstant simplifies x op n.
func (p *values) withConstant(op operation, x Value, n int64, width int) (Value, bool) {
	switch {
	case op == opAdd && width == 8:
		return Value{x.symbol, x.number + n}, true
	case op == opSub && width == 8:
		return Value{x.symbol, x.number - n}, true
	case op == opAnd && n == 0, op == opMul && n == 0:
		return constant(0), true
	case op == opMul && n == 1, op != opAnd && op != opMul && n == 0:
		return x, true
	case op == opAnd:
		for _, w := range []int{1, 2, 4, 8} {
			if uint64(n)&mask(width) == mask(w) {
				return p.cut(x, w), true
			}
		}
	}
	return Value{}, false
}

// compute computes x op y for numbers of a width in bytes.
func compute(op operation, x, y uint64, width int) uint64 {
	bits := uint64(8 * width)
	amount := y & (bits - 1)
	switch op {
	case opAdd:
		return x + y
	case opSub:
		return x - y
	case opAnd:
		return x & y
	case opOr:
		return x | y
	case opXor:
		return x ^ y
	case opShl:
		return x << amount
	case opShr:
		return x >> amount
	case opSar:
		return uint64(int64(x<<(64-bits)) >> (64 - bits) >> amount)
	case opRor:
		return x>>amount | x<<(bits-amount)
	case opMul:
		return x * y
	}
	return 0
}

// relation is a relation of two values.
type relation uint8

const (
	// Equal and the following relations compare for equality, unsigned and signed.
	Equal relation = 1 + iota
	NotEqual
	below
	notBelow
	above
	notAbove
	less
	notLess
	greater
	notGreater
	negative
	notNegative
	overflow
	notOverflow
	parity
	notParity
)

func (r relation) String() string {
	return [...]string{"", "==", "!=", "<u", ">=u", ">u", "<=u", "<", ">=", ">", "<=", "<0", ">=0", "o", "no", "p", "np"}[r]
}

// not returns the opposite relation: relations are ordered in pairs.
func (r relation) not() relation { return (r - 1) ^ 1 + 1 }

// Condition is a condition of a path: X relation Y, at a width in bytes.
type Condition struct {
	X, Y     Value
	Width    int
	Relation relation
}

// String formats the condition for messages.
func (c Condition) String() string { return fmt.Sprintf("%s %s %s", c.X, c.Relation, c.Y) }

func (c Condition) not() Condition {
	c.Relation = c.Relation.not()
	return c
}

// flag returns the byte of which v is bit 0, else v: compilers for arm64 test a bool by
// that bit.
func flag(v Value) Value {
	if s := v.symbol; s != nil && v.number == 0 && s.kind == kindOperation && s.op == opAnd && s.y == constant(1) {
		if _, width, ok := s.x.Load(); ok && width == 1 {
			return s.x
		}
	}
	return v
}

// Zero returns the value that the condition compares with zero for equality, and whether
// it is zero on the path. A test of bit 0 of a byte counts as a test of the byte.
func (c Condition) Zero() (v Value, zero, ok bool) {
	if c.Y != (Value{}) || c.Relation != Equal && c.Relation != NotEqual {
		return Value{}, false, false
	}
	return flag(c.X), c.Relation == Equal, true
}

// Compares returns the value and the number with which it is compared for equality.
func (c Condition) Compares() (Value, uint64, bool) {
	if c.Y.symbol != nil || c.Relation != Equal && c.Relation != NotEqual {
		return Value{}, 0, false
	}
	return flag(c.X), uint64(c.Y.number), true
}

// decide evaluates a condition if it can be decided.
func (c Condition) decide() (yes, ok bool) {
	if c.X.symbol != nil || c.Y.symbol != nil {
		if c.X == c.Y {
			switch c.Relation {
			case Equal, notBelow, notAbove, notLess, notGreater:
				return true, true
			case NotEqual, below, above, less, greater:
				return false, true
			}
		}
		return false, false
	}
	shift := uint(64 - 8*c.Width)
	x, y := uint64(c.X.number)<<shift>>shift, uint64(c.Y.number)<<shift>>shift
	sx, sy := int64(x<<shift)>>shift, int64(y<<shift)>>shift
	switch c.Relation {
	case Equal:
		return x == y, true
	case NotEqual:
		return x != y, true
	case below:
		return x < y, true
	case notBelow:
		return x >= y, true
	case above:
		return x > y, true
	case notAbove:
		return x <= y, true
	case less:
		return sx < sy, true
	case notLess:
		return sx >= sy, true
	case greater:
		return sx > sy, true
	case notGreater:
		return sx <= sy, true
	case negative:
		return (sx-sy)<<shift < 0, true
	case notNegative:
		return (sx-sy)<<shift >= 0, true
	}
	return false, false
}

// Call is a call of another function, or the jump that ends a path.
type Call struct {
	// Target is the link-time address, zero if unknown or not in the file.
	Target uint64
	// Name is the function's name, if known.
	Name string
	// Pointer is the target of an indirect call.
	Pointer   Value
	Arguments [6]Value
}

// Store is a write to memory outside the stack.
type Store struct {
	Addr  Value
	Width int
	Value Value
}

// Path is a path through a function.
type Path struct {
	Result     Value
	Conditions []Condition
	Calls      []Call
	Stores     []Store
	// Tail: the path ends with a jump to another function, the last of Calls, and
	// Result is that function's result.
	Tail bool
	// Err is the reason why the path was not followed to its end, "" if it was.
	Err string
}

// String formats the path for messages.
func (p *Path) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "returns %s", p.Result)
	for _, c := range p.Conditions {
		fmt.Fprintf(&b, ", if %s", c)
	}
	for _, c := range p.Calls {
		fmt.Fprintf(&b, ", calls %#x %s %s%v", c.Target, c.Name, c.Pointer, c.Arguments)
	}
	for _, s := range p.Stores {
		fmt.Fprintf(&b, ", stores %s to %s:%d", s.Value, s.Addr, s.Width)
	}
	if p.Err != "" {
		b.WriteString(", ends: " + p.Err)
	}
	return b.String()
}

// Zero reports whether the path depends on v being zero.
func (p *Path) Zero(v Value) bool {
	for _, c := range p.Conditions {
		if x, zero, ok := c.Zero(); ok && zero && x == v {
			return true
		}
	}
	return false
}
