// SPDX-License-Identifier: Apache-2.0

// Package tree follows trees of processes, so that a probe.Tracer records only these: a
// process that is started by a followed process is followed from its first instruction.
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

// Tree is the set of followed processes. Its methods must not be called concurrently.
type Tree struct {
	adopting, missed *ebpf.Variable
	collection       *ebpf.Collection
	processes        *ebpf.Map
	links            []link.Link
}

// Follow returns an empty Tree for a tracer loaded with Options.Followed. It needs
// CAP_BPF and CAP_PERFMON.
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

// Adopt follows every process that the calling process starts during start.
func (f *Tree) Adopt(start func() error) error {
	if err := f.adopting.Set(uint32(1)); err != nil {
		return fmt.Errorf("cannot follow what is started: %w", err)
	}
	return errors.Join(start(), f.adopting.Set(uint32(0)))
}

// Empty reports whether no followed process remains.
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

// Missed returns the number of processes that are not followed because there are too
// many.
func (f *Tree) Missed() (n uint64, err error) {
	if err := f.missed.Get(&n); err != nil {
		return 0, fmt.Errorf("cannot read how many processes were not followed: %w", err)
	}
	return n, nil
}

// NoProcessError reports that a process does not exist.
type NoProcessError struct{ PID int }

func (e *NoProcessError) Error() string { return fmt.Sprintf("there is no process %d", e.PID) }

// Add follows processes and all their descendants, by their ids for the caller. It
// returns the ids of all of them. The error is a *NoProcessError if one of the given
// processes does not exist.
func (f *Tree) Add(pids ...int) (all []int, err error) {
	wanted := map[uint32]bool{}
	for _, pid := range pids {
		wanted[uint32(pid)] = true
	}
	added, found := map[uint32]bool{}, map[uint32]bool{}
	// Processes started by a followed process are followed automatically. Those started
	// while the processes were listed are found by listing them again.
	for more := true; more; {
		more = false
		list, err := f.list()
		if err != nil {
			return nil, err
		}
		for changed := true; changed; {
			changed = false
			for _, p := range list {
				if added[p.Process] || !wanted[p.Pid] && !added[p.Parent] {
					continue
				}
				if err := f.processes.Put(p.Process, uint8(1)); err != nil {
					return nil, fmt.Errorf("cannot follow process %d: %w", p.Pid, err)
				}
				added[p.Process], found[p.Pid] = true, true
				all = append(all, int(p.Pid))
				changed, more = true, true
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

// Close stops following.
func (f *Tree) Close() error {
	var errs []error
	for _, l := range f.links {
		errs = append(errs, l.Close())
	}
	f.collection.Close()
	return errors.Join(errs...)
}
