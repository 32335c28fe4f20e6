// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/klauspost/compress/zstd"
)

// group is an entry of the log (src/internal/event/audit.cddl).
type group struct {
	Context    []byte  `cbor:"context"`
	Start      *uint64 `cbor:"start"`
	End        *uint64 `cbor:"end"`
	Name       string  `cbor:"name"`
	Executable []byte  `cbor:"executable"`
	Origin     []byte  `cbor:"origin"`
	Unit       string  `cbor:"unit"`
	Source     string  `cbor:"source"`
	Events     []event `cbor:"events"`
}

type event struct {
	NewContext *newContext `cbor:"NewContext"`
	Data       *data       `cbor:"Data"`
}

type newContext struct {
	Parent     []byte `cbor:"parent"`
	Origin     []byte `cbor:"origin"`
	Executable []byte `cbor:"executable"`
}

type data struct {
	Key *string `cbor:"key"`
	// Value is an int64, a string or a []byte.
	Value      any  `cbor:"value"`
	Truncated  bool `cbor:"truncated"`
	Unreadable bool `cbor:"unreadable"`
}

// metadata reports whether the group is about the log itself.
func (g *group) metadata() bool { return bytes.Equal(g.Context, make([]byte, 16)) }

// id returns the context in hex.
func (g *group) id() string { return hex.EncodeToString(g.Context) }

// opens returns the event that opens the group's context, nil if there is none.
func (g *group) opens() *newContext { return g.Events[0].NewContext }

// value returns the last value of a key, nil if there is none.
func (g *group) value(key string) (v any) {
	for _, e := range g.Events {
		if e.Data != nil && *e.Data.Key == key {
			v = e.Data.Value
		}
	}
	return v
}

// decoding is strict: it rejects everything that is not in the specification.
func decoding(t *testing.T) cbor.DecMode {
	t.Helper()
	mode, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		UTF8:              cbor.UTF8RejectInvalid,
		IntDec:            cbor.IntDecConvertSignedOrFail,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	}.DecMode()
	if err != nil {
		t.Fatal(err)
	}
	return mode
}

// segments returns the files of a log in order.
func segments(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "audit-????????????????.cborseq.zst"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("there is no segment in %s", dir)
	}
	slices.Sort(files)
	return files
}

// decompress decompresses a file.
func decompress(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return plain(t, file, b)
}

// plain decompresses the content of a file.
func plain(t *testing.T, file string, b []byte) []byte {
	t.Helper()
	decoder, err := zstd.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	sequence, err := io.ReadAll(decoder)
	if err != nil {
		t.Fatalf("cannot decompress %s: %v", file, err)
	}
	return sequence
}

// readLog returns all groups of a log without a writer.
func readLog(t *testing.T, dir string) []group {
	t.Helper()
	return readSegments(t, dir, decompress)
}

// readSegments returns the groups of all segments, decompressed by the function.
func readSegments(t *testing.T, dir string, decompress func(*testing.T, string) []byte) []group {
	t.Helper()
	var log []group
	for _, file := range segments(t, dir) {
		groups := decode(t, file, decompress(t, file))
		if !groups[0].metadata() || groups[0].value("version") != int64(1) || groups[0].value("boot_time") == nil {
			t.Errorf("%s does not begin with the metadata of the log but with %v", file, groups[0].Events)
		}
		log = append(log, groups...)
	}
	return log
}

// decode decodes a CBOR sequence and checks each item against the specification. There
// must be at least one item.
func decode(t *testing.T, name string, sequence []byte) []group {
	t.Helper()
	var groups []group
	decoder := decoding(t).NewDecoder(bytes.NewReader(sequence))
	for {
		var g group
		err := decoder.Decode(&g)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: entry %d: %v", name, len(groups), err)
		}
		if err := wellFormed(&g); err != nil {
			t.Fatalf("%s: entry %d: %v", name, len(groups), err)
		}
		groups = append(groups, g)
	}
	if len(groups) == 0 {
		t.Fatalf("%s is empty", name)
	}
	return groups
}

func wellFormed(g *group) error {
	switch {
	case len(g.Context) != 16:
		return fmt.Errorf("a context of %d bytes", len(g.Context))
	case g.Start == nil || g.End == nil || *g.Start > *g.End || *g.Start == 0:
		return errors.New("its times are invalid")
	case len(g.Events) == 0:
		return errors.New("it has no events")
	}
	for i, e := range g.Events {
		switch {
		case (e.NewContext == nil) == (e.Data == nil):
			return fmt.Errorf("event %d is neither a new context nor data", i)
		case e.NewContext != nil && i != 0:
			return fmt.Errorf("event %d opens a context in the middle of a group", i)
		case e.NewContext != nil && len(e.NewContext.Parent) != 16:
			return fmt.Errorf("a parent of %d bytes", len(e.NewContext.Parent))
		case e.Data != nil && e.Data.Key == nil:
			return fmt.Errorf("event %d has no key", i)
		}
		if e.Data == nil {
			continue
		}
		switch e.Data.Value.(type) {
		case int64, string, []byte:
		default:
			return fmt.Errorf("event %d has a value of type %T", i, e.Data.Value)
		}
	}
	return nil
}

// countEvents counts the events of probes.
func countEvents(log []group) (n uint64) {
	for i := range log {
		if !log[i].metadata() {
			n += uint64(len(log[i].Events))
		}
	}
	return n
}

// compareLosses compares the losses in the log with those that the agents counted.
func compareLosses(t *testing.T, log []group, counted map[place]number) {
	t.Helper()
	logged := map[place]number{}
	for i := range log {
		g := &log[i]
		if !g.metadata() || g.value("crau::lost_events") == nil && g.value("crau::lost_hits") == nil {
			continue
		}
		lostPlace, ok1 := g.value("crau::lost_place").(string)
		reason, ok2 := g.value("crau::lost_reason").(string)
		hits, ok3 := g.value("crau::lost_hits").(int64)
		events, ok4 := g.value("crau::lost_events").(int64)
		if !ok1 || !ok2 || !ok3 || !ok4 {
			t.Errorf("a loss in the log lacks its place, its reason or a number: %v", g.Events)
			continue
		}
		n := logged[place{lostPlace, reason}]
		n.add(number{uint64(hits), uint64(events)})
		logged[place{lostPlace, reason}] = n
	}
	maps.DeleteFunc(counted, func(_ place, n number) bool { return n == number{} })
	if !maps.Equal(logged, counted) {
		t.Errorf("the log has the losses %v, the agent counted %v", logged, counted)
	}
}
