// SPDX-License-Identifier: Apache-2.0

// Package loads determines from the paths of functions which loads lead from an argument
// to a value that is returned, stored, compared or passed on.
package loads

import (
	"fmt"
	"slices"
	"strings"

	"crypto-auditing/src/internal/layout/symbolic"
)

// Limits of chains.
const (
	// Max is the maximum number of loads of a chain, MaxOffset the largest offset.
	Max       = 5
	MaxOffset = 1<<15 - 1
)

// Chain is a chain of loads: the address is an argument plus the first offset; each load
// except the last reads the next address there, to which the next offset is added. The
// last load reads Width bytes.
type Chain struct {
	Offsets []int64
	Width   int
}

// Same reports whether the chains have the same loads. Their widths may differ.
func (c Chain) Same(d Chain) bool { return len(c.Offsets) > 0 && slices.Equal(c.Offsets, d.Offsets) }

// Last returns the offset of the last load.
func (c Chain) Last() int64 { return c.Offsets[len(c.Offsets)-1] }

// String returns the chain as "arg0 > 0x918 > 0x18 : 2".
func (c Chain) String() string {
	var b strings.Builder
	b.WriteString("arg0")
	for _, o := range c.Offsets {
		fmt.Fprintf(&b, " > %#x", o)
	}
	fmt.Fprintf(&b, " : %d", c.Width)
	return b.String()
}

// Member returns the chain to an object's member at offset.
func Member(offset int64, width int) Chain { return Chain{[]int64{offset}, width} }

// Of returns the loads that lead from the argument to a value.
func Of(v symbolic.Value, argument int) (Chain, bool) {
	v = v.Uncut()
	var c Chain
	for range Max {
		addr, width, ok := v.Load()
		if !ok {
			return c, false
		}
		if len(c.Offsets) == 0 {
			c.Width = width
		} else if width != 8 {
			return c, false
		}
		base, offset := addr.Base()
		if offset < 0 || offset > MaxOffset {
			return c, false
		}
		c.Offsets = slices.Insert(c.Offsets, 0, offset)
		if index, _, ok := base.Argument(); ok {
			return c, index == argument
		}
		v = base
	}
	return c, false
}

// Address returns the loads whose last one reads at the address v.
func Address(v symbolic.Value, argument int) (Chain, bool) {
	base, offset := v.Base()
	if offset < 0 || offset > MaxOffset {
		return Chain{}, false
	}
	if index, _, ok := base.Argument(); ok {
		return Member(offset, 8), index == argument
	}
	c, ok := Of(base, argument)
	return Chain{append(c.Offsets, offset), 8}, ok && c.Width == 8
}

// Unique removes duplicate chains. Of duplicates that differ in width, it keeps the
// narrower one.
func Unique(all []Chain) []Chain {
	var out []Chain
	for _, c := range all {
		i := slices.IndexFunc(out, c.Same)
		switch {
		case i < 0:
			out = append(out, c)
		case c.Width < out[i].Width:
			out[i] = c
		}
	}
	return out
}

// Where returns the chains with one of the widths and n loads; zero stands for any number
// of loads.
func Where(all []Chain, n int, widths ...int) []Chain {
	var out []Chain
	for _, c := range all {
		if (n == 0 || len(c.Offsets) == n) && slices.Contains(widths, c.Width) {
			out = append(out, c)
		}
	}
	return out
}

// Tails returns the chains without their first n loads.
func Tails(all []Chain, n int) []Chain {
	var out []Chain
	for _, c := range all {
		if len(c.Offsets) > n {
			out = append(out, Chain{c.Offsets[n:], c.Width})
		}
	}
	return Unique(out)
}

// Owners returns the chains without their last load, which lead to the pointers that the
// last loads start from.
func Owners(all []Chain) []Chain {
	var out []Chain
	for _, c := range all {
		if n := len(c.Offsets); n > 1 {
			out = append(out, Chain{c.Offsets[: n-1 : n-1], 8})
		}
	}
	return Unique(out)
}

// Longest returns the chains with the most loads.
func Longest(all []Chain) []Chain {
	n := 0
	for _, c := range all {
		n = max(n, len(c.Offsets))
	}
	var out []Chain
	for _, c := range all {
		if len(c.Offsets) == n {
			out = append(out, c)
		}
	}
	return out
}

// Returned returns the chains from the first argument to the function's results, except
// where the result is known to be zero.
func Returned(paths []symbolic.Path) []Chain {
	var out []Chain
	for i := range paths {
		p := &paths[i]
		if p.Err != "" || p.Tail || isZero(p, p.Result) {
			continue
		}
		if c, ok := Of(p.Result, 0); ok {
			out = append(out, c)
		}
	}
	return Unique(out)
}

// isZero reports whether the path depends on the value, or everything that was read of
// it, being zero.
func isZero(p *symbolic.Path, v symbolic.Value) bool {
	if p.Zero(v) {
		return true
	}
	c, ok := Of(v, 0)
	if !ok {
		return false
	}
	for _, condition := range p.Conditions {
		x, zero, ok := condition.Zero()
		if !ok || !zero {
			continue
		}
		if d, ok := Of(x, 0); ok && c.Same(d) && d.Width >= c.Width {
			return true
		}
	}
	return false
}

// StoredTo returns the chains from the first argument to the values that are written
// where the given argument points.
func StoredTo(paths []symbolic.Path, argument int) []Chain {
	var out []Chain
	for i := range paths {
		for _, s := range paths[i].Stores {
			if index, offset, ok := s.Addr.Argument(); !ok || index != argument || offset != 0 {
				continue
			}
			if c, ok := Of(s.Value, 0); ok {
				out = append(out, c)
			}
		}
	}
	return Unique(out)
}

// Written returns the fields of the first argument to which the function writes an
// accepted value of the given width.
func Written(paths []symbolic.Path, width int, accept func(symbolic.Value) bool) []Chain {
	var out []Chain
	for i := range paths {
		for _, s := range paths[i].Stores {
			if index, offset, ok := s.Addr.Argument(); ok && index == 0 && s.Width == width && offset >= 0 && accept(s.Value) {
				out = append(out, Member(offset, width))
			}
		}
	}
	return Unique(out)
}

// Read returns the chains from the argument to all values of a width that the paths use in
// a condition, a call or a store.
func Read(paths []symbolic.Path, argument, width int) []Chain {
	var out []Chain
	note := func(v symbolic.Value) {
		for r := range v.Reads() {
			if c, ok := Of(r, argument); ok && c.Width == width {
				out = append(out, c)
			}
		}
	}
	for i := range paths {
		for _, c := range paths[i].Conditions {
			note(c.X)
			note(c.Y)
		}
		for _, c := range paths[i].Calls {
			note(c.Pointer)
			for _, a := range c.Arguments {
				note(a)
			}
		}
		for _, s := range paths[i].Stores {
			note(s.Addr)
			note(s.Value)
		}
	}
	return Unique(out)
}

// Compared returns the chains from the first argument to the values that the paths
// compare for equality with an accepted number.
func Compared(paths []symbolic.Path, accept func(uint64) bool) []Chain {
	var out []Chain
	for i := range paths {
		for _, c := range paths[i].Conditions {
			v, n, ok := c.Compares()
			if !ok || !accept(n) {
				continue
			}
			if s, ok := Of(v, 0); ok {
				out = append(out, s)
			}
		}
	}
	return Unique(out)
}

// IsNumber returns a function that accepts only the number n.
func IsNumber(n uint64) func(symbolic.Value) bool {
	return func(v symbolic.Value) bool {
		c, ok := v.Constant()
		return ok && c == n
	}
}
