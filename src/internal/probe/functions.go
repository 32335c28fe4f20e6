// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"crypto-auditing/bpf"
	"crypto-auditing/src/internal/capture"
)

// maxLayouts bounds the libraries with calls that are attached at a time.
const maxLayouts = 256

// functions are the programs at functions of libraries without probes. They write to the
// ring of the tracer and obey its limits. The tracer's lock guards the fields.
type functions struct {
	collection *ebpf.Collection
	// free are the unused layouts with numbers below used.
	free []uint32
	used uint32
}

// calls is a plan with calls in the kernel's form. programs has the program name for
// each site.
type calls struct {
	layout   bpf.FunctionLayout
	sites    []bpf.FunctionCallSite
	programs []string
}

// errNoFunctions reports that LoadFunctions was not called.
var errNoFunctions = errors.New("functions are not recorded")

// LoadFunctions loads the programs that plans with Calls need. It must be called once,
// before Attach.
func (t *Tracer) LoadFunctions() error {
	spec, err := bpf.LoadFunction()
	if err != nil {
		return fmt.Errorf("cannot read the BPF programs: %w", err)
	}
	shared := t.SharedMaps()
	for _, name := range []string{bpf.AuditMapLosses, bpf.AuditMapHits} {
		shared[name] = t.collection.Maps[name]
	}
	for name, m := range shared {
		spec.Maps[name].MaxEntries = m.MaxEntries()
	}
	spec.Maps[bpf.FunctionMapCallSites].MaxEntries = maxSites
	spec.Maps[bpf.FunctionMapLayouts].MaxEntries = maxLayouts
	if t.followed {
		if err := spec.Variables[bpf.FunctionVarOnlyFollowed].Set(uint8(1)); err != nil {
			return fmt.Errorf("cannot set up the BPF programs: %w", err)
		}
	}
	if t.profile == PerfEvent {
		for _, p := range spec.Programs {
			p.AttachType = ebpf.AttachNone
		}
	}
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: shared})
	if errors.Is(err, unix.EPERM) {
		// The error of package ebpf blames memory limits, which are not the cause.
		err = unix.EPERM
	}
	if err != nil {
		return fmt.Errorf("cannot load the BPF programs: %w", explain(err, ""))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.functions = &functions{collection: collection}
	return nil
}

func (f *functions) close() {
	if f != nil {
		f.collection.Close()
	}
}

// release releases the layout of a library.
func (f *functions) release(l *Library) {
	if l.layout != nil {
		f.free = append(f.free, *l.layout)
		l.layout = nil
	}
}

// program returns the name of the program for a role.
func program(role uint8) string {
	switch bpf.FunctionCallRole(role) {
	case bpf.FunctionCallRoleROLE_HANDSHAKE_SERVER, bpf.FunctionCallRoleROLE_HANDSHAKE_CLIENT, bpf.FunctionCallRoleROLE_HANDSHAKE:
		return bpf.FunctionProgBegin
	case bpf.FunctionCallRoleROLE_HANDSHAKE_END:
		return bpf.FunctionProgEnd
	case bpf.FunctionCallRoleROLE_CONNECTION_FREE:
		return bpf.FunctionProgReleased
	case bpf.FunctionCallRoleROLE_SESSION_OPERATION, bpf.FunctionCallRoleROLE_SET_SIGNATURE:
		return bpf.FunctionProgSessionKey
	}
	return bpf.FunctionProgPublicKey
}

// arrangeCalls converts a plan with calls to the kernel's form.
func (t *Tracer) arrangeCalls(l *Library, p *capture.Plan) (*attachments, error) {
	if t.functions == nil {
		return nil, errNoFunctions
	}
	c := &calls{layout: bpf.FunctionLayout{Text: p.Calls.Text, TextSize: p.Calls.TextSize}}
	for number, chain := range p.Calls.Chains {
		if int(number) >= len(c.layout.Chains) || len(chain.Offsets) > capture.MaxLoads {
			return nil, fmt.Errorf("a chain of %d loads to the value %d is not possible", len(chain.Offsets), number)
		}
		to := &c.layout.Chains[number]
		to.Loads, to.Width = uint8(len(chain.Offsets)), chain.Width
		copy(to.Offsets[:], chain.Offsets)
	}
	a := &attachments{calls: c}
	probes := map[string]bool{}
	refused := t.refusedLayers(p)
	for i := range p.Sites {
		s := &p.Sites[i]
		if refused[s.Call.Layer] {
			continue
		}
		site, err := callSite(s, p.Machine)
		if err != nil {
			p.AddError(fmt.Errorf("%s at %#x: %w", s.Probe, s.Address, err))
			continue
		}
		probes[s.Probe] = true
		l.Provider = s.Provider
		c.sites, c.programs = append(c.sites, site), append(c.programs, program(s.Call.Role))
		a.offsets = append(a.offsets, s.Offset)
	}
	return a, arranged(l, p, a, probes)
}

// refusedLayers returns the layers of a plan with a site that this kernel must not attach
// to, and adds the reason to the plan.
func (t *Tracer) refusedLayers(p *capture.Plan) map[string]bool {
	refused := map[string]bool{}
	for i := range p.Sites {
		if s := &p.Sites[i]; s.CallInstruction && t.breaksShadowStacks {
			p.AddError(fmt.Errorf("%s are not recorded: %s at %#x: %w", s.Call.Layer, s.Probe, s.Address, errShadowStack))
			refused[s.Call.Layer] = true
		}
	}
	return refused
}

// callSite converts a site to the form of the BPF programs.
func callSite(s *capture.Site, m elf.Machine) (bpf.FunctionCallSite, error) {
	c := s.Call
	site := bpf.FunctionCallSite{
		Address: s.Address, StackDelta: c.StackDelta, Reach: c.Reach, Role: c.Role, Operation: c.Operation, Key: c.Value,
	}
	if c.External {
		site.External = 1
	}
	for _, r := range []struct {
		to   *uint16
		from capture.Register
	}{
		{&site.Object, c.Object},
		{&site.Output, c.Output},
		{&site.Length, c.Length},
		{&site.Digest, c.Digest},
		{&site.DigestNid, c.DigestNID},
		{&site.Command, c.Command},
		{&site.Bits, c.Bits},
		{&site.Curve, c.CurveNID},
		{&site.TextAt, c.Text},
		{&site.Result, c.Result},
		{&site.Algorithm, c.Algorithm},
		{&site.Data, c.Data},
		{&site.Signing, c.Signing},
		{&site.Signature, c.Signature},
	} {
		var err error
		if *r.to, err = register(r.from, m); err != nil {
			return site, err
		}
	}
	return site, nil
}

// fill allocates a layout for the library and writes its sites.
func (f *functions) fill(l *Library, c *calls) error {
	var number uint32
	switch n := len(f.free); {
	case n > 0:
		number, f.free = f.free[n-1], f.free[:n-1]
	case f.used == maxLayouts:
		return fmt.Errorf("more than %d libraries in all", maxLayouts)
	default:
		number = f.used
		f.used++
	}
	l.layout = &number
	if err := f.collection.Maps[bpf.FunctionMapLayouts].Put(number, &c.layout); err != nil {
		return err
	}
	for i, slot := range l.slots {
		c.sites[i].Layout = number
		if err := f.collection.Maps[bpf.FunctionMapCallSites].Put(slot, &c.sites[i]); err != nil {
			return err
		}
	}
	return nil
}

// attachCalls returns the created links even if it fails. The programs at the ends of
// operations are attached first, so that no operation begins without an end.
func (t *Tracer) attachCalls(x *link.Executable, p *attachments, cookies []uint64) ([]link.Link, error) {
	var links []link.Link
	for _, name := range []string{bpf.FunctionProgReleased, bpf.FunctionProgEnd, bpf.FunctionProgBegin, bpf.FunctionProgPublicKey, bpf.FunctionProgSessionKey} {
		o := link.UprobeMultiOptions{}
		for i, programName := range p.calls.programs {
			if programName == name {
				o.Addresses, o.Cookies = append(o.Addresses, p.offsets[i]), append(o.Cookies, cookies[i])
			}
		}
		if len(o.Addresses) == 0 {
			continue
		}
		made, err := t.attachProgram(x, t.functions.collection.Programs[name], &o)
		links = append(links, made...)
		if err != nil {
			return links, err
		}
	}
	return links, nil
}

// attachProgram attaches one program to sites. It returns the created links even if it
// fails.
func (t *Tracer) attachProgram(x *link.Executable, program *ebpf.Program, o *link.UprobeMultiOptions) ([]link.Link, error) {
	if t.profile == UprobeMulti {
		k, err := x.UprobeMulti(nil, program, o)
		if err != nil {
			return nil, err
		}
		return []link.Link{k}, nil
	}
	var links []link.Link
	for i, address := range o.Addresses {
		u := &link.UprobeOptions{Address: address, Cookie: o.Cookies[i]}
		if o.RefCtrOffsets != nil {
			u.RefCtrOffset = o.RefCtrOffsets[i]
		}
		k, err := x.Uprobe("", program, u)
		if err != nil {
			return links, err
		}
		links = append(links, k)
	}
	return links, nil
}

// CallEvent is the event that a call reports.
type CallEvent uint8

// The events.
const (
	// HandshakeCompleted and HandshakeFailed: a handshake ended with this result.
	HandshakeCompleted = CallEvent(bpf.FunctionCallEventCALL_COMPLETED)
	HandshakeFailed    = CallEvent(bpf.FunctionCallEventCALL_FAILED)
	// HandshakeAbandoned: the connection was freed before its handshake ended.
	HandshakeAbandoned = CallEvent(bpf.FunctionCallEventCALL_ABANDONED)
	// ExchangeOver: an exchange after the handshake, with operations, has ended.
	ExchangeOver = CallEvent(bpf.FunctionCallEventCALL_OVER)
	// ChainVerified: the verification of a certificate chain begins.
	ChainVerified = CallEvent(bpf.FunctionCallEventCALL_CHAIN)
	// KeyOperation is an operation with a public or private key.
	KeyOperation = CallEvent(bpf.FunctionCallEventCALL_OPERATION)
)

// Call is a record of a call of a function, or of several. Its strings are valid as long
// as the raw record.
type Call struct {
	// Time and Start, the beginning of the handshake, are in nanoseconds since boot,
	// suspend included.
	Time, Start uint64
	// PIDTGID is the process in the upper half, the thread in the lower.
	PIDTGID uint64
	// Connection is the number of the handshake, Chain the number of the verification of
	// a chain, 0 for none.
	Connection uint64
	Chain      uint32
	Event      CallEvent
	// Role and Operation are the site's.
	Role, Operation uint8
	// Late: the handshake began before the first hit.
	Late       bool
	Executable []byte
	// Unit is the nearest service or scope, empty if there is none.
	Unit []byte
	// Library contains the function; nil if it was forgotten in the meantime.
	Library *Library
	// Input is the length of the signed or verified data, 0 if unknown. The others were
	// set on the context: NIDs, and the size of a key.
	Input, SetDigest, SetCurve, SetBits uint32
	// Type, Digest and Group are names; empty if unknown.
	Type, Digest, Group []byte
	// Algorithm is the number of the key's algorithm and Data holds the first bytes of
	// the signed data, at a site of GnuTLS, whose Type is empty.
	Algorithm uint32
	Data      []byte

	record *bpf.FunctionCall
}

// Value returns the value of a number, false if it is not set.
func (c *Call) Value(number uint8) (uint32, bool) {
	at := uint32(number) - c.record.First
	if int64(at) >= int64(len(c.record.Values)) {
		return 0, false
	}
	return c.record.Values[at], c.record.Have>>number&1 != 0
}

// Unreadable reports whether memory needed for a value could not be read.
func (c *Call) Unreadable() bool { return c.record.Unreadable != 0 }

const callSize = int(unsafe.Sizeof(bpf.FunctionCall{}))

// DecodeCall decodes a record of kind Function from Ring.Drain into c.
func (t *Tracer) DecodeCall(raw []byte, c *Call) error {
	if len(raw) < callSize {
		return errRecord
	}
	// The ring aligns records to eight bytes, as the type requires, and the length was
	// checked above.
	r := (*bpf.FunctionCall)(unsafe.Pointer(&raw[0]))
	executable := raw[unsafe.Offsetof(r.Executable):][:len(r.Executable)]
	if int(r.ExecutableLength) > len(executable) {
		return errRecord
	}
	*c = Call{
		Time: r.Time, Start: r.Start, PIDTGID: r.PidTgid, Connection: r.Connection, Chain: r.Chain,
		Event: CallEvent(r.Event), Role: r.Role, Operation: r.Operation,
		Late:       r.Flags&uint8(bpf.FunctionCallFlagsCALL_LATE) != 0,
		Executable: executable[:r.ExecutableLength],
		Input:      r.Input, SetDigest: r.SetDigest, SetCurve: r.SetCurve, SetBits: r.SetBits,
		Unit:   name(raw[unsafe.Offsetof(r.Unit):][:len(r.Unit)]),
		Type:   name(raw[unsafe.Offsetof(r.Type):][:len(r.Type)]),
		Digest: name(raw[unsafe.Offsetof(r.Digest):][:len(r.Digest)]),
		Group:  name(raw[unsafe.Offsetof(r.Group):][:len(r.Group)]),
		record: r,
	}
	if bpf.FunctionCallRole(r.Role) == bpf.FunctionCallRoleROLE_SESSION_OPERATION {
		c.Algorithm, c.Type, c.Data = r.Algorithm, nil, raw[unsafe.Offsetof(r.Type):][:len(r.Type)]
	}
	if table := *t.table.Load(); int(r.Site) < len(table) {
		c.Library = table[r.Site]
	}
	return nil
}

// name returns the text before the NUL.
func name(b []byte) []byte {
	before, _, _ := bytes.Cut(b, []byte{0})
	return before
}
