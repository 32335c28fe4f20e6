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
	w.amend(r, o, missing)
}

// extend adds the contexts that were only seen at the socket, such as the certificate
// of TLS 1.2, below a handshake that was recorded by functions. It returns the elements
// that the handshake itself lacks. Which contexts a library with probes reports is not
// known here: probes report more than a socket shows.
func (w *window) extend(r *reported, o *operation) (missing []wire.Element) {
	for i := range o.root.Elements {
		e := &o.root.Elements[i]
		// Version and suite have been compared already.
		known := e.Key == "tls::protocol_version" || e.Key == "tls::ciphersuite" ||
			slices.ContainsFunc(r.root.Elements, func(has wire.Element) bool { return has.Key == e.Key })
		if !known {
			missing = append(missing, *e)
		}
	}
	number := o.context + 1 // after the root, which is not written
	for i := range o.root.Contexts {
		c := &o.root.Contexts[i]
		if !slices.ContainsFunc(r.root.Contexts, func(has wire.Context) bool { return has.Name == c.Name }) {
			w.context(o, c, &number, r.context)
		}
	}
	return missing
}

// contradict marks that a library and a socket reported different values of one
// handshake, in both contexts. The operation of the socket is written afterwards.
func (w *window) contradict(r *reported, o *operation) {
	mark := wire.Element{Key: "tls::mismatch", Text: r.differences(&o.values)}
	o.root.Elements = append(o.root.Elements, mark)
	w.amend(r, o, []wire.Element{mark})
}

// amend adds elements known from the socket to the context of a library's handshake.
func (w *window) amend(r *reported, o *operation, elements []wire.Element) {
	at := o.end &^ (timeResolution - 1)
	w.elements(w.newGroup(group{
		id: r.context, start: at, end: at, name: r.name, executable: r.executable, unit: w.unit(o), source: w.words.get([]byte(o.source)),
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
