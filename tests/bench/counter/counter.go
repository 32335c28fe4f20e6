// SPDX-License-Identifier: Apache-2.0

// Package counter attaches a BPF program that only counts to the places where
// another program is attached.
package counter

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package counter -output-stem counter -target amd64,arm64 Counter counter.bpf.c -- -O2 -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/link"
)

// Places is what one uprobe_multi link is attached to: offsets in the file and
// of the semaphores there, zero where a place has none.
type Places struct {
	Offsets, Semaphores []uint64
}

// Attached returns what the uprobe_multi links on a file are attached to, link
// by link. path must be absolute, without symbolic links. The kernel tells it
// since Linux 6.8.
func Attached(path string) ([]Places, error) {
	var all []Places
	it := &link.Iterator{}
	defer it.Close()
	for it.Next() {
		info, err := it.Link.Info()
		if err != nil || info.UprobeMulti() == nil || info.UprobeMulti().File != path {
			// Links of others come and go.
			continue
		}
		offsets, ok := info.UprobeMulti().Offsets()
		if !ok {
			return nil, fmt.Errorf("cannot see what is attached to %s: the kernel does not tell", path)
		}
		var p Places
		for _, o := range offsets {
			p.Offsets = append(p.Offsets, o.Offset)
			p.Semaphores = append(p.Semaphores, o.ReferenceCount)
		}
		all = append(all, p)
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("cannot list the links of the kernel: %w", err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("cannot see what is attached to %s: no uprobe_multi link is", path)
	}
	return all, nil
}

// Counter is an attached program. It is for one goroutine.
type Counter struct {
	objects CounterObjects
	links   []link.Link
}

// Attach attaches to the given places of a file, link by link.
func Attach(path string, places []Places) (*Counter, error) {
	c := &Counter{}
	if err := LoadCounterObjects(&c.objects, nil); err != nil {
		return nil, fmt.Errorf("cannot load the counting program: %w", err)
	}
	x, err := link.OpenExecutable(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot attach to %s: %w", path, err), c.Close())
	}
	for _, p := range places {
		k, err := x.UprobeMulti(nil, c.objects.Count, &link.UprobeMultiOptions{
			Addresses: p.Offsets, RefCtrOffsets: p.Semaphores,
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("cannot attach to %s: %w", path, err), c.Close())
		}
		c.links = append(c.links, k)
	}
	return c, nil
}

// Hits returns the number of hits counted.
func (c *Counter) Hits() (uint64, error) {
	var perCPU []uint64
	if err := c.objects.Hits.Lookup(uint32(0), &perCPU); err != nil {
		return 0, fmt.Errorf("cannot read the counter: %w", err)
	}
	var sum uint64
	for _, n := range perCPU {
		sum += n
	}
	return sum, nil
}

// Close detaches.
func (c *Counter) Close() error {
	var errs []error
	for _, k := range c.links {
		errs = append(errs, k.Close())
	}
	return errors.Join(append(errs, c.objects.Close())...)
}
