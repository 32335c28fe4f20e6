// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"crypto-auditing/src/internal/event"
)

const boot = int64(1_700_000_000_123_456_789)

// framed returns an entry as Open streams it.
func framed(g *event.Group, sequence uint64) []byte {
	entry := event.Append(nil, g)
	b := []byte{entry[0] + 2}
	for _, pair := range []struct {
		key   string
		value uint64
	}{{"\x63seq", sequence}, {"\x64boot", uint64(boot)}} {
		b = append(b, pair.key...)
		b = append(b, 0x1b)
		b = binary.BigEndian.AppendUint64(b, pair.value)
	}
	return append(b, entry[1:]...)
}

func handshake() *event.Group {
	return &event.Group{
		Context: event.ContextID{1}, Start: 5_000, End: 1_000_000_005,
		Name: []byte("tls::handshake"), Executable: []byte("cu\xffrl"), Origin: []byte{0xab, 0xcd},
		Events: []event.Event{
			{Kind: event.NewContext, Parent: event.ContextID{9}, Origin: []byte{0xab, 0xcd}, Executable: []byte("cu\xffrl")},
			{Key: []byte("name"), Value: event.Value{Kind: event.String, Bytes: []byte("tls::handshake")}},
			{Key: []byte("tls::protocol_version"), Value: event.Value{Word: 772}},
			{Key: []byte("blob"), Value: event.Value{Kind: event.Blob, Bytes: []byte{0, 1}}},
		},
	}
}

// gone returns the entry that replaces missing entries in a stream.
func gone(entries int64, reason string) *event.Group {
	return &event.Group{Events: []event.Event{
		{Key: []byte("crau::missing_entries"), Value: event.Value{Word: entries}},
		{Key: []byte("crau::missing_reason"), Value: event.Value{Kind: event.String, Bytes: []byte(reason)}},
	}}
}

func TestAStreamHasTheEntriesOfTheLogByteForByte(t *testing.T) {
	loss := event.AppendLoss(nil, &event.Loss{Events: 7, Reason: "ring-full", Place: "kernel", Start: 1, End: 2})
	var lossGroup event.Group
	if _, err := event.Decode(loss, &lossGroup); err != nil {
		t.Fatal(err)
	}
	stream := framed(handshake(), 41)
	stream = append(stream, framed(&lossGroup, 42)...)
	for name, reader := range map[string]io.Reader{
		"at once":      bytes.NewReader(stream),
		"byte by byte": iotest.OneByteReader(bytes.NewReader(stream)),
	} {
		t.Run(name, func(t *testing.T) {
			r := newEntries(reader, 1)
			for i, want := range [][]byte{event.Append(nil, handshake()), loss} {
				e, err := r.next()
				if err != nil {
					t.Fatal(err)
				}
				if e.Sequence != uint64(41+i) || e.Boot != boot || !bytes.Equal(e.CBOR, want) {
					t.Errorf("entry %d is %+v, want the bytes %x", i, e, want)
				}
			}
			if _, err := r.next(); err != io.EOF {
				t.Errorf("at the end: %v", err)
			}
		})
	}
}

func TestAMachineMayHaveBootedBefore1970(t *testing.T) {
	entry := event.Append(nil, handshake())
	stream := append([]byte{entry[0] + 2}, "\x63seq\x01\x64boot\x24"...)
	e, err := newEntries(bytes.NewReader(append(stream, entry[1:]...)), 1).next()
	if err != nil || e.Boot != -5 || !bytes.Equal(e.CBOR, entry) {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestAnEntryLargerThanTheBufferIsRead(t *testing.T) {
	g := handshake()
	g.Events[3].Value.Bytes = bytes.Repeat([]byte{7}, 800<<10)
	e, err := newEntries(bytes.NewReader(framed(g, 1)), 1).next()
	if err != nil || !bytes.Equal(e.CBOR, event.Append(nil, g)) {
		t.Errorf("%d bytes, %v", len(e.CBOR), err)
	}
}

func TestMissingEntriesAreARecoverableError(t *testing.T) {
	stream := append(framed(gone(12, "truncated"), 12), framed(handshake(), 13)...)
	r := newEntries(bytes.NewReader(stream), 1)
	var missing *MissingError
	if e, err := r.next(); !errors.As(err, &missing) || *missing != (MissingError{12, "truncated"}) || e.Sequence != 12 {
		t.Fatalf("%+v, %v", e, err)
	}
	if e, err := r.next(); err != nil || e.Sequence != 13 {
		t.Errorf("after it: %+v, %v", e, err)
	}
}

func TestAStreamReportsHowItEnded(t *testing.T) {
	end := func(e event.End) []byte {
		var g event.Group
		if _, err := event.Decode(event.AppendEnd(nil, &e), &g); err != nil {
			t.Fatal(err)
		}
		return framed(&g, 1)
	}
	entry := framed(handshake(), 1)
	for name, c := range map[string]struct {
		end     []byte
		version uint32
		want    error
	}{
		"complete":                        {end(event.End{Outcome: event.Complete}), versionEnds, io.EOF},
		"failed":                          {end(event.End{Outcome: event.Failed, Reason: "why"}), versionEnds, &StreamError{Reason: "why"}},
		"without an end":                  {nil, versionEnds, &StreamError{}},
		"truncated in an entry":           {entry[:9], versionEnds, &StreamError{}},
		"complete, with bytes after it":   {append(end(event.End{Outcome: event.Complete}), 0xff), versionEnds, io.EOF},
		"of a broker without end entries": {nil, versionEnds - 1, io.EOF},
		"of that broker, truncated":       {entry[:9], versionEnds - 1, &StreamError{}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newEntries(bytes.NewReader(append(bytes.Clone(entry), c.end...)), c.version)
			if _, err := r.next(); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if e, err := r.next(); !reflect.DeepEqual(err, c.want) {
					t.Errorf("%+v, %v, want %v", e, err, c.want)
				}
				if c.want != io.EOF {
					break
				}
			}
		})
	}
}

func TestTheNewestEntriesMayBeMissingWithoutANumber(t *testing.T) {
	r := newEntries(bytes.NewReader(framed(gone(0, "unreadable"), 12)), versionEnds)
	var missing *MissingError
	if _, err := r.next(); !errors.As(err, &missing) || *missing != (MissingError{0, "unreadable"}) {
		t.Errorf("%v", err)
	}
}

func TestInvalidStreamsAreRefused(t *testing.T) {
	good := framed(handshake(), 1)
	for name, c := range map[string]struct {
		stream []byte
		want   error
	}{
		"an entry as in the log":   {event.Append(nil, handshake()), ErrProtocol},
		"not a map":                {[]byte{0x80}, ErrProtocol},
		"keys in reverse order":    {[]byte("\xa2\x64boot\x01\x63seq\x01"), ErrProtocol},
		"a sequence that is text":  {[]byte("\xa2\x63seq\x61a\x64boot\x01"), ErrProtocol},
		"a negative sequence":      {[]byte("\xa2\x63seq\x20\x64boot\x01"), ErrProtocol},
		"a sequence beyond 63 bit": {[]byte("\xa2\x63seq\x1b\xff\xff\xff\xff\xff\xff\xff\xff\x64boot\x01"), ErrProtocol},
		"only the keys":            {[]byte("\xa2\x63seq\x01\x64boot\x01"), ErrProtocol},
		"a truncated entry":        {good[:len(good)-1], io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			if e, err := newEntries(bytes.NewReader(c.stream), 1).next(); !errors.Is(err, c.want) {
				t.Errorf("%+v, %v, want %v", e, err, c.want)
			}
		})
	}
}

func TestAGroupHasTheFieldsOfItsEntry(t *testing.T) {
	got := groupOfEntry(&event.Entry{Sequence: 41, Group: handshake(), Boot: boot})
	want := Group{
		Sequence: 41, Context: "01" + strings.Repeat("0", 30),
		Start: time.Unix(0, boot+5_000), End: time.Unix(0, boot+1_000_000_005),
		Opens: true, Parent: "09" + strings.Repeat("0", 30),
		Name: "tls::handshake", Executable: `cu\xffrl`, Origin: "abcd",
		Data: []Datum{{"name", "tls::handshake"}, {"tls::protocol_version", int64(772)}, {"blob", []byte{0, 1}}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got.Value("tls::protocol_version") != int64(772) || got.Value("none") != nil || got.IsMetadata() {
		t.Errorf("values of %+v are wrong", got)
	}
}

func FuzzEntries(f *testing.F) {
	f.Add(append(framed(handshake(), 41), framed(gone(3, "corrupt"), 42)...))
	f.Add(framed(handshake(), 1)[:30])
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := newEntries(bytes.NewReader(stream), 1)
		var g event.Group
		for {
			e, err := r.next()
			var missing *MissingError
			switch {
			case errors.As(err, &missing):
				continue
			case err != nil:
				if !errors.Is(err, ErrProtocol) && err != io.EOF && !errors.As(err, new(*StreamError)) {
					t.Fatalf("error %v", err)
				}
				return
			}
			if _, err := event.Len(e.CBOR); err != nil {
				t.Fatalf("an invalid entry: %v", err)
			}
			if _, err := event.Decode(e.CBOR, &g); err == nil {
				groupOfEntry(&event.Entry{Sequence: e.Sequence, Group: &g, Boot: e.Boot})
			}
		}
	})
}

func BenchmarkEntries(b *testing.B) {
	var stream []byte
	for i := range 1000 {
		stream = append(stream, framed(handshake(), uint64(i))...)
	}
	buffer := make([]byte, len(stream))
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		copy(buffer, stream) // entries are taken apart in place
		r := newEntries(bytes.NewReader(buffer), 1)
		for {
			if _, err := r.next(); err != nil {
				break
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*1000), "ns/entry")
}
