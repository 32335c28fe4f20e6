// SPDX-License-Identifier: Apache-2.0

// Package tree follows trees of processes, so that a probe.Tracer records what
// they do and nothing else: a process that a followed one starts is followed from
// its first instruction on.
package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"crypto-auditing/bpf"
	"crypto-auditing/src/internal/probe"
)

// Tree is the followed processes. Its methods must not be called at the same time.
type Tree struct {
	adopting, missed *ebpf.Variable
	collection       *ebpf.Collection
	processes        *ebpf.Map
	links            []link.Link
}

// Follow begins to follow processes for a tracer that was loaded for that; none is
// followed yet. It needs CAP_BPF and CAP_PERFMON.
func Follow(t *probe.Tracer) (*Tree, error) {
	spec, err := bpf.LoadTree()
	if err != nil {
		return nil, fmt.Errorf("cannot read the BPF programs: %w", err)
	}
	replaced := map[string]*ebpf.Map{}
	for name, m := range t.SharedMaps() {
		if spec.Maps[name] != nil {
			spec.Maps[name].MaxEntries = m.MaxEntries()
			replaced[name] = m
		}
	}
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replaced})
	if err != nil {
		return nil, fmt.Errorf("cannot load the BPF programs that follow processes: %w", err)
	}
	f := &Tree{
		collection: collection, processes: collection.Maps[bpf.TreeMapFollowed],
		adopting: collection.Variables[bpf.TreeVarAdopting], missed: collection.Variables[bpf.TreeVarMissed],
	}
	for _, name := range []string{bpf.TreeProgProcessStarted, bpf.TreeProgProcessEnded} {
		l, err := link.AttachTracing(link.TracingOptions{Program: collection.Programs[name]})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("cannot follow processes: %w", err), f.Close())
		}
		f.links = append(f.links, l)
	}
	return f, nil
}

// Adopt has every process followed that the calling one starts inside start.
func (f *Tree) Adopt(start func() error) error {
	if err := f.adopting.Set(uint32(1)); err != nil {
		return fmt.Errorf("cannot follow what is started: %w", err)
	}
	return errors.Join(start(), f.adopting.Set(uint32(0)))
}

// Empty reports whether no followed process is left.
func (f *Tree) Empty() (bool, error) {
	var process uint32
	err := f.processes.NextKey(nil, &process)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot list the followed processes: %w", err)
	}
	return false, nil
}

// Missed returns how many processes are not followed because there were too
// many.
func (f *Tree) Missed() (n uint64, err error) {
	if err := f.missed.Get(&n); err != nil {
		return 0, fmt.Errorf("cannot read how many processes were not followed: %w", err)
	}
	return n, nil
}

// NoProcessError reports that there is no process of a number.
type NoProcessError struct{ PID int }

func (e *NoProcessError) Error() string { return fmt.Sprintf("there is no process %d", e.PID) }

// Add follows processes and all that they have started, by their numbers for the
// caller. It returns the numbers of all of them. The error is a *NoProcessError
// if one is not there.
func (f *Tree) Add(pids ...int) (all []int, err error) {
	wanted := map[uint32]bool{}
	for _, pid := range pids {
		wanted[uint32(pid)] = true
	}
	added, found := map[uint32]bool{}, map[uint32]bool{}
	// What a process starts once it is followed is followed as well. What it
	// started while the processes were listed is found by listing them again.
	for more := true; more; {
		more = false
		list, err := f.list()
		if err != nil {
			return nil, err
		}
		for again := true; again; {
			again = false
			for _, p := range list {
				if added[p.Process] || !wanted[p.Pid] && !added[p.Parent] {
					continue
				}
				if err := f.processes.Put(p.Process, uint8(1)); err != nil {
					return nil, fmt.Errorf("cannot follow process %d: %w", p.Pid, err)
				}
				added[p.Process], found[p.Pid] = true, true
				all = append(all, int(p.Pid))
				again, more = true, true
			}
		}
	}
	for _, pid := range pids {
		if !found[uint32(pid)] {
			return nil, &NoProcessError{pid}
		}
	}
	return all, nil
}

// list lists the processes that the caller can see.
func (f *Tree) list() (all []bpf.TreeProcess, err error) {
	iterator, err := link.AttachIter(link.IterOptions{Program: f.collection.Programs[bpf.TreeProgListProcesses]})
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	defer iterator.Close()
	reader, err := iterator.Open()
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	defer reader.Close()
	for {
		var p bpf.TreeProcess
		if err := binary.Read(reader, binary.NativeEndian, &p); err == io.EOF {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("cannot list processes: %w", err)
		}
		all = append(all, p)
	}
}

// Close ends following.
func (f *Tree) Close() error {
	var errs []error
	for _, l := range f.links {
		errs = append(errs, l.Close())
	}
	f.collection.Close()
	return errors.Join(errs...)
}
