// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"debug/elf"
	"fmt"
	"slices"

	"crypto-auditing/src/internal/layout"
	"crypto-auditing/src/internal/layout/code"
	"crypto-auditing/src/internal/layout/loads"
)

// function describes a function that becomes a site.
type function struct {
	name      string
	role      layout.Role
	operation layout.Operation
	params    []param
	external  bool
}

// param is a parameter with its index.
type param struct {
	kind  layout.ParamKind
	index uint8
}

// number returns the number of an argument's register in package symbolic.
func (d *decoder) number(index uint8) int {
	if d.lib.Machine == elf.EM_AARCH64 {
		return int(index)
	}
	return [...]int{7, 6, 2, 1, 8, 9}[index]
}

// linkRegister is the number of the register of arm64 that holds the return address at the
// entry of a function.
const linkRegister = 30

// addFunction adds a site for a function of the file, false if the file does not have it.
func (d *decoder) addFunction(f function) bool {
	entry, ok := d.image.Function(f.name)
	if ok {
		d.addSite(f, entry)
	}
	return ok
}

// addSite adds a site for the function at entry. The site is the first instruction that
// the kernel emulates, if all of these hold: the code up to it is straight-line and does
// not change the parameters and the return address; no jump of the function targets that
// code; the whole function can be decoded. Otherwise it is the entry.
func (d *decoder) addSite(f function, entry uint64) {
	s := layout.Site{Role: f.role, Operation: f.operation, Function: f.name, Entry: entry, Addr: entry, External: f.external}
	var keep []int
	for _, p := range f.params {
		s.Params = append(s.Params, layout.Param{Kind: p.kind, Index: p.index, Register: d.lib.Argument(int(p.index))})
		keep = append(keep, d.number(p.index))
	}
	if d.lib.Machine == elf.EM_AARCH64 {
		keep = append(keep, linkRegister)
	}
	if at, delta, ok := code.FirstEmulated(d.image, entry, keep); ok {
		s.Addr, s.StackDelta, s.Instruction, s.Emulated = at.Addr, delta, at.Name, true
	}
	var err error
	if s.Offset, err = d.probeOffset(s.Addr); err != nil {
		d.refuse(f.name, err.Error())
		return
	}
	if !s.Emulated {
		s.Instruction = "first"
	}
	d.lib.Sites = append(d.lib.Sites, s)
}

// probeOffset returns the offset in the file of an instruction that may have a probe.
func (d *decoder) probeOffset(addr uint64) (uint64, error) {
	offset, ok := d.image.Offset(addr)
	if !ok {
		return 0, fmt.Errorf("its address %#x is not in code", addr)
	}
	return offset, code.CheckProbe(d.image, addr)
}

// handshakeSites finds the functions of the handshake and their ends.
//
// The tables of TLS_method, TLS_server_method and TLS_client_method are compared slot by
// slot. The slot in which only the client's table differs holds the function that servers
// call, ossl_statem_accept. The slot in which only the server's table differs holds
// ossl_statem_connect. No offset needs to be known. SSL_do_handshake calls these functions,
// as do SSL_read and SSL_write, which Node uses.
func (d *decoder) handshakeSites() {
	accept, connect, err := d.stateMachines()
	if err != nil {
		d.refuse("ossl_statem_accept, ossl_statem_connect", err.Error())
		return
	}
	object := []param{{layout.Object, 0}}
	d.addSite(function{name: "ossl_statem_accept", role: layout.HandshakeServer, params: object}, accept)
	d.addSite(function{name: "ossl_statem_connect", role: layout.HandshakeClient, params: object}, connect)
	if err := d.endSites(accept, connect); err != nil {
		d.refuse("the end of the handshake", err.Error())
	}
	d.addFunction(function{name: "SSL_free", role: layout.ConnectionFree, params: object})
}

// The range of compared SSL_METHOD slots: from after version, flags and mask to after the
// last slot of all versions.
const (
	firstSlot = 0x10
	lastSlot  = 0x120
)

func (d *decoder) stateMachines() (accept, connect uint64, err error) {
	both, ok1 := d.table("TLS_method")
	server, ok2 := d.table("TLS_server_method")
	client, ok3 := d.table("TLS_client_method")
	if !ok1 || !ok2 || !ok3 {
		return 0, 0, fmt.Errorf("TLS_method, TLS_server_method and TLS_client_method do not return tables")
	}
	var ofServer, ofClient []int64
	for slot := int64(firstSlot); slot < lastSlot; slot += 8 {
		b, ok1 := d.codePointer(both + uint64(slot))
		s, ok2 := d.codePointer(server + uint64(slot))
		c, ok3 := d.codePointer(client + uint64(slot))
		switch {
		case !ok1 || !ok2 || !ok3:
			// Tables of other methods follow. A slot without a function in one of them ends
			// the comparison only after both functions were found.
			if len(ofServer) > 0 && len(ofClient) > 0 {
				slot = lastSlot
			}
		case s == b && c != b:
			ofServer, accept = append(ofServer, slot), b
		case c == b && s != b:
			ofClient, connect = append(ofClient, slot), b
		}
	}
	if len(ofServer) != 1 || len(ofClient) != 1 {
		return 0, 0, fmt.Errorf("the methods of servers and clients differ in %d and %d functions, not in one each", len(ofServer), len(ofClient))
	}
	// SSL_set_accept_state and SSL_set_connect_state store the same slots.
	for i, name := range []string{"SSL_set_accept_state", "SSL_set_connect_state"} {
		want := [][]int64{ofServer, ofClient}[i][0]
		for _, p := range d.onConnection(name) {
			for _, s := range p.Stores {
				if c, ok := loads.Of(s.Value, 0); ok && s.Width == 8 && len(c.Offsets) == 2 && c.Last() != want {
					return 0, 0, fmt.Errorf("%s stores slot %#x of the method, the tables differ in %#x", name, c.Last(), want)
				}
			}
		}
	}
	return accept, connect, nil
}

// endSites finds the end of the state machine: its only call of BUF_MEM_free, which frees
// the buffer of the handshake.
func (d *decoder) endSites(accept, connect uint64) error {
	bodies := d.targets(accept)
	ofConnect := d.targets(connect)
	common := slices.DeleteFunc(slices.Clone(bodies), func(b uint64) bool { return !slices.Contains(ofConnect, b) })
	var ends []code.Instruction
	for _, body := range common {
		calls := d.callsOf(body, "BUF_MEM_free")
		if len(calls) > 0 && len(ends) > 0 {
			return fmt.Errorf("two functions that both sides call free a buffer")
		}
		ends = append(ends, calls...)
	}
	if len(ends) == 0 {
		// Compilers may create a copy of the state machine for each side.
		server, client := d.callsOf(accept, "BUF_MEM_free"), d.callsOf(connect, "BUF_MEM_free")
		if len(server) == 0 || len(client) == 0 {
			return fmt.Errorf("no function that both sides call frees a buffer")
		}
		ends = append(server, client...)
	}
	for _, in := range ends {
		if in.Name == "" {
			return fmt.Errorf("the instruction at %#x is not emulated", in.Addr)
		}
		offset, err := d.probeOffset(in.Addr)
		if err != nil {
			return err
		}
		d.lib.Sites = append(d.lib.Sites, layout.Site{
			Role: layout.HandshakeEnd, Function: "state_machine", Entry: in.Addr, Addr: in.Addr, Offset: offset,
			Instruction: in.Name, Emulated: true,
		})
	}
	return nil
}

// targets returns a function and the functions that it jumps to or calls directly.
func (d *decoder) targets(entry uint64) []uint64 {
	out := []uint64{entry}
	start, end, err := d.image.Extent(entry)
	if err != nil {
		return out
	}
	_ = code.Sweep(d.image, start, end, func(in code.Instruction) bool {
		if in.Target != 0 && (in.Target < start || in.Target >= end) && !slices.Contains(out, in.Target) {
			out = append(out, in.Target)
		}
		return len(out) < 64
	})
	return out
}

// callsOf returns the calls of, and jumps to, a named function in the function at entry.
func (d *decoder) callsOf(entry uint64, name string) []code.Instruction {
	start, end, err := d.image.Extent(entry)
	if err != nil || start != entry {
		return nil
	}
	own, _ := d.image.Function(name)
	var out []code.Instruction
	err = code.Sweep(d.image, start, end, func(in code.Instruction) bool {
		if in.Target == 0 || in.Target >= start && in.Target < end {
			return true
		}
		to, called, stub := d.image.Stub(in.Target)
		if in.Target == own && own != 0 || stub && (called == name || to == own && own != 0) {
			out = append(out, in)
		}
		return true
	})
	if err != nil {
		return nil
	}
	return out
}
