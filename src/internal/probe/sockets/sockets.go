// SPDX-License-Identifier: Apache-2.0

// Package sockets attaches BPF programs to the kernel's socket layer. They copy
// the plaintext beginning of each TLS and SSH connection into the ring of a
// probe.Tracer, as pieces, which Decode decodes.
//
// A Source is used from any goroutine.
package sockets

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"crypto-auditing/bpf"
	"crypto-auditing/src/internal/probe"
)

// FrontEnd is a way of seeing what moves through sockets.
type FrontEnd string

// The front ends, best first.
const (
	// Trampoline: at the entry and exit of kernel functions. It sees all calls.
	Trampoline FrontEnd = "trampoline"
	// Tracepoint: at tracepoints, since Linux 6.3. The bytes are found by the
	// arguments of the system call, so that connections that use io_uring,
	// calls of several messages at once, or 32-bit programs are lost, counted
	// as Unsupported.
	Tracepoint FrontEnd = "tracepoint"
)

// frontEnd is what a front end consists of.
type frontEnd struct {
	name     FrontEnd
	programs []string
	// optional programs are left out where the kernel lacks what they attach to.
	optional []string
	// datagrams are programs for QUIC.
	datagrams []string
}

// frontEnds returns those that Attach tries, in order.
func frontEnds() []frontEnd {
	return []frontEnd{
		{
			Trampoline,
			[]string{bpf.WireProgTcpSent, bpf.WireProgTcpReceived, bpf.WireProgTcpClosed},
			[]string{bpf.WireProgMptcpSent, bpf.WireProgMptcpReceived, bpf.WireProgMptcpClosed},
			[]string{bpf.WireProgUdpSent, bpf.WireProgUdpReceived, bpf.WireProgUdpv6Sent, bpf.WireProgUdpv6Received},
		},
		{
			Tracepoint,
			[]string{bpf.WireProgSocketSent, bpf.WireProgSocketReceived, bpf.WireProgSocketClosed},
			nil,
			[]string{bpf.WireProgDatagramSent, bpf.WireProgDatagramReceived},
		},
	}
}

// Refusal is a front end that could not be used.
type Refusal struct {
	FrontEnd FrontEnd
	Err      error
}

// Options configure a Source. The zero value is usable.
type Options struct {
	// FrontEnd is the only one to try; empty: the best that works.
	FrontEnd FrontEnd
	// Datagrams: QUIC, too. Each datagram then costs the program that moves it
	// some 80 ns. Calls of several datagrams at once, with which most libraries
	// receive, are seen by the front end Trampoline alone.
	Datagrams bool
}

// Source is attached programs.
type Source struct {
	frontEnd FrontEnd
	refused  []Refusal
	counts   *ebpf.Map
	links    []link.Link
}

// Attach loads and attaches the programs of the best front end that the kernel
// accepts. They write to the ring of t and obey its limits. Attach needs
// CAP_BPF and CAP_PERFMON. If no front end can be used, the error says why for
// each.
func Attach(t *probe.Tracer, o Options) (*Source, error) {
	s := &Source{}
	for _, f := range frontEnds() {
		if o.FrontEnd != "" && o.FrontEnd != f.name {
			continue
		}
		err := s.attach(t, f, o)
		if err == nil {
			s.frontEnd = f.name
			return s, nil
		}
		s.refused = append(s.refused, Refusal{f.name, err})
	}
	var errs []error
	for _, r := range s.refused {
		errs = append(errs, fmt.Errorf("front end %s: %w", r.FrontEnd, r.Err))
	}
	return nil, fmt.Errorf("cannot watch sockets: %w", errors.Join(errs...))
}

func (s *Source) attach(t *probe.Tracer, f frontEnd, o Options) error {
	spec, err := bpf.LoadWire()
	if err != nil {
		return fmt.Errorf("cannot read the BPF programs: %w", err)
	}
	programs := append([]string{}, f.programs...)
	optional := f.optional
	if o.Datagrams {
		optional = append(optional, f.datagrams...)
	}
	for _, name := range optional {
		// What is not a function is a tracepoint, which there is.
		if f.name == Tracepoint || hasFunction(spec.Programs[name].AttachTo) {
			programs = append(programs, name)
		}
	}
	all := spec.Programs
	spec.Programs = map[string]*ebpf.ProgramSpec{}
	for _, name := range programs {
		spec.Programs[name] = all[name]
	}
	if t.Followed() {
		if err := spec.Variables[bpf.WireVarOnlyFollowed].Set(uint8(1)); err != nil {
			return fmt.Errorf("cannot set up the BPF programs: %w", err)
		}
	}
	shared := t.SharedMaps()
	for name, m := range shared {
		spec.Maps[name].MaxEntries = m.MaxEntries()
	}
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: shared})
	if errors.Is(err, unix.EPERM) {
		// The library's own error speaks of memory, which is not the cause.
		return fmt.Errorf("cannot load the BPF programs: %w", unix.EPERM)
	}
	if err != nil {
		return fmt.Errorf("cannot load the BPF programs: %w", err)
	}
	// Links keep their programs, and those their maps.
	defer collection.Close()
	var links []link.Link
	for _, name := range programs {
		l, err := link.AttachTracing(link.TracingOptions{Program: collection.Programs[name]})
		if err != nil {
			return errors.Join(fmt.Errorf("cannot attach to %s: %w", spec.Programs[name].AttachTo, err), closeAll(links))
		}
		links = append(links, l)
	}
	s.links, s.counts = links, collection.DetachMap(bpf.WireMapCounts)
	return nil
}

// hasFunction reports whether the kernel has a function to attach to.
func hasFunction(name string) bool {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return false
	}
	var f *btf.Func
	return kernel.TypeByName(name, &f) == nil
}

func closeAll(links []link.Link) (err error) {
	for _, l := range links {
		err = errors.Join(err, l.Close())
	}
	return err
}

// FrontEnd returns the one in use.
func (s *Source) FrontEnd() FrontEnd { return s.frontEnd }

// Refused returns the better front ends that could not be used.
func (s *Source) Refused() []Refusal { return s.refused }

// Detach detaches the programs. What they wrote can still be read from the ring,
// and their counters.
func (s *Source) Detach() error {
	err := closeAll(s.links)
	s.links = nil
	return err
}

// Close detaches the programs and frees their counters.
func (s *Source) Close() error { return errors.Join(s.Detach(), s.counts.Close()) }
