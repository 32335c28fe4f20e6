// SPDX-License-Identifier: Apache-2.0

package schema

// memory keeps released spans and trees for reuse. In a long log there are no allocations
// after the first trees are released.
type memory struct {
	spans []*Span
	trees []*tree
	most  int // of each
}

// Limits of the memory kept: the number of spans, and the capacities in each of them.
const (
	maxFree      = 1 << 14
	maxFreeData  = 32
	maxFreeSpans = 64
	maxFreeBytes = 256
)

// span returns an empty span.
func (m *memory) span() *Span {
	last := len(m.spans) - 1
	if last < 0 {
		return new(Span)
	}
	s := m.spans[last]
	m.spans = m.spans[:last]
	return s
}

// tree returns an empty tree.
func (m *memory) tree() *tree {
	last := len(m.trees) - 1
	if last < 0 {
		return new(tree)
	}
	t := m.trees[last]
	m.trees = m.trees[:last]
	return t
}

func (m *memory) releaseTree(t *tree) {
	*t = tree{}
	if len(m.trees) < m.most {
		m.trees = append(m.trees, t)
	}
}

// release takes a span and its descendants.
func (m *memory) release(s *Span) {
	for _, inner := range s.Spans {
		m.release(inner)
	}
	if len(m.spans) >= m.most {
		return
	}
	data, spans := s.Data[:0], s.Spans[:0]
	if cap(data) > maxFreeData {
		data = nil
	}
	if cap(spans) > maxFreeSpans {
		spans = nil
	}
	for i := range s.Data[:cap(data)] {
		if d := &s.Data[:cap(data)][i]; cap(d.Value.Bytes) > maxFreeBytes {
			d.Value.Bytes = nil
		}
	}
	clear(spans[:cap(spans)])
	*s = Span{Data: data, Spans: spans}
	m.spans = append(m.spans, s)
}
