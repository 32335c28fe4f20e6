// SPDX-License-Identifier: Apache-2.0

package varlinkservice

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestFramesRoundTrip(t *testing.T) {
	const size = 16
	long := strings.Repeat("x", size)
	cases := map[string]struct {
		sent string
		want []string
		err  error // nil: a *limitError
	}{
		"nothing":                      {"", nil, io.EOF},
		"one":                          {"a\x00", []string{"a"}, io.EOF},
		"several":                      {"a\x00bc\x00def\x00", []string{"a", "bc", "def"}, io.EOF},
		"a frame of maximum length":    {long + "\x00b\x00", []string{long, "b"}, io.EOF},
		"one byte too long":            {long + "x\x00", nil, nil},
		"far too long":                 {strings.Repeat(long, 100), nil, nil},
		"too long after a valid frame": {"a\x00" + long + "x", []string{"a"}, nil},
		"an unfinished frame":          {"a\x00bc", []string{"a"}, io.ErrUnexpectedEOF},
		"an empty frame":               {"a\x00\x00b\x00", []string{"a"}, errEmpty},
		"maximum depth":                {"[[[]]]\x00", []string{"[[[]]]"}, io.EOF},
		"too deep":                     {"a\x00[{[[\x00", []string{"a"}, nil},
		"brackets in strings":          {`"[[[[\"[[[["` + "\x00", []string{`"[[[[\"[[[["`}, io.EOF},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			readers := map[string]func(io.Reader) io.Reader{
				"at once":      func(r io.Reader) io.Reader { return r },
				"byte by byte": iotest.OneByteReader,
				"end at once":  iotest.DataErrReader,
			}
			for how, reader := range readers {
				f := frames{from: reader(strings.NewReader(c.sent)), size: size, depth: 3}
				var got []string
				frame, err := f.read()
				for ; err == nil; frame, err = f.read() {
					got = append(got, string(frame))
				}
				if strings.Join(got, "|") != strings.Join(c.want, "|") {
					t.Errorf("%s: read %q, want %q", how, got, c.want)
				}
				var limit *limitError
				if errors.As(err, &limit) != (c.err == nil) || c.err != nil && !errors.Is(err, c.err) {
					t.Errorf("%s: the error is %v, want %v", how, err, c.err)
				}
			}
		})
	}
}

func TestMemoryIsReleasedAfterALargeFrame(t *testing.T) {
	f := frames{from: strings.NewReader(strings.Repeat("x", 10*maxRead) + "\x00"), size: 20 * maxRead, depth: 1}
	if _, err := f.read(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.read(); err != io.EOF {
		t.Fatalf("the error is %v, want EOF", err)
	}
	if cap(f.buffer) > maxRead {
		t.Errorf("%d bytes are kept, want at most %d", cap(f.buffer), maxRead)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("{\"method\":\"org.varlink.service.GetInfo\"}\x00"), 3)
	f.Add([]byte("[[[\"]\\\"\",{}]]]\x00\x00a"), 1)
	f.Add(bytes.Repeat([]byte("x"), 300), 200)
	f.Fuzz(func(t *testing.T, sent []byte, chunk int) {
		const size, depth = 128, 4
		r := frames{from: &chunks{bytes.NewReader(sent), max(chunk, 1)}, size: size, depth: depth}
		rest := sent
		for {
			frame, err := r.read()
			want, after, whole := bytes.Cut(rest, []byte{0})
			if cap(r.buffer) > size+1 {
				t.Fatalf("%d bytes are kept, want at most %d", cap(r.buffer), size+1)
			}
			if err != nil {
				var limit *limitError
				switch {
				case err == io.EOF && len(rest) == 0, err == io.ErrUnexpectedEOF && !whole && len(rest) > 0,
					errors.Is(err, errEmpty) && len(want) == 0,
					errors.As(err, &limit) && (len(want) > size || depthOf(want) > depth || !json.Valid(want)):
					return
				}
				t.Fatalf("the error is %v before %q", err, rest)
			}
			if !whole || !bytes.Equal(frame, want) {
				t.Fatalf("read %q of %q", frame, rest)
			}
			if len(frame) > size || json.Valid(frame) && depthOf(frame) > depth {
				t.Fatalf("the invalid frame %q was accepted", frame)
			}
			rest = after
		}
	})
}

// chunks reads at most a number of bytes at a time.
type chunks struct {
	from io.Reader
	size int
}

func (c *chunks) Read(b []byte) (int, error) { return c.from.Read(b[:min(len(b), c.size)]) }

// depthOf returns the nesting depth of the valid beginning of a JSON text, as determined by
// the standard library.
func depthOf(text []byte) int {
	depth, deepest := 0, 0
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		token, err := d.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
			deepest = max(deepest, depth)
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
}
