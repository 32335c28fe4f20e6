// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"fmt"
	"slices"
	"strings"

	"crypto-auditing/src/internal/layout"
	"crypto-auditing/src/internal/layout/image"
	"crypto-auditing/src/internal/layout/loads"
	"crypto-auditing/src/internal/layout/symbolic"
)

// field is a member of a structure, as decoded from the functions of the library.
type field struct {
	chain   loads.Chain
	sources []string
	// confirmed names the sources that agree without leading to the field themselves.
	confirmed []string
	refused   string
}

// evidence returns the certainty of a field; f may be nil.
func (f *field) evidence() layout.Evidence {
	switch {
	case f == nil || f.refused != "" || len(f.sources) == 0:
		return layout.None
	case len(f.sources) > 1:
		return layout.Twice
	case len(f.confirmed) > 0:
		return layout.Confirmed
	}
	return layout.Once
}

// decoder decodes one file.
type decoder struct {
	image       *image.Image
	interpreter *symbolic.Interpreter
	lib         *layout.Library
	fields      map[string]*field
}

// paths executes a function. It returns nil if the file does not have it.
func (d *decoder) paths(name string, options symbolic.Options) []symbolic.Path {
	addr, ok := d.image.Function(name)
	if !ok {
		return nil
	}
	return d.interpreter.Execute(addr, options)
}

// field returns the field called name, which it creates if necessary.
func (d *decoder) field(name string) *field {
	f := d.fields[name]
	if f == nil {
		f = &field{}
		d.fields[name] = f
	}
	return f
}

// found records the chains by which a function leads to a field: none if the function is
// missing or was not understood, several if they are ambiguous.
func (d *decoder) found(name, source string, all []loads.Chain) {
	f := d.field(name)
	switch {
	case len(all) == 0 || f.refused != "":
		return
	case len(all) > 1:
		f.refused = fmt.Sprintf("%s leads to several places: %s", source, list(all))
		return
	case len(f.sources) == 0:
		f.chain = all[0]
	case !f.chain.Same(all[0]):
		f.refused = fmt.Sprintf("%s leads to %s, %s to %s", f.sources[0], f.chain, source, all[0])
		return
	default:
		f.chain.Width = min(f.chain.Width, all[0].Width)
	}
	f.sources = append(f.sources, source)
}

// confirm records a source that agrees with the location of a field but does not itself
// lead to it. It neither selects nor refuses a chain.
func (d *decoder) confirm(name, by string, all []loads.Chain) {
	f := d.field(name)
	if f.refused != "" || len(f.sources) == 0 {
		return
	}
	for _, c := range all {
		if f.chain.Same(c) && !slices.Contains(f.confirmed, by) {
			f.confirmed = append(f.confirmed, by)
			return
		}
	}
}

// get returns the chain to a field that was found.
func (d *decoder) get(name string) (loads.Chain, bool) {
	f := d.fields[name]
	if f.evidence() == layout.None {
		return loads.Chain{}, false
	}
	return f.chain, true
}

func list(all []loads.Chain) string {
	var out []string
	for _, c := range all {
		out = append(out, c.String())
	}
	return strings.Join(out, ", ")
}

// value describes a value by the fields that lead to it, in order.
type value struct {
	id     layout.ValueID
	base   layout.Base
	form   layout.Form
	fields []string
	// width is the size of the value in bytes, zero for the size of the last field.
	width int
	// extra are loads after the last field, in structures that no function leads into
	// but whose layout is public or has never changed.
	extra []int64
	// checked: the reader of the value can detect a wrong one.
	checked bool
}

// add adds a value to the library, or the reason why it is refused.
func (d *decoder) add(v value) {
	var c loads.Chain
	evidence := layout.Twice
	out := layout.Value{ID: v.id, Base: v.base, Form: v.form}
	for _, name := range v.fields {
		f := d.fields[name]
		e := f.evidence()
		if e == layout.None {
			reason := "no function of the file leads to it"
			if f != nil && f.refused != "" {
				reason = f.refused
			}
			d.refuse(v.id.String(), reason)
			return
		}
		if e == layout.Once && v.checked {
			e = layout.Checked
		}
		evidence = min(evidence, e)
		c.Offsets = append(c.Offsets, f.chain.Offsets...)
		c.Width = f.chain.Width
		for _, s := range append(f.sources, f.confirmed...) {
			out.Sources = append(out.Sources, name+": "+s)
		}
	}
	c.Offsets = append(c.Offsets, v.extra...)
	if v.width != 0 {
		c.Width = v.width
	}
	var ok bool
	if out.Chain, ok = toChain(c); !ok {
		d.refuse(v.id.String(), fmt.Sprintf("its chain has %d loads, more than %d, or an offset of more than %d", len(c.Offsets), layout.MaxLoads, layout.MaxOffset))
		return
	}
	if evidence == layout.Once {
		d.refuse(v.id.String(), fmt.Sprintf("only %s leads to it (%s), and a wrong value would not be noticed", strings.Join(out.Sources, ", "), out.Chain))
		return
	}
	out.Evidence = evidence
	d.lib.Values = append(d.lib.Values, out)
}

func (d *decoder) refuse(subject, reason string) {
	d.lib.Refusals = append(d.lib.Refusals, layout.Refusal{Subject: subject, Reason: reason})
}

// toChain converts a chain for BPF programs, false if it exceeds their limits.
func toChain(c loads.Chain) (layout.Chain, bool) {
	if len(c.Offsets) == 0 || len(c.Offsets) > layout.MaxLoads {
		return layout.Chain{}, false
	}
	out := layout.Chain{Width: uint8(c.Width)}
	for _, o := range c.Offsets {
		if o < 0 || o > layout.MaxOffset {
			return layout.Chain{}, false
		}
		out.Offsets = append(out.Offsets, uint16(o))
	}
	return out, true
}
