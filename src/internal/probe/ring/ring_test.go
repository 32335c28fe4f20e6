// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// testRing is a ring in ordinary memory, with a producer that acts like the kernel.
type testRing struct {
	*Ring
	position uint64
}

func newTestRing(size uint64) *testRing {
	// Words align the positions and lengths as in the kernel.
	memory := func(bytes uint64) []byte {
		words := make([]uint64, bytes/8)
		return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), bytes)
	}
	r := &testRing{Ring: &Ring{size: size, consumer: memory(8), producer: memory(8), data: memory(size)}}
	r.wakeAt = &atomic.Uint64{}
	return r
}

// write writes a record, with the given bits in its length word.
func (r *testRing) write(record string, bits uint32) {
	at := r.position % r.size
	length := uint64(len(record))
	binary.NativeEndian.PutUint32(r.data[at:], uint32(length)|bits)
	for i := range length {
		r.data[(at+header+i)%r.size] = record[i]
	}
	r.position += (length + header + 7) &^ 7
	binary.NativeEndian.PutUint64(r.producer, r.position)
}

func (r *testRing) drain(limit uint64) (records []string) {
	r.Drain(limit, func(b []byte) { records = append(records, string(b)) })
	return records
}

func (r *testRing) consumed() uint64 { return binary.NativeEndian.Uint64(r.consumer) }

func TestRecordsAreReadInOrder(t *testing.T) {
	r := newTestRing(4096)
	var wrote, read []string
	for i := range 1000 {
		// The lengths make some records wrap around at the end.
		record := fmt.Sprintf("%0*d", 1+i%97, i)
		r.write(record, 0)
		wrote = append(wrote, record)
		if r.Waiting() > 3000 {
			read = append(read, r.drain(4096)...)
		}
	}
	read = append(read, r.drain(4096)...)
	if !slices.Equal(read, wrote) {
		t.Errorf("read %d records, which differ from the %d written", len(read), len(wrote))
	}
	if r.Waiting() != 0 || r.consumed() != r.position {
		t.Errorf("%d bytes are waiting, %d of %d were released", r.Waiting(), r.consumed(), r.position)
	}
	if high := r.HighWater(); high <= 3000 || high > 4096 {
		t.Errorf("at most %d bytes were waiting", high)
	}
}

func TestADiscardedRecordIsSkipped(t *testing.T) {
	r := newTestRing(4096)
	r.write("one", 0)
	r.write("none", discard)
	r.write("two", 0)
	if got := r.drain(4096); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("got %q", got)
	}
}

func TestTheReaderWaitsForAnUnfinishedRecord(t *testing.T) {
	r := newTestRing(4096)
	r.write("one", 0)
	at := r.position
	r.write("two", busy)
	r.write("three", 0)
	if got := r.drain(4096); !slices.Equal(got, []string{"one"}) {
		t.Errorf("got %q", got)
	}
	if !r.firstBusy() || r.consumed() != at {
		t.Errorf("the reader is at %d, the unfinished record at %d", r.consumed(), at)
	}
	binary.NativeEndian.PutUint32(r.data[at:], 3)
	if got := r.drain(4096); !slices.Equal(got, []string{"two", "three"}) {
		t.Errorf("got %q", got)
	}
}

func TestDrainingEndsAtTheLimit(t *testing.T) {
	r := newTestRing(4096)
	for range 10 {
		r.write("12345678", 0)
	}
	if got := r.drain(33); len(got) != 3 {
		t.Errorf("%d records of 16 bytes were taken with a limit of 33", len(got))
	}
	if r.Waiting() != 7*16 || r.consumed() != 3*16 {
		t.Errorf("%d bytes are waiting, %d were released", r.Waiting(), r.consumed())
	}
}

// sleeper returns a ring and a function that wakes its reader by a byte in a pipe.
func sleeper(t *testing.T) (r *testRing, wake func()) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close(); writer.Close() })
	r = newTestRing(4096)
	if err := r.watch(int(reader.Fd())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.file.Close(); unix.Close(r.timer) })
	return r, func() {
		if _, err := writer.Write([]byte{0}); err != nil {
			t.Error(err)
		}
	}
}

func TestWait(t *testing.T) {
	for name, c := range map[string]struct {
		timeout time.Duration
		before  func(r *testRing)
		// asleep is called after the reader has requested to be woken.
		asleep func(r *testRing, wake func())
	}{
		"ends at the timeout":            {timeout: time.Millisecond},
		"ends at once with timeout 0":    {timeout: 0},
		"ends if enough data is waiting": {timeout: -1, before: func(r *testRing) { r.write("record", 0) }},
		"ends by an earlier wake-up":     {timeout: -1, before: func(r *testRing) { r.Wake() }},
		"ends by a wake-up":              {timeout: -1, asleep: func(r *testRing, _ func()) { r.Wake() }},
		"ends when a producer wakes it":  {timeout: -1, asleep: func(_ *testRing, wake func()) { wake() }},
		"ends early if a producer was interrupted": {
			timeout: -1, before: func(r *testRing) { r.write("record", busy) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, wake := sleeper(t)
			r.wakeAt.Store(math.MaxUint64)
			if c.before != nil {
				c.before(r)
			}
			done := make(chan error)
			go func() { done <- r.Wait(1, c.timeout) }()
			if c.asleep != nil {
				for r.wakeAt.Load() != 1 {
					runtime.Gosched()
				}
				c.asleep(r, wake)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			if at := r.wakeAt.Load(); at != math.MaxUint64 {
				t.Errorf("after Wait, the reader is still to be woken at %d bytes", at)
			}
		})
	}
}
