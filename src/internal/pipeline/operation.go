// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"slices"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/wire"
)

// operation is an operation that a source observed as a whole, rather than by hits. It is
// written at once.
type operation struct {
	// task is the kernel's PIDTGID. Contexts are numbered consecutively from context;
	// other contexts of the task must not have the same numbers.
	task, context    uint64
	start, end       uint64 // nanoseconds since boot
	executable, unit string
	// source is the source's name, origin the build-id of the library, if any.
	source event.Source
	origin []byte
	root   wire.Context
	values
}

// operation adds an operation to the window.
func (w *window) operation(o *operation) {
	number := o.context
	w.context(o, &o.root, &number, w.cipher.ContextID(o.task, event.NoParent))
}

// rootOf returns the id of the root context of an operation.
func (w *window) rootOf(o *operation) event.ContextID { return w.cipher.ContextID(o.task, o.context) }

// context adds a context of an operation, with the next number, and the contexts below
// it.
func (w *window) context(o *operation, c *wire.Context, number *uint64, parent event.ContextID) {
	id := w.cipher.ContextID(o.task, *number)
	*number++
	name, executable := w.words.get([]byte(c.Name)), w.words.get([]byte(o.executable))
	from := o.origin
	if c.Origin != nil {
		from = c.Origin
	}
	g := w.newGroup(group{
		id: id, start: o.start &^ (timeResolution - 1), end: o.end &^ (timeResolution - 1), origin: from,
		name: name, executable: executable, unit: w.unit(o), source: w.words.get([]byte(o.source)),
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
func (w *window) unit(o *operation) *word {
	if o.unit == "" {
		return nil
	}
	return w.words.get([]byte(o.unit))
}

// complete adds the values that were only seen at the socket to the context of a
// library's handshake. GnuTLS does not report the cipher suite.
func (w *window) complete(r *reported, o *operation) {
	var missing []wire.Element
	for _, v := range []struct {
		key       string
		has, seen int64
	}{{"tls::protocol_version", r.version, o.version}, {"tls::ciphersuite", r.suite, o.suite}} {
		if v.has == 0 && v.seen != 0 {
			missing = append(missing, wire.Element{Key: v.key, Word: v.seen})
		}
	}
	if r.root != nil && r.rival == nil {
		missing = append(missing, w.extend(r, o)...)
	}
	if missing == nil {
		return
	}
	w.amend(r, o, r.context, r.name, missing)
}

// extend adds what was only seen at the socket, such as the certificate of TLS 1.2 or the group
// of a retry, below a handshake that was recorded by functions. It returns the elements
// that the handshake itself lacks. Which contexts a library with probes reports is not
// known here: probes report more than a socket shows.
func (w *window) extend(r *reported, o *operation) (missing []wire.Element) {
	next := o.context + 1 // after the root, which is not written
	w.extendBelow(r, o, r.root, &o.root, r.number, &next)
	return slices.DeleteFunc(lacking(r.root, &o.root), func(e wire.Element) bool {
		// These have been compared already.
		return e.Key == "tls::protocol_version" || e.Key == "tls::ciphersuite"
	})
}

// extendBelow adds to the context has, which has a number, what its counterpart seen has
// below it. Contexts of the same name are the same one if there is one of each. next is the
// number of the next new context.
func (w *window) extendBelow(r *reported, o *operation, has, seen *wire.Context, number uint64, next *uint64) {
	for i := range seen.Contexts {
		c := &seen.Contexts[i]
		same, at, count := counterpart(has, c.Name, number)
		switch _, _, others := counterpart(seen, c.Name, 0); {
		case count == 0:
			w.context(o, c, next, w.cipher.ContextID(r.task, number))
		case count == 1 && others == 1:
			if missing := lacking(same, c); missing != nil {
				w.amend(r, o, w.cipher.ContextID(r.task, at), w.words.get([]byte(c.Name)), missing)
			}
			w.extendBelow(r, o, same, c, at, next)
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

// contradict marks that a library and a socket reported different values of one
// handshake, in both contexts. The operation of the socket is written afterwards.
func (w *window) contradict(r *reported, o *operation) {
	mark := wire.Element{Key: "tls::mismatch", Text: r.differences(&o.values)}
	o.root.Elements = append(o.root.Elements, mark)
	w.amend(r, o, r.context, r.name, []wire.Element{mark})
}

// amend adds elements known from the socket to a context of a library's handshake.
func (w *window) amend(r *reported, o *operation, context event.ContextID, name *word, elements []wire.Element) {
	at := o.end &^ (timeResolution - 1)
	w.elements(w.newGroup(group{
		id: context, start: at, end: at, name: name, executable: r.executable, unit: w.unit(o), source: w.words.get([]byte(o.source)),
	}), elements)
}

// elements adds elements to a group.
func (w *window) elements(g *group, elements []wire.Element) {
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
func (w *window) add(g *group, key string, v *event.Value) {
	word := w.words.get([]byte(key))
	w.words.use(word, asKey)
	w.words.useValue(word, v)
	size := len(g.events)
	g.events = word.appendData(g.events, v)
	w.size += len(g.events) - size
	g.count++
	w.events++
}
