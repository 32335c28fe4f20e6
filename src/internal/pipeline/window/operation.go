// SPDX-License-Identifier: Apache-2.0

package window

import (
	"slices"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/pipeline/join"
	"crypto-auditing/src/internal/wire"
)

// Add adds an operation to the window.
func (w *Window) Add(o *join.Operation) {
	number := o.Context
	w.context(o, &o.Root, &number, w.cipher.ContextID(o.Task, event.NoParent))
}

// RootOf returns the id of the root context of an operation.
func (w *Window) RootOf(o *join.Operation) event.ContextID {
	return w.cipher.ContextID(o.Task, o.Context)
}

// context adds a context of an operation, with the next number, and the contexts below
// it.
func (w *Window) context(o *join.Operation, c *wire.Context, number *uint64, parent event.ContextID) {
	id := w.cipher.ContextID(o.Task, *number)
	*number++
	name, executable := w.words.get([]byte(c.Name)), w.words.get([]byte(o.Executable))
	from := o.Origin
	if c.Origin != nil {
		from = c.Origin
	}
	g := w.newGroup(group{
		id: id, start: o.Start &^ (timeResolution - 1), end: o.End &^ (timeResolution - 1), origin: from,
		name: name, executable: executable, unit: w.unit(o), source: w.words.get([]byte(o.Source)),
	})
	g.events = event.AppendNewContext(g.events, parent, from, executable.raw)
	g.count++
	w.events++
	w.size += len(g.events)
	w.add(g, "name", &event.Value{Kind: event.String, Bytes: name.text})
	w.elements(g, c.Elements)
	for i := range c.Contexts {
		w.context(o, &c.Contexts[i], number, id)
	}
}

// unit returns the word for the unit of an operation, nil if it has none.
func (w *Window) unit(o *join.Operation) *word {
	if o.Unit == "" {
		return nil
	}
	return w.words.get([]byte(o.Unit))
}

// Complete adds the values that were only seen at the socket to the context of a
// library's handshake. GnuTLS does not report the cipher suite.
func (w *Window) Complete(h *join.Handshake, o *join.Operation) {
	var missing []wire.Element
	for _, v := range []struct {
		key       string
		has, seen int64
	}{{"tls::protocol_version", h.Version, o.Version}, {"tls::ciphersuite", h.Suite, o.Suite}} {
		if v.has == 0 && v.seen != 0 {
			missing = append(missing, wire.Element{Key: v.key, Word: v.seen})
		}
	}
	if h.Root != nil && h.Only() {
		missing = append(missing, w.extend(h, o)...)
	}
	if missing == nil {
		return
	}
	w.amend(h, o, h.Context, h.Name, missing)
}

// extend adds what was only seen at the socket, such as the certificate of TLS 1.2 or the group
// of a retry, below a handshake that was recorded by functions. It returns the elements
// that the handshake itself lacks. Which contexts a library with probes reports is not
// known here: probes report more than a socket shows.
func (w *Window) extend(h *join.Handshake, o *join.Operation) (missing []wire.Element) {
	next := o.Context + 1 // after the root, which is not written
	w.extendBelow(h, o, h.Root, &o.Root, h.Number, &next)
	return slices.DeleteFunc(lacking(h.Root, &o.Root), func(e wire.Element) bool {
		// These have been compared already.
		return e.Key == "tls::protocol_version" || e.Key == "tls::ciphersuite"
	})
}

// extendBelow adds to the context has, which has a number, what its counterpart seen has
// below it. Contexts of the same name are the same one if there is one of each. next is the
// number of the next new context.
func (w *Window) extendBelow(h *join.Handshake, o *join.Operation, has, seen *wire.Context, number uint64, next *uint64) {
	for i := range seen.Contexts {
		c := &seen.Contexts[i]
		same, at, count := counterpart(has, c.Name, number)
		switch _, _, others := counterpart(seen, c.Name, 0); {
		case count == 0:
			w.context(o, c, next, w.cipher.ContextID(h.Task, number))
		case count == 1 && others == 1:
			if missing := lacking(same, c); missing != nil {
				w.amend(h, o, w.cipher.ContextID(h.Task, at), []byte(c.Name), missing)
			}
			w.extendBelow(h, o, same, c, at, next)
		}
	}
}

// counterpart returns the last context of a name in a context with a number, its number, and
// how many there are.
func counterpart(in *wire.Context, name string, number uint64) (found *wire.Context, at uint64, count int) {
	number++
	for i := range in.Contexts {
		c := &in.Contexts[i]
		if c.Name == name {
			found, at = c, number
			count++
		}
		number += contextsOf(c)
	}
	return found, at, count
}

// contextsOf returns how many contexts a context is, with those below it.
func contextsOf(c *wire.Context) uint64 {
	n := uint64(1)
	for i := range c.Contexts {
		n += contextsOf(&c.Contexts[i])
	}
	return n
}

// lacking returns the elements of seen whose keys has does not have.
func lacking(has, seen *wire.Context) (missing []wire.Element) {
	for _, e := range seen.Elements {
		if !slices.ContainsFunc(has.Elements, func(known wire.Element) bool { return known.Key == e.Key }) {
			missing = append(missing, e)
		}
	}
	return missing
}

// Contradict marks that a library and a socket reported different values of one
// handshake, in both contexts. The operation of the socket is written afterwards.
func (w *Window) Contradict(h *join.Handshake, o *join.Operation) {
	mark := wire.Element{Key: "tls::mismatch", Text: h.Differences(&o.Values)}
	o.Root.Elements = append(o.Root.Elements, mark)
	w.amend(h, o, h.Context, h.Name, []wire.Element{mark})
}

// amend adds elements known from the socket to a context of a library's handshake.
func (w *Window) amend(h *join.Handshake, o *join.Operation, context event.ContextID, name []byte, elements []wire.Element) {
	at := o.End &^ (timeResolution - 1)
	made := group{id: context, start: at, end: at, name: w.words.get(name), unit: w.unit(o), source: w.words.get([]byte(o.Source))}
	if h.Executable != nil {
		made.executable = w.words.get(h.Executable)
	}
	w.elements(w.newGroup(made), elements)
}

// elements adds elements to a group.
func (w *Window) elements(g *group, elements []wire.Element) {
	for i := range elements {
		e := &elements[i]
		v := event.Value{Kind: event.Word, Word: e.Word}
		if e.Text != "" {
			v = event.Value{Kind: event.String, Bytes: []byte(e.Text)}
		}
		w.add(g, e.Key, &v)
	}
}

// add adds an element to a group.
func (w *Window) add(g *group, key string, v *event.Value) {
	word := w.words.get([]byte(key))
	w.words.use(word, asKey)
	w.words.useValue(word, v)
	size := len(g.events)
	g.events = word.appendData(g.events, v)
	w.size += len(g.events) - size
	g.count++
	w.events++
}
