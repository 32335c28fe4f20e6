// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"slices"

	"crypto-auditing/src/internal/layout/symbolic"
)

// steps are the loads of a chain while it is put together.
type steps struct {
	offsets []int64
	width   int
}

func (c steps) same(d steps) bool { return len(c.offsets) > 0 && slices.Equal(c.offsets, d.offsets) }

// last returns the offset of the last load.
func (c steps) last() int64 { return c.offsets[len(c.offsets)-1] }

// chain returns the chain, false if a BPF program cannot follow it.
func (c steps) chain() (Chain, bool) {
	if len(c.offsets) == 0 || len(c.offsets) > MaxLoads {
		return Chain{}, false
	}
	out := Chain{Width: uint8(c.width)}
	for _, o := range c.offsets {
		if o < 0 || o > MaxOffset {
			return Chain{}, false
		}
		out.Offsets = append(out.Offsets, uint16(o))
	}
	return out, true
}

func (c steps) String() string {
	if out, ok := c.chain(); ok {
		return out.String()
	}
	return "no chain"
}

// field returns the chain to a field of the object at offset.
func member(offset int64, width int) steps { return steps{[]int64{offset}, width} }

// loads returns the loads that lead from the argument to a value.
func loads(v symbolic.Value, argument int) (steps, bool) {
	v = v.Uncut()
	var c steps
	for range MaxLoads {
		addr, width, ok := v.Load()
		if !ok {
			return c, false
		}
		if len(c.offsets) == 0 {
			c.width = width
		} else if width != 8 {
			return c, false
		}
		base, offset := addr.Base()
		if offset < 0 || offset > MaxOffset {
			return c, false
		}
		c.offsets = slices.Insert(c.offsets, 0, offset)
		if index, _, ok := base.Argument(); ok {
			return c, index == argument
		}
		v = base
	}
	return c, false
}

// address returns the loads whose last one would read at the address v.
func address(v symbolic.Value, argument int) (steps, bool) {
	base, offset := v.Base()
	if offset < 0 || offset > MaxOffset {
		return steps{}, false
	}
	if index, _, ok := base.Argument(); ok {
		return member(offset, 8), index == argument
	}
	c, ok := loads(base, argument)
	return steps{append(c.offsets, offset), 8}, ok && c.width == 8
}

// unique returns the chains without those that occur twice, the narrower of
// which is kept.
func unique(all []steps) []steps {
	var out []steps
	for _, c := range all {
		i := slices.IndexFunc(out, c.same)
		switch {
		case i < 0:
			out = append(out, c)
		case c.width < out[i].width:
			out[i] = c
		}
	}
	return out
}

// where returns the chains with one of the widths and a number of loads; zero
// loads stand for any number.
func where(all []steps, n int, widths ...int) []steps {
	var out []steps
	for _, c := range all {
		if (n == 0 || len(c.offsets) == n) && slices.Contains(widths, c.width) {
			out = append(out, c)
		}
	}
	return out
}

// tails returns what leads from the object after the first n loads to the end.
func tails(all []steps, n int) []steps {
	var out []steps
	for _, c := range all {
		if len(c.offsets) > n {
			out = append(out, steps{c.offsets[n:], c.width})
		}
	}
	return unique(out)
}

// owners returns the pointers that the last loads of the chains start from.
func owners(all []steps) []steps {
	var out []steps
	for _, c := range all {
		if n := len(c.offsets); n > 1 {
			out = append(out, steps{c.offsets[: n-1 : n-1], 8})
		}
	}
	return unique(out)
}

// longest returns the chains with the most loads.
func longest(all []steps) []steps {
	n := 0
	for _, c := range all {
		n = max(n, len(c.offsets))
	}
	var out []steps
	for _, c := range all {
		if len(c.offsets) == n {
			out = append(out, c)
		}
	}
	return out
}

// returned returns what a function returns that leads from its first argument,
// where it is not known to be zero.
func returned(paths []symbolic.Path) []steps {
	var out []steps
	for i := range paths {
		p := &paths[i]
		if p.Err != "" || p.Tail || isZero(p, p.Result) {
			continue
		}
		if c, ok := loads(p.Result, 0); ok {
			out = append(out, c)
		}
	}
	return unique(out)
}

// isZero reports whether the path was decided by the value, or all that was read
// of it, being zero.
func isZero(p *symbolic.Path, v symbolic.Value) bool {
	if p.Zero(v) {
		return true
	}
	c, ok := loads(v, 0)
	if !ok {
		return false
	}
	for _, condition := range p.Conditions {
		x, zero, ok := condition.Zero()
		if !ok || !zero {
			continue
		}
		if d, ok := loads(x, 0); ok && c.same(d) && d.width >= c.width {
			return true
		}
	}
	return false
}

// storedTo returns what is written to where an argument points that leads from
// the first one.
func storedTo(paths []symbolic.Path, argument int) []steps {
	var out []steps
	for i := range paths {
		for _, s := range paths[i].Stores {
			if index, offset, ok := s.Addr.Argument(); !ok || index != argument || offset != 0 {
				continue
			}
			if c, ok := loads(s.Value, 0); ok {
				out = append(out, c)
			}
		}
	}
	return unique(out)
}

// written returns the fields of the first argument that the function writes a
// number of a width to.
func written(paths []symbolic.Path, width int, accept func(symbolic.Value) bool) []steps {
	var out []steps
	for i := range paths {
		for _, s := range paths[i].Stores {
			if index, offset, ok := s.Addr.Argument(); ok && index == 0 && s.Width == width && offset >= 0 && accept(s.Value) {
				out = append(out, member(offset, width))
			}
		}
	}
	return unique(out)
}

// compared returns what the paths compare for equality with a number that is
// accepted, as far as it leads from the first argument.
func compared(paths []symbolic.Path, accept func(uint64) bool) []steps {
	var out []steps
	for i := range paths {
		for _, c := range paths[i].Conditions {
			v, n, ok := c.Compares()
			if !ok || !accept(n) {
				continue
			}
			if s, ok := loads(v, 0); ok {
				out = append(out, s)
			}
		}
	}
	return unique(out)
}

// isNumber returns a function that accepts the number n only.
func isNumber(n uint64) func(symbolic.Value) bool {
	return func(v symbolic.Value) bool {
		c, ok := v.Constant()
		return ok && c == n
	}
}
