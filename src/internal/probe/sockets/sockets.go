// SPDX-License-Identifier: Apache-2.0

// Package sockets attaches BPF programs to the kernel's socket layer. They copy the
// plaintext beginning of each TLS and SSH connection into the ring of a probe.Tracer, as
// pieces, which Decode decodes.
//
// A Source may be used from any goroutine.
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

// FrontEnd is a method of observing the traffic of sockets.
type FrontEnd string

// The front ends, best first.
const (
	// Trampoline attaches to the entry and exit of kernel functions. It sees all calls.
	Trampoline FrontEnd = "trampoline"
	// Tracepoint attaches to tracepoints, since Linux 6.3. It finds the bytes through the
	// arguments of the system call, so that connections that use io_uring, calls with
	// several messages, or 32-bit programs are lost and counted as Unsupported, as is
	// each UDP socket that transfers large datagrams in these ways, or that receives
	// handshakes of DTLS without being connected.
	Tracepoint FrontEnd = "tracepoint"
)

// frontEnd lists the programs of a front end.
type frontEnd struct {
	name     FrontEnd
	programs []string
	// optional programs are omitted if the kernel lacks the function they attach to.
	optional []string
	// datagrams are programs for QUIC and DTLS.
	datagrams []string
}

// frontEnds returns the front ends that Attach tries, in order.
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

// Refusal reports a front end that could not be used.
type Refusal struct {
	FrontEnd FrontEnd
	Err      error
}

// Options configure a Source. The zero value is usable.
type Options struct {
	// FrontEnd is the only front end to try; empty for the best one that works.
	FrontEnd FrontEnd
	// Datagrams includes QUIC and DTLS. Each datagram then costs the sending or receiving program
	// some 80 ns. Calls with several datagrams, with which most libraries receive, are
	// seen only by the front end Trampoline.
	Datagrams bool
}

// Source holds the attached programs.
type Source struct {
	frontEnd FrontEnd
	refused  []Refusal
	counts   *ebpf.Map
	links    []link.Link
}

// Attach loads and attaches the programs of the best front end that the kernel accepts.
// They write to the ring of t and obey its limits. Attach needs CAP_BPF and CAP_PERFMON.
// If no front end can be used, the error lists the reasons.
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
		// The programs of Tracepoint attach to tracepoints, which always exist.
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
		// The error of package ebpf blames memory limits, which are not the cause.
		return fmt.Errorf("cannot load the BPF programs: %w", unix.EPERM)
	}
	if err != nil {
		return fmt.Errorf("cannot load the BPF programs: %w", err)
	}
	// Links hold references to their programs, and programs to their maps.
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

// FrontEnd returns the front end in use.
func (s *Source) FrontEnd() FrontEnd { return s.frontEnd }

// Refused returns the better front ends that could not be used.
func (s *Source) Refused() []Refusal { return s.refused }

// Detach detaches the programs. Their records and counters can still be read.
func (s *Source) Detach() error {
	err := closeAll(s.links)
	s.links = nil
	return err
}

// Close detaches the programs and frees their counters.
func (s *Source) Close() error { return errors.Join(s.Detach(), s.counts.Close()) }
