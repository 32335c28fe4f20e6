// SPDX-License-Identifier: Apache-2.0

// Package counter attaches a BPF program that only counts to the sites to which another
// program is attached.
package counter

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package counter -output-stem counter -target amd64,arm64 Counter counter.bpf.c -- -O2 -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/link"
)

// Sites are the sites of one uprobe_multi link: their offsets in the file, and the
// offsets of their semaphores, zero for a site without one.
type Sites struct {
	Offsets, Semaphores []uint64
}

// Attached returns the sites of the uprobe_multi links on a file, by link. path must be
// absolute, without symbolic links. Linux reports the sites since 6.8.
func Attached(path string) ([]Sites, error) {
	var all []Sites
	it := &link.Iterator{}
	defer it.Close()
	for it.Next() {
		info, err := it.Link.Info()
		if err != nil || info.UprobeMulti() == nil || info.UprobeMulti().File != path {
			// Other links may disappear meanwhile.
			continue
		}
		offsets, ok := info.UprobeMulti().Offsets()
		if !ok {
			return nil, fmt.Errorf("cannot list the sites of %s: the kernel does not report them", path)
		}
		var s Sites
		for _, o := range offsets {
			s.Offsets = append(s.Offsets, o.Offset)
			s.Semaphores = append(s.Semaphores, o.ReferenceCount)
		}
		all = append(all, s)
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("cannot list the links of the kernel: %w", err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("cannot list the sites of %s: no uprobe_multi link is attached", path)
	}
	return all, nil
}

// Counter is an attached program. It must be used by one goroutine.
type Counter struct {
	objects CounterObjects
	links   []link.Link
}

// Attach attaches the program to a file, with one link for each element of sites.
func Attach(path string, sites []Sites) (*Counter, error) {
	c := &Counter{}
	if err := LoadCounterObjects(&c.objects, nil); err != nil {
		return nil, fmt.Errorf("cannot load the counting program: %w", err)
	}
	x, err := link.OpenExecutable(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot attach to %s: %w", path, err), c.Close())
	}
	for _, s := range sites {
		k, err := x.UprobeMulti(nil, c.objects.Count, &link.UprobeMultiOptions{
			Addresses: s.Offsets, RefCtrOffsets: s.Semaphores,
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("cannot attach to %s: %w", path, err), c.Close())
		}
		c.links = append(c.links, k)
	}
	return c, nil
}

// Hits returns the number of counted hits.
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

// Close detaches the program.
func (c *Counter) Close() error {
	var errs []error
	for _, k := range c.links {
		errs = append(errs, k.Close())
	}
	return errors.Join(append(errs, c.objects.Close())...)
}
