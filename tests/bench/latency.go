// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"crypto-auditing/tests/bench/figures"
)

// pollEvery is the interval at which the follower looks for new chunks. A latency may be
// too high by that much.
const pollEvery = time.Millisecond

// group has the fields of an entry that are needed here.
type group struct {
	Context    []byte `cbor:"context"`
	Start      uint64 `cbor:"start"`
	Name       string `cbor:"name"`
	Executable []byte `cbor:"executable"`
}

// latency measures the time from a hit to its event in a committed chunk: from the BPF
// program's timestamp of the first event of each group until another process sees the
// whole chunk in the file.
func (b *bench) latency() error {
	const hitRate, window = 100000, 100
	seconds := b.pick(4, 10)
	a, err := b.startAgent(defaults, b.publisher("replay"))
	if err != nil {
		return err
	}
	f, err := openFollower(a.dir)
	if err != nil {
		return errors.Join(err, a.stop())
	}
	defer f.close()
	done := make(chan error, 1)
	go func() {
		_, err := b.fire(1, hitRate, seconds)
		time.Sleep(4 * window * time.Millisecond)
		done <- err
	}()
	for finished := false; !finished; {
		select {
		case err = <-done:
			finished = true
		case <-time.After(pollEvery):
			if err = f.measure(); err != nil {
				finished = true
			}
		}
	}
	if err := errors.Join(err, a.stop()); err != nil {
		return err
	}
	ms := f.latencies
	how := fmt.Sprintf("%d groups at 100,000 hits/s, window of %d ms included, seen by another process within %v", len(ms), window, pollEvery)
	b.figures.Add("commit_latency_p50_ms", ms.Quantile(0.5), how)
	b.figures.AtMost("commit_latency_p99_ms", ms.Quantile(0.99), window+100, how)
	b.figures.Add("commit_latency_p999_ms", ms.Quantile(0.999), how)
	return a.remove()
}

// follower reads a segment of a log while it grows.
type follower struct {
	file   *os.File
	offset int64
	zstd   *zstd.Decoder

	compressed, entries []byte
	// latencies are in milliseconds.
	latencies figures.Sample
}

// openFollower opens the only segment of a log.
func openFollower(dir string) (*follower, error) {
	paths, err := segments(dir)
	if err != nil || len(paths) != 1 {
		return nil, errors.Join(err, fmt.Errorf("cannot follow the log in %s: it has %d segments", dir, len(paths)))
	}
	return follow(paths[0])
}

func follow(path string) (*follower, error) {
	f := &follower{}
	var err error
	if f.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1)); err != nil {
		return nil, err
	}
	if f.file, err = os.Open(path); err != nil {
		return nil, fmt.Errorf("cannot follow the log: %w", err)
	}
	return f, nil
}

func (f *follower) close() {
	f.file.Close()
	f.zstd.Close()
}

// measure measures the groups of the chunks committed since the last call.
func (f *follower) measure() error {
	var seen uint64
	return f.each(func() { seen = bootTime() }, func(g *group) error {
		if g.Start > seen {
			return fmt.Errorf("a group starts %v after it was seen", time.Duration(g.Start-seen))
		}
		f.latencies = append(f.latencies, float64(seen-g.Start)/1e6)
		return nil
	})
}

// each calls chunkSeen for each chunk committed since the last call, then take for its
// groups. Notices are omitted.
func (f *follower) each(chunkSeen func(), take func(*group) error) error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	for {
		c, err := chunkAt(f.file, info.Size(), f.offset)
		if err == io.EOF || err == errPartial {
			return nil
		}
		if err == nil {
			chunkSeen()
			err = f.groups(c, take)
		}
		if err != nil {
			return fmt.Errorf("cannot follow %s: %w", filepath.Base(f.file.Name()), err)
		}
		f.offset = c.end
	}
}

func (f *follower) groups(c chunk, take func(*group) error) error {
	f.compressed = append(f.compressed[:0], make([]byte, c.compressed)...)
	if _, err := f.file.ReadAt(f.compressed, c.payload); err != nil {
		return err
	}
	var err error
	if f.entries, err = f.zstd.DecodeAll(f.compressed, f.entries[:0]); err != nil {
		return err
	}
	for rest := f.entries; len(rest) > 0; {
		var g group
		if rest, err = cbor.UnmarshalFirst(rest, &g); err != nil {
			return err
		}
		if allZero(g.Context) {
			continue
		}
		if err := take(&g); err != nil {
			return err
		}
	}
	return nil
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// bootTime returns CLOCK_BOOTTIME in nanoseconds, the clock of the log.
func bootTime() uint64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) // cannot fail: every kernel has this clock
	return uint64(t.Nano())
}
