// SPDX-License-Identifier: Apache-2.0

package event_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"crypto-auditing/src/internal/event"
)

func TestASequenceReturnsEntriesUpToTheirEnd(t *testing.T) {
	long := sample()
	long.Events[4].Value.Bytes = bytes.Repeat([]byte{1}, 900<<10)
	var stream []byte
	var want [][]byte
	for _, g := range []*event.Group{sample(), long, {Context: event.ContextID{4}}, sample()} {
		want = append(want, event.Append(nil, g))
		stream = append(stream, want[len(want)-1]...)
	}
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		reader io.Reader
		err    error
		offset int
	}{
		"at once":          {bytes.NewReader(stream), io.EOF, len(stream)},
		"in halves":        {iotest.HalfReader(bytes.NewReader(stream)), io.EOF, len(stream)},
		"end with data":    {iotest.DataErrReader(bytes.NewReader(stream)), io.EOF, len(stream)},
		"inside an entry":  {io.MultiReader(bytes.NewReader(stream), bytes.NewReader(want[0][:9])), event.ErrTruncated, len(stream)},
		"a reader's error": {io.MultiReader(bytes.NewReader(stream), bytes.NewReader(want[0][:9]), iotest.ErrReader(broken)), broken, len(stream) + 9},
		"invalid data":     {io.MultiReader(bytes.NewReader(stream), bytes.NewReader([]byte{0x80, 0x80})), new(event.SyntaxError), len(stream)},
	} {
		t.Run(name, func(t *testing.T) {
			s := event.NewSequence(c.reader)
			var g event.Group
			for i, entry := range want {
				to := &g
				if i%2 == 1 {
					to = nil
				}
				if got, err := s.Next(to); err != nil || !bytes.Equal(got, entry) {
					t.Fatalf("entry %d: %d bytes of %d, %v", i, len(got), len(entry), err)
				}
			}
			_, err := s.Next(&g)
			var syntax *event.SyntaxError
			if !errors.Is(err, c.err) && !(errors.As(c.err, &syntax) && errors.As(err, &syntax)) || s.Offset() != int64(c.offset) {
				t.Errorf("%v at %d, want %v at %d", err, s.Offset(), c.err, c.offset)
			}
		})
	}
}

func FuzzNumbers(f *testing.F) {
	f.Add(event.Append(nil, sample()), uint64(7), int64(-5))
	f.Add(event.AppendMissing(nil, &event.Missing{Entries: 1}), uint64(1)<<62, int64(1)<<62)
	f.Fuzz(func(t *testing.T, raw []byte, sequence uint64, boot int64) {
		_, _ = event.CutNumbers(bytes.Clone(raw)) // must not panic on arbitrary input
		n, err := event.Len(raw)
		if err != nil || raw[0]&0x1f >= 22 {
			return
		}
		raw = raw[:n]
		sequence &= 1<<63 - 1
		e, err := event.CutNumbers(event.AppendNumbered(nil, raw, sequence, boot))
		if err != nil || e.Sequence != sequence || e.Boot != boot || !bytes.Equal(e.Raw, raw) {
			t.Errorf("%+v, %v, want %d, %d, %x", e, err, sequence, boot, raw)
		}
		var g event.Group
		if _, err := event.Decode(raw, &g); err == nil && g.IsMetadata() && !event.MayBeMetadata(raw) {
			t.Error("a metadata group is not recognised")
		}
	})
}
