// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"crypto-auditing/bpf"
	"crypto-auditing/src/internal/usdt"
)

// Bounds of the strings completed from a library file, which are those of a
// record. A hostile process can ask for any address in the library, so what is
// remembered of them is bounded as well.
const (
	maxKey     = 127
	maxString  = 511
	maxBlob    = 512
	maxStrings = 4096
)

// Library is a file whose probes are attached.
type Library struct {
	// Path is the name it was attached by, BuildID its build-id.
	Path    string
	BuildID []byte
	// Sites is the number of attached sites, Probes the names of the probes
	// they belong to, Provider the provider's name.
	Sites    int
	Probes   []string
	Provider string
	// Errors says which sites could not be used.
	Errors []error
	// LeaseError is why there is no lease on the file; nil: there is one. It is
	// for the caller to call Changing then.
	LeaseError error
	// Device and Inode name the file, whatever happens to its path.
	Device, Inode uint64
	// Hits is for whoever reads the ring to count in.
	Hits atomic.Uint64

	file *usdt.File
	open *os.File
	// version is that of the file as it was read.
	version version
	slots   []uint32

	detaching sync.Mutex // guards links once they are made
	links     []link.Link

	// recent leads to those of strings that were used last, by address.
	recent [256]literal
	// strings are those that were read from the file, by way of its pages. Only
	// the reader of the ring uses these.
	pages   pages
	strings map[stringKey][]byte
}

// literal is a string that ends with a NUL, and where it is.
type literal struct {
	address uint64
	text    []byte
}

type stringKey struct {
	address uint64
	size    int
}

// DeniedError tells that the process may not place probes on this kernel: it
// will be the same for every library.
type DeniedError struct{ Err error }

func (e *DeniedError) Error() string { return e.Err.Error() }

func (e *DeniedError) Unwrap() error { return e.Err }

// shownErrors is how many unusable probes a NoProbesError describes.
const shownErrors = 8

// NoProbesError says that a file has no probe that can be attached to.
type NoProbesError struct {
	Path string
	// Errors says what is wrong with probes that are there.
	Errors []error
}

func (e *NoProbesError) Error() string {
	if n := len(e.Errors); n > 0 {
		text := fmt.Sprintf("cannot attach to %s: none of its probes is usable: %v", e.Path, errors.Join(e.Errors[:min(n, shownErrors)]...))
		if n > shownErrors {
			text += fmt.Sprintf("\nand %d more", n-shownErrors)
		}
		return text
	}
	return fmt.Sprintf("cannot attach to %s: it has no probe of provider %s", e.Path, usdt.Provider)
}

// errFiveByteNop says that this kernel must not place a probe on the site.
// Linux 6.18 to 7.1 replace a five-byte no-operation by a call, which a forked
// child inherits without what it calls, and dies of.
var errFiveByteNop = errors.New("a probe on its five-byte no-operation makes forked processes crash on this kernel: build the library with one-byte no-operations, or use a kernel newer than 7.1")

// Attach attaches to all probes of the file. The file that was read is the one
// attached to, even if path is given to another meanwhile. The error wraps
// ErrChanging if the file is open for writing.
func (t *Tracer) Attach(path string) (*Library, error) {
	l, p, err := t.prepare(path)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.libraries[l] = struct{}{}
	t.mu.Unlock()
	if err := t.attach(l, p); err != nil {
		// What was attached before the failure may have made records.
		t.Detach(l)
		return nil, err
	}
	// Without a lease, it may have changed since it was read.
	if l.Changing() {
		t.Yield(l)
		return nil, fmt.Errorf("cannot attach to %s: %w", path, ErrChanging)
	}
	return l, nil
}

// prepare reads a file, one at a time, and keeps what attaching takes: hostile
// notes may amount to tens of megabytes.
func (t *Tracer) prepare(path string) (*Library, *plan, error) {
	t.preparing.Lock()
	defer t.preparing.Unlock()
	l, err := open(path)
	if err != nil {
		return nil, nil, err
	}
	p, err := t.plan(l)
	if err != nil {
		l.open.Close()
		return nil, nil, err
	}
	l.file.Sites = nil
	return l, p, nil
}

// open reads the probes of the file at path.
func open(path string) (*Library, error) {
	// O_NONBLOCK: opening a FIFO must not wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot attach: %w", err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot attach to %s: %w", path, err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		f.Close()
		return nil, fmt.Errorf("cannot attach to %s: not a regular file", path)
	}
	l := &Library{Path: path, Device: stat.Dev, Inode: stat.Ino, open: f, strings: map[stringKey][]byte{}}
	l.pages.file = f
	if err := l.read(); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot attach to %s: %w", path, err)
	}
	return l, nil
}

// read reads the probes, under a lease.
func (l *Library) read() error {
	err := l.lease()
	if err != nil {
		return err
	}
	if l.version, err = versionOf(l.open); err != nil {
		return err
	}
	l.pages.changed = l.changed
	if l.file, err = usdt.Parse(l.open, l.version.size); err != nil {
		return err
	}
	l.BuildID, l.Errors = l.file.BuildID, l.file.Errors
	return nil
}

// detach ends the attachments. It may be called twice at a time.
func (l *Library) detach() {
	l.detaching.Lock()
	defer l.detaching.Unlock()
	var wait sync.WaitGroup
	for _, k := range l.links {
		// Closing waits for the kernel; it fails only if it was done before.
		wait.Go(func() { _ = k.Close() })
	}
	wait.Wait()
	l.links = nil
}

// plan is what is attached to, index by index.
type plan struct {
	sites               []bpf.AuditSite
	offsets, semaphores []uint64
}

// addError notes why a site cannot be used.
func (l *Library) addError(err error) {
	if len(l.Errors) < usdt.MaxErrors {
		l.Errors = append(l.Errors, err)
	}
}

func (t *Tracer) plan(l *Library) (*plan, error) {
	p := &plan{}
	probes := map[string]bool{}
	type place struct {
		probe  string
		offset uint64
	}
	seen := map[place]bool{}
	constants, constantsSize := l.file.Constants()
	for i := range l.file.Sites {
		s := &l.file.Sites[i]
		kind, known := recordKind(s.Name)
		if !usdt.Accepted(s.Provider) || !known {
			continue
		}
		// Linkers that fold identical functions leave one site with a note for
		// each of them.
		at := place{s.Name, s.Offset}
		if seen[at] {
			continue
		}
		seen[at] = true
		site, offset, err := t.site(l.file.Machine, s)
		if err != nil {
			l.addError(fmt.Errorf("%s:%s at %#x: %w", s.Provider, s.Name, s.Addr, err))
			continue
		}
		site.Kind = uint64(kind)
		site.Constants, site.ConstantsSize = constants, constantsSize
		probes[s.Name] = true
		l.Provider = s.Provider
		p.offsets = append(p.offsets, offset)
		p.semaphores = append(p.semaphores, s.SemaphoreOffset)
		p.sites = append(p.sites, site)
		if len(p.sites) > maxSites {
			return nil, tooManySites(l.Path)
		}
	}
	if len(p.sites) == 0 {
		return nil, &NoProbesError{l.Path, l.Errors}
	}
	l.Probes = slices.Sorted(maps.Keys(probes))
	return p, nil
}

func tooManySites(path string) error {
	return fmt.Errorf("cannot attach to %s: more than %d probe sites in all", path, maxSites)
}

func (t *Tracer) attach(l *Library, p *plan) error {
	if err := t.fill(l, p.sites); err != nil {
		return err
	}
	l.Sites = len(p.sites)
	executable, err := link.OpenExecutable(fmt.Sprintf("/proc/self/fd/%d", l.open.Fd()))
	if err != nil {
		return fmt.Errorf("cannot attach to %s: %w", l.Path, err)
	}
	var cookies []uint64
	for _, slot := range l.slots {
		cookies = append(cookies, uint64(slot))
	}
	if l.links, err = t.attachSites(executable, p, cookies); err != nil {
		denied := errors.Is(err, fs.ErrPermission)
		err = fmt.Errorf("cannot attach to %s: %w", l.Path, explain(err, t.profile))
		if denied {
			return &DeniedError{err}
		}
		return err
	}
	return nil
}

// attachSites returns the links it has made even if it fails.
func (t *Tracer) attachSites(x *link.Executable, p *plan, cookies []uint64) ([]link.Link, error) {
	if t.profile == UprobeMulti {
		o := &link.UprobeMultiOptions{Addresses: p.offsets, Cookies: cookies}
		if slices.ContainsFunc(p.semaphores, func(s uint64) bool { return s != 0 }) {
			o.RefCtrOffsets = p.semaphores
		}
		k, err := x.UprobeMulti(nil, t.program, o)
		if err != nil {
			return nil, err
		}
		return []link.Link{k}, nil
	}
	var links []link.Link
	for i := range p.offsets {
		k, err := x.Uprobe("", t.program, &link.UprobeOptions{
			Address: p.offsets[i], RefCtrOffset: p.semaphores[i], Cookie: cookies[i],
		})
		if err != nil {
			return links, err
		}
		links = append(links, k)
	}
	return links, nil
}

// fill gives the library its slots in the site map.
func (t *Tracer) fill(l *Library, sites []bpf.AuditSite) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reclaim()
	table := slices.Clone(*t.table.Load())
	if len(t.free)+maxSites-len(table) < len(sites) {
		return tooManySites(l.Path)
	}
	for range sites {
		var slot uint32
		if n := len(t.free); n > 0 {
			slot, t.free = t.free[n-1], t.free[:n-1]
		} else {
			slot = uint32(len(table))
			table = append(table, nil)
		}
		table[slot] = l
		l.slots = append(l.slots, slot)
	}
	for i, slot := range l.slots {
		if err := t.collection.Maps[bpf.AuditMapSites].Put(slot, &sites[i]); err != nil {
			return fmt.Errorf("cannot attach to %s: %w", l.Path, err)
		}
	}
	t.table.Store(&table)
	return nil
}

// site puts a site into the form of the BPF programs and says where to attach.
func (t *Tracer) site(m elf.Machine, s *usdt.Site) (site bpf.AuditSite, offset uint64, err error) {
	if names, _ := usdt.Parameters(s.Name); len(s.Args) != len(names) {
		return site, 0, fmt.Errorf("%d arguments instead of %d", len(s.Args), len(names))
	}
	if s.Nop == usdt.NopFive && t.replacesFive {
		return site, 0, errFiveByteNop
	}
	for i := range s.Args {
		a, to := &s.Args[i], &site.Arguments[i]
		to.Bits = uint8(a.Size) * 8
		if a.Signed {
			to.IsSigned = 1
		}
		if a.Kind == usdt.ArgConst {
			to.Kind = uint8(bpf.AuditArgumentKindARGUMENT_CONSTANT)
			to.Offset = a.Const
			continue
		}
		if to.Reg, err = register(a.Reg, m); err != nil {
			return site, 0, err
		}
		to.Offset = a.Off
		switch a.Kind {
		case usdt.ArgReg:
			to.Kind = uint8(bpf.AuditArgumentKindARGUMENT_REGISTER)
			to.Shift = a.Shift
		case usdt.ArgMem:
			to.Kind = uint8(bpf.AuditArgumentKindARGUMENT_MEMORY)
		case usdt.ArgMemIndexed:
			to.Kind = uint8(bpf.AuditArgumentKindARGUMENT_INDEXED)
			if to.Index, err = register(a.Index, m); err != nil {
				return site, 0, err
			}
			for scale := a.Scale; scale > 1; scale >>= 1 {
				to.Shift++
			}
		case usdt.ArgImageMem:
			to.Kind, to.Reg = uint8(bpf.AuditArgumentKindARGUMENT_MEMORY), biasRegister
		case usdt.ArgImageAddr:
			to.Kind, to.Reg = uint8(bpf.AuditArgumentKindARGUMENT_REGISTER), biasRegister
		default:
			return site, 0, fmt.Errorf("argument %s is of a kind that cannot be recorded", a)
		}
	}
	site.Address = s.Addr
	return site, s.Offset, nil
}

// What the programs take in place of a register, ARGUMENT_NO_REGISTER and
// ARGUMENT_BIAS of audit.bpf.h.
const (
	noRegister   = 0xffff
	biasRegister = 0xfffe
)

func register(r usdt.Register, m elf.Machine) (uint16, error) {
	if r == usdt.NoRegister {
		return noRegister, nil
	}
	return r.PtRegsOffset(m)
}

// literal returns the string at a link-time address of the library. It is text
// for what nearly every key is, and faster.
func (l *Library) literal(address uint64) ([]byte, bool) {
	const spread = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
	recent := &l.recent[address*spread>>(64-8)]
	if recent.address == address && recent.text != nil {
		return recent.text, true
	}
	b, ok := l.text(address, -1)
	if ok {
		*recent = literal{address, b}
	}
	return b, ok
}

// text returns the string at a link-time address of the library, or n bytes
// where n is not negative. A string above maxString comes without its end. The
// result is shared: it must not be changed.
func (l *Library) text(address uint64, n int) ([]byte, bool) {
	key := stringKey{address, n}
	if b, ok := l.strings[key]; ok {
		return b, b != nil
	}
	var b []byte
	var ok bool
	if n < 0 {
		// One byte more than there is room for tells what must be cut.
		b, ok = l.file.StringAt(&l.pages, address, maxString+1)
	} else {
		b, ok = l.file.BytesAt(&l.pages, address, n)
	}
	if !ok {
		b = nil
	} else if b == nil {
		b = []byte{}
	}
	if len(l.strings) >= maxStrings {
		clear(l.strings)
	}
	l.strings[key] = b
	return b, ok
}
