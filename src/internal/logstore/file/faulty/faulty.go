// SPDX-License-Identifier: Apache-2.0

// Package faulty is a file.System for tests. It fails on request, and it can simulate a
// power failure, after which a directory has the contents that a disk would have.
package faulty

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"

	"crypto-auditing/src/internal/logstore/file"
)

// Op is an operation that can fail.
type Op int

// The operations.
const (
	Create Op = iota
	Write
	Sync
	Rename
	Remove
	SyncDirectory
)

// Fault describes how an operation fails. The zero value means success.
type Fault struct {
	// Err is returned. A Write first writes Bytes. A Write with Bytes and no error is
	// one short write, which has to be continued.
	Err   error
	Bytes int
}

// page is the unit that a disk writes atomically.
const page = 4096

// System is a faulty file system on top of a real directory. It is safe for concurrent use.
type System struct {
	// Decide is called before every operation, while the System is locked; nil: no
	// faults. n counts operations from 0.
	Decide func(op Op, n int, path string) Fault

	mu    sync.Mutex
	real  file.Plain
	count int
	off   bool
	// nodes has the files by their name in the page cache, disk by their durable name.
	nodes, disk map[string]*node
}

// node is a file with its contents in the page cache and on the disk.
type node struct {
	cache []byte
	disk  []byte
	// dirty has the pages of the cache that the kernel still has to write.
	dirty map[int]bool
}

// New returns a System. Existing files of the directory are durable.
func New() *System {
	return &System{nodes: map[string]*node{}, disk: map[string]*node{}}
}

// ErrOff is the error of every operation after the power failure.
var ErrOff = errors.New("the power is off")

// fault counts an operation and returns its fault.
func (s *System) fault(op Op, path string) Fault {
	if s.off {
		return Fault{Err: ErrOff}
	}
	n := s.count
	s.count++
	if s.Decide == nil {
		return Fault{}
	}
	return s.Decide(op, n, path)
}

// Create implements file.System.
func (s *System) Create(path string) (file.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.fault(Create, path); f.Err != nil {
		return nil, f.Err
	}
	f, err := s.real.Create(path)
	if err != nil {
		return nil, err
	}
	n := &node{dirty: map[int]bool{}}
	s.nodes[path] = n
	return &faultyFile{system: s, node: n, path: path, real: f}, nil
}

// Place implements file.System.
func (s *System) Place(from, to string) error { return s.rename(from, to, s.real.Place) }

// Rename implements file.System.
func (s *System) Rename(from, to string) error { return s.rename(from, to, s.real.Rename) }

func (s *System) rename(from, to string, rename func(from, to string) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.fault(Rename, from); f.Err != nil {
		return f.Err
	}
	if err := rename(from, to); err != nil {
		return err
	}
	if n, ok := s.nodes[from]; ok {
		s.nodes[to] = n
		delete(s.nodes, from)
	}
	return nil
}

// Remove implements file.System.
func (s *System) Remove(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.fault(Remove, path); f.Err != nil {
		return f.Err
	}
	if err := s.real.Remove(path); err != nil {
		return err
	}
	delete(s.nodes, path)
	return nil
}

// SyncDirectory implements file.System.
func (s *System) SyncDirectory(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.fault(SyncDirectory, path); f.Err != nil {
		return f.Err
	}
	s.disk = map[string]*node{}
	for name, n := range s.nodes {
		s.disk[name] = n
	}
	return nil
}

// Adopt makes the files of a directory durable, as after a boot.
func (s *System) Adopt(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n := &node{cache: data, disk: append([]byte(nil), data...), dirty: map[int]bool{}}
		s.nodes[path], s.disk[path] = n, n
	}
	return nil
}

// Off cuts the power: every operation fails from now on.
func (s *System) Off() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.off = true
}

// Cut gives the directory the contents of the disk after Off: all synced data, and a random
// part of the other pages and names. Files unknown to the System stay.
func (s *System) Cut(random *rand.Rand) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := s.disk
	if random.IntN(2) == 0 {
		// The journal of the directory was written, too.
		names = s.nodes
	}
	for path := range s.nodes {
		if names[path] == nil {
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	for path, n := range names {
		data := n.diskContents(random)
		if s.nodes[path] == n && bytes.Equal(data, n.cache) {
			continue
		}
		if err := os.WriteFile(path, data, file.Mode); err != nil {
			return fmt.Errorf("cannot write what the disk holds: %w", err)
		}
	}
	return nil
}

// diskContents returns the contents of a file on the disk.
func (n *node) diskContents(random *rand.Rand) []byte {
	data := append([]byte(nil), n.disk...)
	// The size is between the durable and the last one.
	size := len(n.disk)
	if more := len(n.cache) - size; more > 0 {
		size += random.IntN(more + 1)
	}
	for len(data) < size {
		data = append(data, 0)
	}
	for at := range n.dirty {
		if random.IntN(2) == 0 {
			low, high := at*page, min((at+1)*page, size)
			if low < high {
				copy(data[low:high], n.cache[low:high])
			}
		}
	}
	return data
}

type faultyFile struct {
	system *System
	node   *node
	path   string
	real   file.File
}

// Commit implements file.File. Like the real implementations it continues short writes.
func (f *faultyFile) Commit(buffers [][]byte, offset int64, sync bool) (done int64, err error) {
	f.system.mu.Lock()
	defer f.system.mu.Unlock()
	for _, b := range buffers {
		for len(b) > 0 {
			fault := f.system.fault(Write, f.path)
			n := len(b)
			if fault.Bytes > 0 || fault.Err != nil {
				n = min(fault.Bytes, n)
			}
			if _, err := f.real.Commit([][]byte{b[:n]}, offset+done, false); err != nil {
				return done, err
			}
			f.node.write(b[:n], offset+done)
			done += int64(n)
			b = b[n:]
			if fault.Err != nil {
				return done, fault.Err
			}
		}
	}
	if !sync {
		return done, nil
	}
	if fault := f.system.fault(Sync, f.path); fault.Err != nil {
		// The kernel no longer writes these pages but keeps them in the cache.
		clear(f.node.dirty)
		return done, &file.SyncError{Err: fault.Err}
	}
	f.node.sync()
	return done, nil
}

// Start implements file.Starter.
func (f *faultyFile) Start(buffers [][]byte, offset int64, done func(n int64)) bool {
	go func() {
		n, _ := f.Commit(buffers, offset, false)
		done(n)
	}()
	return true
}

// Touch implements file.File.
func (f *faultyFile) Touch() error { return f.real.Touch() }

// Is implements file.File.
func (f *faultyFile) Is(path string) (bool, error) { return f.real.Is(path) }

// Close implements file.File.
func (f *faultyFile) Close() error { return f.real.Close() }

func (n *node) write(b []byte, offset int64) {
	end := int(offset) + len(b)
	for len(n.cache) < end {
		n.cache = append(n.cache, 0)
	}
	copy(n.cache[offset:], b)
	for at := int(offset) / page; at*page < end; at++ {
		n.dirty[at] = true
	}
}

func (n *node) sync() {
	for len(n.disk) < len(n.cache) {
		n.disk = append(n.disk, 0)
	}
	for at := range n.dirty {
		low, high := at*page, min((at+1)*page, len(n.cache))
		copy(n.disk[low:high], n.cache[low:high])
	}
	clear(n.dirty)
}
