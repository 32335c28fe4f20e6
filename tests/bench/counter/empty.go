// SPDX-License-Identifier: Apache-2.0

package counter

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package counter -output-stem empty -target amd64,arm64 Empty empty.bpf.c -- -O2 -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Idle is a set of attached programs that do nothing. It must be used by one goroutine.
type Idle struct {
	collection *ebpf.Collection
	links      []link.Link
}

// AttachToSockets attaches programs that do nothing to the hooks of the agent's programs
// with a front end, by the front end's name in the agent's log.
func AttachToSockets(frontEnd string) (*Idle, error) {
	names := map[string][]string{
		"trampoline": {EmptyProgFunctionSent, EmptyProgFunctionReceived, EmptyProgFunctionClosed},
		"tracepoint": {EmptyProgSocketSent, EmptyProgSocketReceived, EmptyProgSocketClosed},
	}[frontEnd]
	if names == nil {
		return nil, fmt.Errorf("cannot attach empty programs: unknown front end %q", frontEnd)
	}
	spec, err := LoadEmpty()
	if err != nil {
		return nil, fmt.Errorf("cannot read the empty programs: %w", err)
	}
	all := spec.Programs
	spec.Programs = map[string]*ebpf.ProgramSpec{}
	for _, name := range names {
		spec.Programs[name] = all[name]
	}
	i := &Idle{}
	if i.collection, err = ebpf.NewCollection(spec); err != nil {
		return nil, fmt.Errorf("cannot load the empty programs: %w", err)
	}
	for _, name := range names {
		l, err := link.AttachTracing(link.TracingOptions{Program: i.collection.Programs[name]})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("cannot attach empty programs: %w", err), i.Close())
		}
		i.links = append(i.links, l)
	}
	return i, nil
}

// Close detaches the programs.
func (i *Idle) Close() error {
	var errs []error
	for _, l := range i.links {
		errs = append(errs, l.Close())
	}
	i.collection.Close()
	return errors.Join(errs...)
}
