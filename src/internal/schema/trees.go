// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"container/heap"
	"iter"
)

// tree is the builder's state of a root and its descendants.
type tree struct {
	root     *Span
	order    uint64 // of the root's opening; 0 once it was emitted
	last     int64
	touched  uint64 // number of the entry with the last event
	bytes    int
	complete bool

	previous, next *tree // in active
}

// active is a list of trees in the order of their last events.
type active struct {
	front, back *tree
	count       int
}

func (a *active) push(t *tree) {
	t.previous, t.next = a.back, nil
	if a.back != nil {
		a.back.next = t
	} else {
		a.front = t
	}
	a.back = t
	a.count++
}

func (a *active) remove(t *tree) {
	if t.previous != nil {
		t.previous.next = t.next
	} else {
		a.front = t.next
	}
	if t.next != nil {
		t.next.previous = t.previous
	} else {
		a.back = t.previous
	}
	t.previous, t.next = nil, nil
	a.count--
}

// moveToBack moves a tree to the end of the list.
func (a *active) moveToBack(t *tree) {
	if a.back != t {
		a.remove(t)
		a.push(t)
	}
}

// opened has trees in the order of their opening. Nearly all are added in that order. A
// removed tree is dropped when it is the first.
type opened struct {
	inOrder []opening
	first   int // index in inOrder of the first one that was not dropped
	late    late
	count   int
}

// opening is the position of a tree in opened.
type opening struct {
	order uint64
	tree  *tree
}

// removed reports whether the tree was removed. Its memory may then be in use for another tree.
func (p *opening) removed() bool { return p.tree.order != p.order }

// late is a heap (container/heap) of the trees that were not added in order.
type late []opening

func (l late) Len() int           { return len(l) }
func (l late) Less(i, j int) bool { return l[i].order < l[j].order }
func (l late) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }

func (l *late) Push(x any) { *l = append(*l, x.(opening)) }

func (l *late) Pop() any {
	last := len(*l) - 1
	p := (*l)[last]
	*l = (*l)[:last]
	return p
}

func (o *opened) push(t *tree) {
	o.count++
	p := opening{t.order, t}
	if n := len(o.inOrder); n > o.first && o.inOrder[n-1].order > t.order {
		heap.Push(&o.late, p)
		return
	}
	if len(o.inOrder) == cap(o.inOrder) && o.first > len(o.inOrder)/2 {
		o.inOrder = o.inOrder[:copy(o.inOrder, o.inOrder[o.first:])]
		o.first = 0
	}
	o.inOrder = append(o.inOrder, p)
}

// front returns the tree that was opened first, nil if there is none.
func (o *opened) front() *tree {
	for o.first < len(o.inOrder) && o.inOrder[o.first].removed() {
		o.first++
	}
	for len(o.late) > 0 && o.late[0].removed() {
		heap.Pop(&o.late)
	}
	switch {
	case o.first == len(o.inOrder):
		o.inOrder, o.first = o.inOrder[:0], 0
		if len(o.late) == 0 {
			return nil
		}
	case len(o.late) == 0 || o.inOrder[o.first].order < o.late[0].order:
		return o.inOrder[o.first].tree
	}
	return o.late[0].tree
}

// remove removes a tree.
func (o *opened) remove(t *tree) {
	t.order = 0
	o.count--
	if removed := len(o.inOrder) - o.first + len(o.late) - o.count; removed > o.count+64 {
		o.compact()
	}
}

// compact drops all removed trees.
func (o *opened) compact() {
	kept := o.inOrder[:0]
	for _, p := range o.inOrder[o.first:] {
		if !p.removed() {
			kept = append(kept, p)
		}
	}
	o.inOrder, o.first = kept, 0
	later := o.late[:0]
	for _, p := range o.late {
		if !p.removed() {
			later = append(later, p)
		}
	}
	o.late = later
	heap.Init(&o.late)
}

// all iterates over the trees.
func (o *opened) all() iter.Seq[*tree] {
	return func(yield func(*tree) bool) {
		for _, places := range [][]opening{o.inOrder[o.first:], o.late} {
			for i := range places {
				if !places[i].removed() && !yield(places[i].tree) {
					return
				}
			}
		}
	}
}
